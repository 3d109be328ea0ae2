import t from 'tap'
import { Prng } from '../../chaos/prng.ts'
import { durationOf, FAULT_KINDS, makeSchedule } from '../../chaos/schedule.ts'
import { contentOf, payloadOf } from '../../chaos/workload.ts'
import { FAILPOINTS } from '../../lib/runtime/index.ts'

const options = { seed: 'a', seconds: 120, apps: 3, kinds: FAULT_KINDS }

t.test('a seed gives the same schedule again, another one another', async (t) => {
  const schedule = makeSchedule(options)
  t.same(makeSchedule(options), schedule)
  t.notSame(makeSchedule({ ...options, seed: 'b' }), schedule)
  t.ok(schedule.length > 60)
})

t.test('every kind of fault and every failpoint comes up', async (t) => {
  const faults = makeSchedule({ ...options, seconds: 900 }).map(({ fault }) => fault)
  t.same(new Set(faults.map(({ kind }) => kind)), new Set(FAULT_KINDS))
  const failpoints = new Set(faults.flatMap((fault) => (fault.kind === 'failpoint' ? [fault.failpoint] : [])))
  t.same([...failpoints].sort(), [...FAILPOINTS].sort())
})

t.test('only what was asked for, in its time', async (t) => {
  const schedule = makeSchedule({ ...options, kinds: ['kill', 'latency'] })
  t.same([...new Set(schedule.map(({ fault }) => fault.kind))].sort(), ['kill', 'latency'])
  const times = schedule.map(({ atMs }) => atMs)
  t.same(
    times,
    times.toSorted((one, other) => one - other),
  )
  const lastMs = options.seconds * 1_000
  t.ok(schedule.every(({ atMs, fault }) => atMs > 0 && atMs + durationOf(fault) <= lastMs))
})

t.test('a daemon is left alone for a while between two faults', async (t) => {
  const freeAtMs = new Map<string, number>()
  for (const { atMs, fault } of makeSchedule({ ...options, seconds: 600 })) {
    if (!('daemon' in fault)) continue
    t.ok(atMs >= (freeAtMs.get(fault.daemon) ?? 0), `${fault.kind} of ${fault.daemon} at ${atMs}`)
    freeAtMs.set(fault.daemon, atMs + durationOf(fault) + 1_000)
  }
})

t.test('the random numbers', async (t) => {
  const draw = (seed: string) => {
    const prng = new Prng(seed)
    return Array.from({ length: 1_000 }, () => prng.next())
  }
  t.same(draw('a'), draw('a'))
  t.notSame(draw('a'), draw('b'))
  t.ok(draw('a').every((value) => value >= 0 && value < 1))
  const mean = draw('c').reduce((sum, value) => sum + value, 0) / 1_000
  t.ok(mean > 0.45 && mean < 0.55, `even: ${mean}`)
  const prng = new Prng('d')
  const dice = Array.from({ length: 600 }, () => prng.integer(1, 6))
  t.same([...new Set(dice)].sort(), [1, 2, 3, 4, 5, 6])
  t.same(prng.shuffled([1, 2, 3]).sort(), [1, 2, 3])
  t.same(new Prng('e').fork('x').next(), new Prng('e').fork('x').next())
  t.throws(() => prng.pick([]), RangeError)
})

t.test('a request follows from its key', async (t) => {
  const mix = { seed: 'a', durable: 'some' } as const
  const content = contentOf(mix, 'app0-1')
  t.same(contentOf(mix, 'app0-1'), content)
  t.notSame(contentOf(mix, 'app0-2'), content)
  t.notSame(payloadOf(content, true), payloadOf(content, false))
  const many = Array.from({ length: 200 }, (_, index) => contentOf(mix, `k-${index}`))
  t.same(new Set(many.map(({ durable }) => durable)), new Set([true, false]))
  t.ok(many.every(({ key }) => contentOf({ ...mix, durable: 'all' }, key).durable))
})
