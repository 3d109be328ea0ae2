import t from 'tap'
import { ResponseStatus } from '../../lib/frames/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { KX_MS, SwitchHarness, type SwitchOptions } from './switch-harness.ts'

/** A switch with bank 044, connected, whose node answers nothing until told to. */
async function silentBank(options: SwitchOptions = {}) {
  const harness = new SwitchHarness(options)
  await harness.apply(harness.bank('044'))
  const node = await harness.connect('044')
  node.answer = undefined
  return { harness, node }
}

/** The channel ends as a cut socket does. */
async function cut(harness: SwitchHarness): Promise<void> {
  harness.link('044').drop()
  await harness.clock.advance(KX_MS)
}

t.test('BEY-2 what the xchange has done is fetched after a reconnect, and answered once', async (t) => {
  const { harness, node } = await silentBank()
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  await cut(harness)
  t.equal(harness.app.endOf(id), undefined, 'nobody knows yet')
  t.equal(harness.link('044').lane.unsettled, 1)
  node.memory.set('key-1', 'done')
  const next = node.again(harness.clock)
  next.answer = (request) => ({ payload: request.payload })
  await harness.connect('044', next)
  await harness.clock.advance(KX_MS)
  t.strictSame(next.keys, ['key-1'])
  t.match(harness.app.endOf(id), { outcome: 'answered', key: 'key-1' })
  t.equal(harness.link('044').lane.unsettled, 0)
})

t.test('BEY-2 what the xchange never saw is sent again while there is time, before all that came later', async (t) => {
  const { harness, node } = await silentBank()
  const ids = [harness.ask('044'), harness.ask('044')]
  await harness.clock.advance(KX_MS)
  await cut(harness)
  const later = harness.ask('044')
  node.memory.clear()
  const next = node.again(harness.clock)
  next.answer = (request) => ({ payload: request.payload })
  await harness.connect('044', next)
  await harness.clock.advance(2 * KX_MS)
  t.strictSame(next.keys, ['key-1', 'key-2', 'key-3'])
  for (const id of [...ids, later]) t.match(harness.app.endOf(id), { outcome: 'answered' })
})

t.test('BEY-2 what the xchange never saw and whose time is over was not sent', async (t) => {
  const { harness, node } = await silentBank()
  const plain = harness.ask('044', { timeoutMs: 100, late: true })
  const durable = harness.ask('044', { timeoutMs: 100, durable: true, late: true })
  await harness.clock.advance(KX_MS)
  await cut(harness)
  await harness.clock.advance(200)
  for (const id of [plain, durable]) t.match(harness.app.endOf(id), { outcome: 'in-doubt', code: 'IN_DOUBT' })
  t.match(harness.journal.get('key-2'), { state: 'sent', outcome: 'in-doubt' })
  node.memory.clear()
  const next = await harness.connect('044', node.again(harness.clock))
  await harness.clock.advance(2 * KX_MS)
  t.strictSame(next.keys, [], 'nothing is executed after its time')
  t.match(harness.journal.get('key-2'), { state: 'settled', outcome: 'not-sent', code: 'DEADLINE_EXCEEDED' })
  const events = harness.app.replies.filter((reply) => reply.event === 'settled')
  t.match(events, [{ id: durable, outcome: 'not-sent', key: 'key-2' }], 'of what is durable the end is told')
  t.equal(events.length, 1)
  t.equal(harness.link('044').lane.outcomes['settled-late'], 1)
})

t.test('an xchange that has lost its memory: nobody can say, and nothing is sent a second time', async (t) => {
  const { harness, node } = await silentBank()
  await harness.clock.advance(10_000)
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  await cut(harness)
  const next = node.again(harness.clock)
  next.onResolve = (keys) => ({ states: keys.map(() => 'never'), rememberedForMs: 5 })
  await harness.connect('044', next)
  await harness.clock.advance(2 * KX_MS)
  t.strictSame(next.keys, [])
  t.match(harness.app.endOf(id), { outcome: 'in-doubt', message: /no record of the keys/ })
})

