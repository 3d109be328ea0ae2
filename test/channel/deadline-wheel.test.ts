import fc from 'fast-check'
import t from 'tap'
import { type Deadlined, DeadlineWheel, WHEEL_TICK_MS } from '../../lib/channel/deadline-wheel.ts'

interface Item extends Deadlined {
  readonly name: string
}

const TURN_MS = 512 * WHEEL_TICK_MS

function newItem(deadlineMs: number, name = String(deadlineMs)): Item {
  return { name, deadlineMs, wheelNext: undefined, wheelPrevious: undefined, wheelSlot: -1 }
}

function names(items: readonly Item[]): string[] {
  return items.map(({ name }) => name).sort()
}

t.test('an item falls due at its deadline, at most a tick late and never early', async (t) => {
  const wheel = new DeadlineWheel<Item>(1_000)
  wheel.insert(newItem(1_050))
  t.same(wheel.expire(1_049), [])
  t.same(wheel.expire(1_050), [], 'its tick is not over')
  t.same(names(wheel.expire(1_050 + WHEEL_TICK_MS)), ['1050'])
  t.equal(wheel.size, 0)
})

t.test('what is overdue when it is put in falls due at the next tick', async (t) => {
  const wheel = new DeadlineWheel<Item>(1_000)
  wheel.insert(newItem(3))
  wheel.insert(newItem(-7))
  t.same(names(wheel.expire(1_000 + WHEEL_TICK_MS)), ['-7', '3'])
})

t.test('an item more than a turn away stays for its own turn', async (t) => {
  const wheel = new DeadlineWheel<Item>(0)
  wheel.insert(newItem(TURN_MS * 2 + 40, 'far'))
  wheel.insert(newItem(40, 'near'))
  t.same(names(wheel.expire(60)), ['near'])
  t.same(wheel.expire(TURN_MS + 60), [])
  t.same(names(wheel.expire(TURN_MS * 2 + 60)), ['far'])
})

t.test('a clock that was asleep for many turns finds everything at once', async (t) => {
  const wheel = new DeadlineWheel<Item>(0)
  for (let index = 0; index < 2_000; index++) wheel.insert(newItem(index * 37, String(index)))
  t.equal(wheel.expire(TURN_MS * 100).length, 2_000)
  t.equal(wheel.size, 0)
  wheel.insert(newItem(5))
  t.equal(wheel.expire(TURN_MS * 100 + WHEEL_TICK_MS).length, 1, 'and works on')
})

t.test('a clock that goes back takes nothing out and loses nothing', async (t) => {
  const wheel = new DeadlineWheel<Item>(10_000)
  wheel.insert(newItem(10_100))
  t.same(wheel.expire(9_000), [])
  t.same(names(wheel.expire(10_120)), ['10100'])
})

t.test('taking out what is not in the wheel, or twice, does nothing', async (t) => {
  const wheel = new DeadlineWheel<Item>(0)
  const [first, second, third] = [newItem(40, 'a'), newItem(40, 'b'), newItem(40, 'c')]
  for (const item of [first, second, third]) wheel.insert(item)
  wheel.remove(newItem(40))
  t.equal(wheel.size, 3)
  wheel.remove(second)
  wheel.remove(second)
  t.equal(wheel.size, 2)
  t.same(names(wheel.expire(60)), ['a', 'c'])
  wheel.remove(first)
  t.equal(wheel.size, 0)
  wheel.insert(first)
  t.same(names(wheel.expire(80)), ['a'], 'an item can be put in again')
})

t.test('any mix of putting in, taking out and waiting agrees with a plain list', async (t) => {
  const step = fc.oneof(
    fc.record({ insertAfterMs: fc.integer({ min: -50, max: 3 * TURN_MS }) }),
    fc.record({ remove: fc.nat() }),
    fc.record({ waitMs: fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 2 * TURN_MS })) }),
  )
  fc.assert(
    fc.property(fc.nat({ max: 1_000_000 }), fc.array(step, { maxLength: 60 }), (startMs, steps) => {
      const wheel = new DeadlineWheel<Item>(startMs)
      const held = new Set<Item>()
      let nowMs = startMs
      let count = 0
      for (const step of steps) {
        if ('insertAfterMs' in step) {
          const item = newItem(nowMs + step.insertAfterMs, `${count++}`)
          held.add(item)
          wheel.insert(item)
        } else if ('remove' in step) {
          const item = [...held][step.remove % Math.max(1, held.size)]
          if (item === undefined) continue
          held.delete(item)
          wheel.remove(item)
        } else {
          nowMs += step.waitMs
          for (const item of wheel.expire(nowMs)) {
            if (!held.delete(item)) throw new Error('it was not in the wheel, or came twice')
            if (item.deadlineMs > nowMs) throw new Error('early')
          }
          const tooLate = [...held].filter((item) => item.deadlineMs <= nowMs - 2 * WHEEL_TICK_MS)
          // What was overdue when it was put in waits for the hand to move by one tick.
          if (step.waitMs >= 2 * WHEEL_TICK_MS && tooLate.length > 0) throw new Error('late')
        }
        if (wheel.size !== held.size) throw new Error('size')
      }
      for (const item of wheel.expire(nowMs + 4 * TURN_MS)) held.delete(item)
      if (held.size > 0 || wheel.size > 0) throw new Error('lost')
    }),
    { numRuns: 300 },
  )
  t.pass()
})
