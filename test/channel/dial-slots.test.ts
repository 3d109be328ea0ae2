import t from 'tap'
import { DialSlots } from '../../lib/channel/dial-slots.ts'

const NEVER = new AbortController().signal

t.test('no more are held at once than there are, and who waits comes in order', async (t) => {
  const slots = new DialSlots(2)
  const held: number[] = []
  const releases: (() => void)[] = []
  const all = Array.from({ length: 5 }, async (_, index) => {
    releases[index] = await slots.acquire(NEVER)
    held.push(index)
  })
  await Promise.all(all.slice(0, 2))
  t.same(held, [0, 1])
  t.equal(slots.waiting, 3)
  releases[1]?.()
  await all[2]
  t.same(held, [0, 1, 2])
  releases[0]?.()
  releases[2]?.()
  await Promise.all(all)
  t.same(held, [0, 1, 2, 3, 4])
  t.equal(slots.waiting, 0)
})

t.test('a slot that is given back twice is one slot', async (t) => {
  const slots = new DialSlots(1)
  const release = await slots.acquire(NEVER)
  release()
  release()
  await slots.acquire(NEVER)
  let second = false
  void slots.acquire(NEVER).then(() => {
    second = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(second, false)
  t.equal(slots.waiting, 1)
})

t.test('who gives up waiting rejects with the reason, loses its place and takes no slot with it', async (t) => {
  const slots = new DialSlots(1)
  const release = await slots.acquire(NEVER)
  const abort = new AbortController()
  const reason = new Error('stopped')
  const given = slots.acquire(abort.signal)
  const next = slots.acquire(NEVER)
  abort.abort(reason)
  await t.rejects(given, reason)
  t.equal(slots.waiting, 1)
  release()
  ;(await next)()
  await t.resolves(slots.acquire(NEVER), 'the slot is free again')
})

t.test('who comes with an aborted signal gets no slot', async (t) => {
  const slots = new DialSlots(1)
  await t.rejects(slots.acquire(AbortSignal.abort(new Error('over'))), { message: 'over' })
  await t.resolves(slots.acquire(NEVER))
})

t.test('a slot that was given in the moment of the abort is not lost', async (t) => {
  const slots = new DialSlots(1)
  const release = await slots.acquire(NEVER)
  const abort = new AbortController()
  const given = slots.acquire(abort.signal)
  release()
  abort.abort(new Error('too late'))
  const held = await given
  held()
  await t.resolves(slots.acquire(NEVER))
})