t.test('BEY-2 another node of the bank never saw what this one was sent: nothing is executed on both', async (t) => {
  const { harness, node } = await silentBank()
  await harness.clock.advance(10_000)
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  const other = node.again(harness.clock, { bootId: Buffer.alloc(16, 9) })
  other.memory = new Map()
  await harness.connect('044', other)
  await harness.clock.advance(2 * KX_MS)
  t.strictSame(other.keys, [])
  t.match(harness.app.endOf(id), { outcome: 'in-doubt', message: /another node/ })

  const restarted = harness.ask('044')
  await harness.clock.advance(KX_MS)
  await cut(harness)
  const again = other.again(harness.clock, { bootId: Buffer.concat([Buffer.alloc(8, 9), Buffer.alloc(8, 1)]) })
  again.memory = new Map()
  again.answer = (request) => ({ payload: request.payload })
  await harness.connect('044', again)
  await harness.clock.advance(2 * KX_MS)
  t.strictSame(again.keys, ['key-2'], 'a restart keeps the memory: its word counts')
  t.match(harness.app.endOf(restarted), { outcome: 'answered' })
})

t.test('a key that may have run is never refused: the app hears what is known', async (t) => {
  const { harness } = await silentBank()
  harness.ask('044', { durable: true, key: 'k' })
  await harness.clock.advance(KX_MS)
  harness.link('044').quarantine({ reason: 'evidence' })
  const again = harness.ask('044', { durable: true, key: 'k' })
  const fresh = harness.ask('044', { durable: true })
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(again), { outcome: 'in-doubt', code: 'IN_DOUBT' })
  t.match(harness.app.endOf(fresh), { outcome: 'refused', code: 'QUARANTINED' })
})

t.test('an xchange that leaves the question open is asked with the requests themselves', async (t) => {
  const { harness, node } = await silentBank()
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  await cut(harness)
  const next = node.again(harness.clock)
  next.onResolve = () => {
    throw new Error('a table that cannot be read')
  }
  next.answer = (request) => ({ payload: request.payload })
  await harness.connect('044', next)
  const later = harness.ask('044')
  await harness.clock.advance(1_000)
  t.strictSame(next.keys, [], 'nothing overtakes what is being asked about')
  await harness.clock.advance(5_000)
  t.strictSame(next.keys, ['key-1', 'key-2'])
  for (const one of [id, later]) t.match(harness.app.endOf(one), { outcome: 'answered' })
})

t.test('a channel that ends while the question is open: the next one asks again', async (t) => {
  const { harness, node } = await silentBank()
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  await cut(harness)
  const second = node.again(harness.clock)
  harness.dial('044', second)
  await harness.clock.advance(5)
  await cut(harness)
  t.equal(harness.link('044').lane.unsettled, 1)
  const third = second.again(harness.clock)
  third.answer = (request) => ({ payload: request.payload })
  await harness.connect('044', third)
  await harness.clock.advance(2 * KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'answered' })
})

t.test('BEY-2 a durable request is on disk before anything of it leaves', async (t) => {
  const { harness, node } = await silentBank()
  node.answer = (request) => ({ payload: request.payload })
  harness.journal.hold()
  const id = harness.ask('044', { durable: true })
  await harness.clock.advance(1_000)
  t.strictSame(node.keys, [], 'the disk is slow: nothing was sent')
  t.equal(harness.app.endOf(id), undefined, 'nor acknowledged')
  harness.journal.release()
  await harness.clock.advance(2 * KX_MS)
  t.strictSame(node.keys, ['key-1'])
  t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.match(harness.journal.get('key-1'), { state: 'settled', outcome: 'answered' })
})

t.test('BEY-2 that nothing was done is on disk before the app hears it', async (t) => {
  const harness = new SwitchHarness()
  await harness.apply(harness.bank('044'))
  const id = harness.ask('044', { durable: true, timeoutMs: 100 })
  await harness.clock.advance(10)
  t.match(harness.app.replies.at(-1), { id, outcome: 'pending', code: 'KEY_PENDING' })
  harness.journal.hold()
  await harness.clock.advance(500)
  t.equal(harness.app.endOf(id), undefined)
  harness.journal.release()
  await harness.clock.advance(10)
  t.match(harness.app.endOf(id), { outcome: 'not-sent' })
  t.match(harness.journal.get('key-1'), { state: 'settled', outcome: 'not-sent' })
})

