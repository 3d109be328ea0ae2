import fc from 'fast-check'
import t from 'tap'
import { ResponseStatus } from '../../lib/frames/index.ts'
import { SwitchHarness, TestConnection } from './switch-harness.ts'

const BANK = '044'

/** What can happen to a bank's channel and its requests, in any order. */
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('ask' as const),
      count: fc.integer({ min: 1, max: 5 }),
      timeoutMs: fc.constantFrom(1, 25, 400, 20_000),
      payloadBytes: fc.constantFrom(0, 100, 3_000),
      app: fc.nat(2),
      durable: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(0, 1, 3, 30, 500, 12_000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('answer' as const), status: fc.constantFrom(0, 1, 2, 3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('connect' as const), answers: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'drop' as const,
        'rekey' as const,
        'peerDrains' as const,
        'peerDies' as const,
        'cut' as const,
        'quarantine' as const,
        'resume' as const,
        'appLeaves' as const,
      ),
    }),
  },
)

type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

async function perform(harness: SwitchHarness, apps: TestConnection[], asked: Map<number, TestConnection>, one: Step) {
  const link = harness.link(BANK)
  const node = harness.node(BANK)
  switch (one.do) {
    case 'ask': {
      const app = apps[one.app] ?? harness.app
      if (app.closed) return
      for (let n = 0; n < one.count; n++) {
        const { timeoutMs, durable } = one
        const id = harness.ask(BANK, { timeoutMs, durable, payload: Buffer.alloc(one.payloadBytes, 0xc0) }, app)
        asked.set(id, app)
      }
      return
    }
    case 'pass':
      return harness.clock.advance(one.ms)
    case 'answer': {
      const status = Object.values(ResponseStatus).find((value) => value === one.status)
      const [key] = node.openKeys
      if (key !== undefined && status !== undefined) node.respond(key, { status })
      return
    }
    case 'connect': {
      if (link.state.name === 'quarantined') return
      const next = node.again(harness.clock, { windowRecords: 3, maxFrameBytes: 2_048 })
      if (!one.answers) next.answer = undefined
      return harness.dial(BANK, next)
    }
    case 'drop':
      if (link.peer !== undefined) link.drop()
      return
    case 'rekey':
      if (link.state.name === 'connected') link.rekey('operator')
      return
    case 'peerDrains':
      return node.channel?.drain(harness.clock.monotonicMs() + 50)
    case 'peerDies':
      return node.link.xchangeSocket.terminate()
    case 'cut':
      return node.link.cut('toLs')
    case 'quarantine':
      return link.quarantine({ reason: 'a test' })
    case 'resume':
      if (link.state.name === 'quarantined') link.resume()
      return
    case 'appLeaves':
      apps[2]?.close()
  }
}

t.test('BEY-2 LS-1 whatever happens, each request ends exactly once, and the lane counts it once', async (t) => {
  let requests = 0
  const outcomes: Record<string, number> = {}
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 25 }),
      fc.constantFrom('queue', 'reject'),
      async (steps, early) => {
        const harness = new SwitchHarness({
          config: { requests: { early, maxQueued: 8 }, echo: { intervalMs: 5_000, timeoutMs: 1_000 } },
        })
        await harness.apply(harness.bank(BANK, {}, { windowRecords: 3, maxFrameBytes: 2_048 }))
        const apps = [harness.app, new TestConnection(2), new TestConnection(3)]
        const asked = new Map<number, TestConnection>()
        for (const one of steps) await perform(harness, apps, asked, one)
        const drained = harness.registry.drainAll(100)
        await harness.clock.advance(3_000)
        await drained
        const ends = [...asked].map(([id, app]) => ({ id, app, end: app.endOf(id) }))
        const open = ends.filter(({ app, end }) => end === undefined && !app.closed)
        if (open.length > 0) throw new Error(`no outcome for ${open.map(({ id }) => id).join(', ')}`)
        // What was in doubt and is settled later was counted before.
        const { 'settled-late': _, ...ended } = harness.link(BANK).lane.outcomes
        const counted = Object.values(ended).reduce((sum, count) => sum + count, 0)
        if (counted !== asked.size) throw new Error(`${asked.size} requests, but ${counted} outcomes counted`)
        const { memory } = harness.node(BANK)
        for (const { end } of ends) {
          const key = String(end?.key)
          if (end?.outcome === 'not-sent' && memory.has(key)) throw new Error(`${key} was not sent, but it arrived`)
          const kept = harness.journal.get(key)?.outcome
          if (end?.outcome === 'answered' && kept !== undefined && kept !== 'answered')
            throw new Error(`${key} was answered, but the journal says ${kept}`)
          if (end !== undefined) outcomes[String(end.outcome)] = (outcomes[String(end.outcome)] ?? 0) + 1
        }
        requests += asked.size
        await harness.clock.advance(700_000)
        if (harness.clock.pendingTimers > 0) throw new Error(`${harness.clock.pendingTimers} timers are left`)
        for (const { id, app, end } of ends) {
          if (app.endOf(id) !== end) throw new Error(`request ${id} ended twice`)
        }
      },
    ),
    { numRuns: 60 },
  )
  t.ok(requests > 300)
  t.strictSame(Object.keys(outcomes).sort(), ['answered', 'in-doubt', 'not-sent', 'refused'], 'all of them were seen')
})
