import t from 'tap'
import { figuresFrom } from '../../../lib/ls/uptime/figures.ts'
import { DAY_MS, HOUR_MS, lifeOf, MINUTE_MS, START_MS } from './scenario.ts'

const minute = (count: number) => START_MS + count * MINUTE_MS
const day = (count: number) => START_MS + count * DAY_MS

t.test('LS-16 a bank known for two hours: ratios are over the time in which it was known', async (t) => {
  const life = lifeOf('044', [
    [minute(0), 'dialing'],
    [minute(1), 'securing'],
    [minute(10), 'connected', { sessionId: '0a'.repeat(16), epoch: 1 }],
    [minute(40), 'idle', { cause: 'echo', code: 'DEADLINE_EXCEEDED', detail: 'two echoes missed' }],
    [minute(41), 'dialing'],
    [minute(42), 'securing'],
    [minute(50), 'connected'],
  ])
  // Up from 10 to 40 and from 50 to 120: 100 of 120 minutes.
  t.same(figuresFrom(life, minute(120)), {
    up: true,
    sinceMs: minute(50),
    knownSinceMs: minute(0),
    uptime1h: 1,
    uptime24h: 100 / 120,
    uptime7d: 100 / 120,
    uptime30d: 100 / 120,
    connects: 2,
    dropCount: 1,
    drops: { echo: 1 },
    failedAttempts: {},
    mtbfMs: 100 * MINUTE_MS,
    mttrMs: 10 * MINUTE_MS,
    lastDrop: {
      atMs: minute(40),
      cause: 'echo',
      code: 'DEADLINE_EXCEEDED',
      detail: 'two echoes missed',
      sessionId: undefined,
    },
  })
  // 75 minutes in: the last hour is from 15 to 75, up but for 40 to 50.
  t.equal(figuresFrom(life, minute(75))?.uptime1h, 50 / 60)
})

t.test('LS-16 forty days: uptime over 1 h, 24 h, 7 d and 30 d, mean time between drops and to restore', async (t) => {
  const life = lifeOf('058', [
    [day(0), 'connected'],
    // Before the 30 days: not counted.
    [day(5), 'idle', { cause: 'kx' }],
    [day(5) + 2 * HOUR_MS, 'connected'],
    // Six hours within the 30 days, not within the 7.
    [day(12), 'idle', { cause: 'tcp' }],
    [day(12) + 6 * HOUR_MS, 'connected'],
    // One hour within the 7 days.
    [day(35), 'idle', { cause: 'tls' }],
    [day(35) + HOUR_MS, 'connected'],
  ])
  const figures = figuresFrom(life, day(40))
  t.match(figures, {
    up: true,
    uptime1h: 1,
    uptime24h: 1,
    uptime7d: 167 / 168,
    uptime30d: 713 / 720,
    connects: 2,
    dropCount: 2,
    drops: { tcp: 1, tls: 1 },
    mtbfMs: (713 / 2) * HOUR_MS,
    mttrMs: 3.5 * HOUR_MS,
  })
  t.notOk(figures?.drops.kx, 'the drop of day 5 is out of the window')
})

t.test('LS-16 an outage that lasts: ratios fall, and it counts for no mean time to restore yet', async (t) => {
  const life = lifeOf('044', [
    [minute(0), 'connected'],
    [minute(100), 'idle', { cause: 'peer-close' }],
    [minute(101), 'dialing'],
    [minute(102), 'idle', { cause: 'tcp', code: 'CHANNEL_DOWN' }],
    [minute(103), 'dialing'],
    [minute(104), 'securing'],
    [minute(105), 'idle', { cause: 'kx', code: 'KX_FAILED' }],
    [minute(106), 'dialing'],
    [minute(107), 'idle', { cause: 'tcp' }],
  ])
  const figures = figuresFrom(life, minute(130))
  t.match(figures, {
    up: false,
    sinceMs: minute(100),
    // From 70 to 130: up until 100.
    uptime1h: 30 / 60,
    uptime24h: 100 / 130,
    connects: 1,
    dropCount: 1,
    drops: { 'peer-close': 1 },
    failedAttempts: { tcp: 2, kx: 1 },
    mtbfMs: 100 * MINUTE_MS,
    lastDrop: { cause: 'peer-close' },
  })
  t.notOk(figures && 'mttrMs' in figures)
  t.equal(figuresFrom(life, minute(400))?.uptime1h, 0)
})

t.test('LS-16 drain, quarantine and a new kx on the same socket', async (t) => {
  const life = lifeOf('044', [
    [minute(0), 'connected'],
    [minute(10), 'connected', { epoch: 2 }],
    [minute(20), 'draining'],
    [minute(21), 'idle', { cause: 'local' }],
    [minute(30), 'connected'],
    [minute(40), 'quarantined', { cause: 'policy' }],
    [minute(50), 'idle'],
  ])
  t.match(figuresFrom(life, minute(60)), {
    up: false,
    sinceMs: minute(40),
    uptime1h: 30 / 60,
    connects: 2,
    dropCount: 2,
    drops: { local: 1, policy: 1 },
    failedAttempts: {},
    mtbfMs: 15 * MINUTE_MS,
    mttrMs: 10 * MINUTE_MS,
  })
})

t.test('a bank is known from when its first state began', async (t) => {
  // What is left of a long history: it was connected for a day before this drop.
  const life = [
    { atMs: day(1), bankCode: '044', from: 'connected', to: 'idle', cause: 'echo', durationMs: DAY_MS },
  ] as const
  t.match(figuresFrom(life, day(2)), { up: false, knownSinceMs: day(0), uptime24h: 0, uptime7d: 0.5, dropCount: 1 })
})

t.test('no transitions, no figures; at the first instant the ratio is the state itself', async (t) => {
  t.equal(figuresFrom([], START_MS), undefined)
  t.match(figuresFrom(lifeOf('044', [[START_MS, 'connected']]), START_MS), { up: true, uptime1h: 1, uptime30d: 1 })
  const never = figuresFrom(lifeOf('044', [[START_MS, 'dialing']]), START_MS)
  t.match(never, { up: false, uptime1h: 0, uptime30d: 0, connects: 0, dropCount: 0, drops: {} })
  t.notOk(never && ('mtbfMs' in never || 'lastDrop' in never))
})

t.test('a time before the last transition does not give nonsense', async (t) => {
  const life = lifeOf('044', [
    [minute(0), 'connected'],
    [minute(10), 'idle', { cause: 'tcp' }],
  ])
  t.match(figuresFrom(life, minute(5)), { up: false, uptime1h: 1 })
})