t.test('an outcome that cannot be kept: the app is told in-doubt and may ask again', async (t) => {
  const harness = new SwitchHarness()
  await harness.apply(harness.bank('044'))
  const id = harness.ask('044', { durable: true, timeoutMs: 100 })
  await harness.clock.advance(10)
  harness.journal.failNext = new LsxError('INTERNAL', 'a disk that fails')
  await harness.clock.advance(500)
  t.match(harness.app.endOf(id), { outcome: 'in-doubt', code: 'IN_DOUBT' })
})

t.test('BEY-2 an outcome that could not be kept is kept when the disk is well again', async (t) => {
  const { harness, node } = await silentBank()
  const answered = harness.ask('044', { durable: true, timeoutMs: 5_000 })
  const unseen = harness.ask('044', { durable: true, timeoutMs: 50, late: true })
  await harness.clock.advance(100)
  t.match(harness.app.endOf(unseen), { outcome: 'in-doubt' })
  harness.journal.failNext = new LsxError('STORE_FULL', 'the disk is full')
  node.respond('key-1')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(answered), { outcome: 'answered' }, 'the bank has done it, whatever the disk says')
  t.match(harness.journal.get('key-1'), { state: 'sent' })
  await cut(harness)
  node.memory.delete('key-2')
  harness.journal.failNext = new LsxError('STORE_FULL', 'the disk is full')
  await harness.connect('044', node.again(harness.clock))
  await harness.clock.advance(KX_MS)
  t.match(harness.journal.get('key-2'), { state: 'sent', outcome: 'in-doubt' })
  await harness.clock.advance(2_000)
  t.match(harness.journal.get('key-1'), { state: 'settled', outcome: 'answered' })
  t.match(harness.journal.get('key-2'), { state: 'settled', outcome: 'not-sent' })
  const events = harness.app.replies.filter((reply) => reply.event === 'settled')
  t.match(events, [{ id: unseen, outcome: 'not-sent', key: 'key-2' }], 'and then it is told')
})

t.test('a journal that is full refuses durable requests, and others go on', async (t) => {
  const { harness, node } = await silentBank()
  node.answer = (request) => ({ payload: request.payload })
  harness.journal.failNext = new LsxError('STORE_FULL', 'the journal is full')
  const durable = harness.ask('044', { durable: true })
  const plain = harness.ask('044')
  await harness.clock.advance(2 * KX_MS)
  t.match(harness.app.endOf(durable), { outcome: 'refused', code: 'STORE_FULL' })
  t.match(harness.app.endOf(plain), { outcome: 'answered' })
  t.strictSame(node.keys, ['key-2'])
})

t.test(
  'a durable key that is asked again: open requests are joined, settled ones told again, others refused',
  async (t) => {
    const { harness, node } = await silentBank()
    const first = harness.ask('044', { durable: true, key: 'k' })
    await harness.clock.advance(KX_MS)
    const second = harness.ask('044', { durable: true, key: 'k' })
    const other = harness.ask('044', { durable: true, key: 'k', method: 'transfer' })
    await harness.clock.advance(KX_MS)
    t.strictSame(node.keys, ['k'], 'sent once')
    t.match(harness.app.endOf(other), { outcome: 'refused', code: 'DUPLICATE_MISMATCH' })
    node.respond('k')
    await harness.clock.advance(KX_MS)
    for (const id of [first, second]) t.match(harness.app.endOf(id), { outcome: 'answered', key: 'k' })
    const third = harness.ask('044', { durable: true, key: 'k' })
    await harness.clock.advance(KX_MS)
    t.match(harness.app.endOf(third), { outcome: 'answered', key: 'k' })
    t.strictSame(node.keys, ['k'])
  },
)

