import t from 'tap'
import { ClosedLoop, measure } from '../../bench/load.ts'
import type { BenchClient, Done } from '../../bench/system.ts'

/** A peer in this process that answers at the next turn with what `answer` makes of a request. */
function clientOf(answer: (body: Buffer, done: Done, asked: number) => void): BenchClient {
  let asked = 0
  return { request: (body, done) => void setImmediate(() => answer(body, done, asked++)), close: async () => {} }
}

const LOAD = { concurrency: 4, bodyBytes: 32, warmupMs: 5, measureMs: 20, pids: {} }

t.test('counts what was answered, and how long it took', async (t) => {
  const result = await measure(
    clientOf((body, done) => done(undefined, Buffer.from(body))),
    LOAD,
  )
  t.equal(result.errors, 0)
  t.ok(result.completed > 0)
  t.ok(result.cpuUs.app !== undefined && result.rps > 0 && result.p50Ms > 0)
})

t.test('a reply that is not its request is an error, as is one that is missing', async (t) => {
  const mixedUp = await measure(
    clientOf((body, done, asked) => done(undefined, asked === 20 ? Buffer.alloc(body.length) : body)),
    LOAD,
  )
  t.equal(mixedUp.errors, 1)
  t.equal(mixedUp.firstError, 'the reply is not the request')
  const empty = await measure(
    clientOf((body, done, asked) => (asked === 20 ? done(undefined) : done(undefined, body))),
    LOAD,
  )
  t.equal(empty.errors, 1)
  const failing = await measure(
    clientOf((body, done, asked) => (asked === 20 ? done(new Error('refused')) : done(undefined, body))),
    LOAD,
  )
  t.match(failing, { errors: 1, firstError: 'refused' })
})

t.test('a system that only fails is given up', async (t) => {
  const { completed, errors } = await measure(
    clientOf((_, done) => done(new Error('refused'))),
    LOAD,
  )
  t.equal(completed, 0)
  t.ok(errors > 0 && errors <= 1_010)
})

t.test('slices tell what was answered since the one before', async (t) => {
  const waiting: (() => void)[] = []
  const loop = new ClosedLoop(
    { request: (body, done) => void waiting.push(() => done(undefined, body)), close: async () => {} },
    16,
  )
  loop.start(2)
  waiting.shift()?.()
  t.match(loop.takeSlice(), { completed: 1 })
  t.match(loop.takeSlice(), { completed: 0, p99Ms: 0 })
  const stopped = loop.stop()
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) next()
  await stopped
  t.match(loop.takeSlice(), { completed: 2 })
  t.equal(loop.errors, 0)
})
