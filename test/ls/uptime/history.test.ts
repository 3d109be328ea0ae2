import fc from 'fast-check'
import t from 'tap'
import { figuresFrom, figuresOf } from '../../../lib/ls/uptime/figures.ts'
import { LinkHistory } from '../../../lib/ls/uptime/history.ts'
import type { Transition } from '../../../lib/ls/uptime/index.ts'
import { DAY_MS, HOUR_MS, lifeOf, MINUTE_MS, START_MS } from './scenario.ts'

const minute = (count: number) => START_MS + count * MINUTE_MS

t.test('a wall clock set back a little is waited for', async (t) => {
  const history = new LinkHistory()
  const [up, down] = lifeOf('044', [
    [minute(10), 'connected'],
    [minute(9), 'idle', { cause: 'tcp', durationMs: 0 }],
  ]) as [Transition, Transition]
  t.same(history.append(up), { transition: up, continues: true })
  t.same(history.append(down), { transition: { ...down, atMs: minute(10) }, continues: true })
  t.equal(history.lastDrop?.atMs, minute(10))
})

t.test('a wall clock set back far begins the history anew, so that it does not wait for years', async (t) => {
  const history = new LinkHistory()
  const [up, down] = lifeOf('044', [
    [START_MS + 4_000 * DAY_MS, 'connected'],
    [minute(10), 'idle', { cause: 'tcp', durationMs: 5 * MINUTE_MS }],
  ]) as [Transition, Transition]
  history.append(up)
  t.same(history.append(down), { transition: down, continues: false })
  t.match(figuresOf(history, minute(20)), { up: false, knownSinceMs: minute(5), uptime1h: 5 / 15, dropCount: 1 })
})

t.test('lost transitions: what the next one says of its past is believed', async (t) => {
  const drop = {
    atMs: minute(60),
    bankCode: '044',
    from: 'connected',
    to: 'idle',
    cause: 'echo',
    durationMs: 20 * MINUTE_MS,
  } as const
  const lostConnect = [...lifeOf('044', [[minute(0), 'dialing']]), drop]
  t.match(figuresFrom(lostConnect, minute(60)), {
    up: false,
    uptime1h: 20 / 60,
    connects: 1,
    dropCount: 1,
    drops: { echo: 1 },
  })
  const again = {
    atMs: minute(60),
    bankCode: '044',
    from: 'securing',
    to: 'connected',
    durationMs: 2 * MINUTE_MS,
  } as const
  const lostDrop = [...lifeOf('044', [[minute(0), 'connected']]), again]
  t.match(figuresFrom(lostDrop, minute(60)), {
    up: true,
    uptime1h: 58 / 60,
    connects: 2,
    dropCount: 1,
    drops: { local: 1 },
  })
})

t.test('a link that flaps without end takes bounded space, and its figures stay right', async (t) => {
  const maxSpans = 2_048
  const history = new LinkHistory(maxSpans)
  const life: Transition[] = []
  // Thirty days of 5 minutes up and 10 down: 5,760 changes.
  for (let quarter = 0; quarter < 30 * 96; quarter++) {
    const atMs = START_MS + quarter * 15 * MINUTE_MS
    life.push({ atMs, bankCode: '044', from: 'securing', to: 'connected', durationMs: 0 })
    life.push({
      atMs: atMs + 5 * MINUTE_MS,
      bankCode: '044',
      from: 'connected',
      to: 'idle',
      cause: 'tcp',
      durationMs: 0,
    })
  }
  for (const transition of life) history.append(transition)
  const nowMs = START_MS + 30 * DAY_MS
  const spans = history.spans(nowMs)
  t.ok(spans.length <= maxSpans + 1, `${spans.length} spans of 5,760 changes`)
  for (const [index, span] of spans.entries()) {
    t.equal(span.startMs, index === 0 ? START_MS : spans[index - 1]?.endMs, 'no gap')
  }
  const third = { uptime24h: 1 / 3, uptime7d: 1 / 3, uptime30d: 1 / 3 }
  const figures = figuresOf(history, nowMs)
  for (const [name, ratio] of Object.entries(third)) {
    t.ok(Math.abs(((figures as unknown as Record<string, number>)[name] ?? 0) - ratio) < 1e-9, name)
  }
  t.match(figures, { connects: 2_880, dropCount: 2_880, mtbfMs: 5 * MINUTE_MS, mttrMs: 10 * MINUTE_MS })
  t.equal(figures?.uptime1h, figuresFrom(life, nowMs)?.uptime1h, 'what is recent is exact')
})

t.test('folded or not, the figures are the same where no window cuts an hour', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 200 }), (gapsMinutes) => {
      let atMs = START_MS
      const life = lifeOf(
        '044',
        gapsMinutes.map((gap, index) => {
          atMs += gap * MINUTE_MS
          return [atMs, index % 2 === 0 ? 'connected' : 'idle', index % 2 === 0 ? {} : { cause: 'tcp' }] as const
        }),
      )
      const folded = new LinkHistory(8)
      for (const transition of life) folded.append(transition)
      const nowMs = (Math.floor(atMs / HOUR_MS) + 1) * HOUR_MS
      const exact = figuresFrom(life, nowMs)
      const estimated = figuresOf(folded, nowMs)
      t.ok(Math.abs((exact?.uptime30d ?? -1) - (estimated?.uptime30d ?? -2)) < 1e-9)
      t.match(estimated, { connects: exact?.connects, dropCount: exact?.dropCount, sinceMs: exact?.sinceMs })
    }),
    { numRuns: 60, seed: 3 },
  )
})

t.test('what ended before the retention is let go, the state is not', async (t) => {
  const history = new LinkHistory()
  for (const transition of lifeOf('044', [
    [START_MS, 'connected'],
    [START_MS + DAY_MS, 'idle', { cause: 'tcp' }],
    [START_MS + 2 * DAY_MS, 'connected'],
  ])) {
    history.append(transition)
  }
  history.prune(START_MS + 1.5 * DAY_MS)
  t.equal(history.knownSinceMs, START_MS + DAY_MS)
  history.prune(START_MS + 90 * DAY_MS)
  t.match(figuresOf(history, START_MS + 90 * DAY_MS), { up: true, uptime30d: 1, knownSinceMs: START_MS + 2 * DAY_MS })
})
