import t from 'tap'
import { bankStatus } from '../../lib/ls/status.ts'
import { KX_MS, SwitchHarness } from './switch-harness.ts'

function statusOf(harness: SwitchHarness, code: string) {
  return bankStatus(harness.link(code), harness.context.uptime, harness.clock)
}

async function withBank(): Promise<SwitchHarness> {
  const harness = new SwitchHarness({ config: { echo: { intervalMs: 1_000, timeoutMs: 400 } } })
  await harness.apply(harness.bank('044'))
  return harness
}

t.test('LS-16 a bank that never was connected: nothing is claimed of it', async (t) => {
  const harness = await withBank()
  await harness.clock.advance(1_500)
  t.strictSame(JSON.parse(JSON.stringify(statusOf(harness, '044'))), {
    bankCode: '044',
    name: 'Bank 044',
    dial: 'xchange',
    status: 0,
    state: 'idle',
    stateMs: 1_500,
    inFlight: 0,
    queued: 0,
    outcomes: { answered: 0, refused: 0, 'not-sent': 0, 'in-doubt': 0, 'settled-late': 0 },
    counters: {
      connects: 0,
      drops: { dns: 0, tcp: 0, tls: 0, upgrade: 0, kx: 0, echo: 0, 'peer-close': 0, local: 0, policy: 0 },
      kxStarted: 0,
      kxCompleted: 0,
      kxFailed: 0,
      echoesAnswered: 0,
      echoesMissed: 0,
      framesSent: 0,
      framesReceived: 0,
      bytesSent: 0,
      bytesReceived: 0,
      requests: 0,
      responses: 0,
      lateResponses: 0,
      unknownResponses: 0,
      invalidSignatures: 0,
    },
  })
})

t.test('LS-4 LS-16 a bank that is connected: session, keys, echo, traffic and in-flight', async (t) => {
  const harness = await withBank()
  const node = await harness.connect('044')
  harness.ask('044')
  await harness.clock.advance(3_000)
  node.answer = undefined
  harness.ask('044')
  await harness.clock.advance(KX_MS)
  const { session, counters } = harness.link('044')
  const status = statusOf(harness, '044')
  t.match(status, {
    status: 1,
    state: 'connected',
    sessionId: session?.sessionId.toString('hex'),
    epoch: 1,
    peerAddress: '127.0.0.1',
    certificateNotAfter: '2031-01-01T00:00:00.000Z',
    inFlight: 1,
    queued: 0,
    outcomes: { answered: 1, refused: 0, 'not-sent': 0, 'in-doubt': 0 },
    keys: {
      lsStatic: harness.context.staticKeys.publicKey.toString('hex'),
      xchangeStatic: session?.peerStatic.toString('hex'),
      xchangeIdentity: node.identity.publicKey.toString('hex'),
      lastKxAt: new Date(session?.establishedAtMs ?? 0).toISOString(),
    },
    counters: {
      connects: 1,
      kxStarted: 1,
      kxCompleted: 1,
      kxFailed: 0,
      kxMedianMs: 4,
      echoesMissed: 0,
      lastRoundTripMs: 2,
      minRoundTripMs: 2,
      maxRoundTripMs: 2,
      smoothedRoundTripMs: 2,
      requests: 2,
      responses: 1,
    },
  })
  t.ok(status.counters.echoesAnswered >= 3)
  t.ok(status.counters.bytesSent > 500 && status.counters.bytesReceived > 500)
  t.equal(status.stateMs, Math.round(harness.clock.monotonicMs() - 4))
  t.notOk('kxDurationsMs' in status.counters, 'the list of durations is a median here')
  t.not(status.counters, counters, 'a copy: whoever gets it cannot count')
})

t.test('LS-16 drops with their cause, kx that failed, the last failure and uptime', async (t) => {
  const harness = await withBank()
  const node = await harness.connect('044')
  await harness.clock.advance(60_000)
  node.link.xchangeSocket.terminate()
  await harness.clock.advance(20_000)
  harness.dial('044', harness.newNode('044'))
  await harness.clock.advance(KX_MS)
  const status = statusOf(harness, '044')
  t.match(status, {
    status: 0,
    state: 'idle',
    sessionId: undefined,
    epoch: undefined,
    lastFailure: { cause: 'kx', code: 'IDENTITY_DENIED', at: /^20\d\d-\d\d-\d\dT.*Z$/ },
    counters: { connects: 1, drops: { 'peer-close': 1, kx: 1 }, kxStarted: 2, kxCompleted: 1, kxFailed: 1 },
    uptime: { up: false, connects: 1, dropCount: 1, drops: { 'peer-close': 1 }, failedAttempts: { kx: 1 } },
  })
  const { uptime } = status
  t.ok(uptime !== undefined && uptime.uptime1h > 0.74 && uptime.uptime1h < 0.76, `${uptime?.uptime1h}`)
  for (const window of ['uptime24h', 'uptime7d', 'uptime30d'] as const) t.equal(uptime?.[window], uptime?.uptime1h)
  t.ok(uptime?.mtbfMs !== undefined && Math.abs(uptime.mtbfMs - 60_000) < 100)
  t.match(status.keys?.lastKxAt, /^20/, 'the keys of the last session stay known')
  await harness.connect('044', node.again(harness.clock))
  const restored = statusOf(harness, '044').uptime?.mttrMs
  t.ok(restored !== undefined && Math.abs(restored - 20_000) < 100, `${restored}`)
})

t.test('LS-16 the median of several kx', async (t) => {
  const harness = await withBank()
  await harness.connect('044')
  harness.link('044').counters.kxDurationsMs.splice(0, 1, 10, 30, 20, 1_000)
  t.equal(statusOf(harness, '044').counters.kxMedianMs, 30)
  harness.link('044').counters.kxDurationsMs.push(5)
  t.equal(statusOf(harness, '044').counters.kxMedianMs, 20)
  t.strictSame(harness.link('044').counters.kxDurationsMs, [10, 30, 20, 1_000, 5], 'sorting is done on a copy')
})

t.test('a bank in quarantine says why, a queue how long it is', async (t) => {
  const harness = await withBank()
  harness.ask('044')
  t.match(statusOf(harness, '044'), { queued: 1, outcomes: { 'not-sent': 0 } })
  harness.link('044').quarantine({ reason: 'ticket 17' })
  t.match(statusOf(harness, '044'), {
    state: 'quarantined',
    reason: 'ticket 17',
    queued: 0,
    outcomes: { 'not-sent': 1 },
  })
})

t.test('SEC no secret is in the status of a bank', async (t) => {
  const harness = await withBank()
  await harness.connect('044')
  const text = JSON.stringify(statusOf(harness, '044'))
  const { d } = harness.context.staticKeys.privateKey.export({ format: 'jwk' })
  const secret = Buffer.from(d ?? '', 'base64url')
  t.equal(secret.length, 32)
  for (const encoding of ['hex', 'base64', 'base64url'] as const) t.notOk(text.includes(secret.toString(encoding)))
  t.notMatch(text, /payload|privateKey|secret|token/i)
})