t.test('LS-13 what an LS that crashed left open is asked about on the first channel of the next', async (t) => {
  const { harness, node } = await silentBank()
  harness.ask('044', { durable: true, key: 'done' })
  harness.ask('044', { durable: true, key: 'unseen' })
  await harness.clock.advance(KX_MS)
  const next = new SwitchHarness({ clock: harness.clock, journal: harness.journal })
  await next.apply(next.bank('044'))
  const lane = next.link('044').lane
  t.equal(lane.unsettled, 2)
  let recovered = false
  void lane.recovered.then(() => {
    recovered = true
  })
  await harness.clock.advance(KX_MS)
  t.equal(recovered, false)
  const nextNode = next.node('044')
  nextNode.memory = node.memory
  nextNode.memory.set('done', 'done')
  nextNode.memory.delete('unseen')
  nextNode.answer = (request) => ({ payload: request.payload })
  await next.connect('044')
  await harness.clock.advance(2 * KX_MS)
  t.strictSame(nextNode.keys, ['done', 'unseen'])
  for (const key of ['done', 'unseen']) t.match(harness.journal.get(key), { state: 'settled', outcome: 'answered' })
  t.equal(recovered, true)
})

t.test('quarantine: no channel will come, so what was sent is in doubt at once', async (t) => {
  const { harness } = await silentBank()
  const [lost, sent] = [harness.ask('044'), harness.ask('044')]
  await harness.clock.advance(KX_MS)
  await cut(harness)
  harness.link('044').quarantine({ reason: 'evidence' })
  await harness.clock.advance(KX_MS)
  for (const id of [lost, sent]) t.match(harness.app.endOf(id), { outcome: 'in-doubt' })
})

t.test(
  'BEY-2 asked again on a live channel, what was in doubt is asked about again: the bank may know by now',
  async (t) => {
    const { harness, node } = await silentBank()
    node.answer = () => ({ status: ResponseStatus.inDoubt })
    const first = harness.ask('044', { durable: true, key: 'k', late: true })
    await harness.clock.advance(KX_MS)
    t.match(harness.app.endOf(first), { outcome: 'in-doubt', code: 'IN_DOUBT' })
    node.memory.set('k', 'begun')
    node.answer = (request) => ({ payload: request.payload })
    const asked = node.keys.length

    const second = harness.ask('044', { durable: true, key: 'k', late: true })
    await harness.clock.advance(KX_MS)
    t.match(harness.app.endOf(second), { outcome: 'in-doubt' }, 'it hears what is known now')
    t.equal(node.keys.length, asked + 1, 'the stored response is fetched with the same key')
    const events = harness.app.replies.filter((reply) => reply.event === 'settled')
    t.match(events, [
      { id: first, outcome: 'answered' },
      { id: second, outcome: 'answered' },
    ])
    t.match(harness.journal.get('k'), { state: 'settled', outcome: 'answered' })
  },
)

t.test('asking again and again makes LS ask the bank twice a second at most', async (t) => {
  const { harness, node } = await silentBank()
  node.answer = () => ({ status: ResponseStatus.inDoubt })
  harness.ask('044', { durable: true, key: 'k' })
  await harness.clock.advance(KX_MS)
  node.memory.set('k', 'begun')
  const asked = node.keys.length
  for (let time = 0; time < 40; time++) {
    harness.ask('044', { durable: true, key: 'k' })
    await harness.clock.advance(50)
  }
  t.ok(node.keys.length > asked && node.keys.length <= asked + 5, `${node.keys.length - asked} times in 2 s`)
})

t.test('BEY-2 many doubts that are asked for again on a live channel are all asked about', async (t) => {
  const { harness, node } = await silentBank()
  node.answer = () => ({ status: ResponseStatus.inDoubt })
  const keys = Array.from({ length: 30 }, (_, index) => `k${index}`)
  for (const key of keys) harness.ask('044', { durable: true, key })
  await harness.clock.advance(KX_MS)
  for (const key of keys) node.memory.set(key, 'begun')
  node.answer = (request) => ({ payload: request.payload })
  for (const key of keys) {
    harness.ask('044', { durable: true, key })
    await harness.clock.advance(10)
  }
  await harness.clock.advance(1_100)
  for (const key of keys) t.match(harness.journal.get(key), { state: 'settled', outcome: 'answered' }, key)
})
