import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { RollingLog, type Transition, UptimeLedger, type UptimeLedgerOptions } from '../../../lib/ls/uptime/index.ts'
import { TransitionRecords } from '../../../lib/ls/uptime/transition-records.ts'
import { createLogger, type Logger, silentLogger } from '../../../lib/runtime/index.ts'
import { openStore, type Store, type StoreOptions } from '../../../lib/store/index.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { DAY_MS, HOUR_MS, lifeOf, MINUTE_MS, START_MS } from './scenario.ts'

const LOCK_HOLDER = fileURLToPath(new URL('../../store/lock-holder.js', import.meta.url))
const STALL_MS = 20_000
const signal = () => AbortSignal.timeout(STALL_MS)
const minute = (count: number) => START_MS + count * MINUTE_MS

interface Site {
  readonly clock: VirtualClock
  readonly store: Store
  readonly ledger: UptimeLedger
  readonly dir: string
}

/** A ledger over a real store and a real log in `dir`, at the virtual time `atMs`. */
async function startSite(
  t: Test,
  dir: string,
  atMs: number,
  options: Partial<UptimeLedgerOptions> & { logger?: Logger; storeOptions?: Partial<StoreOptions> } = {},
): Promise<Site> {
  const clock = new VirtualClock(atMs)
  const { storeOptions, logger = silentLogger, ...ledgerOptions } = options
  const store = openStore({ path: join(dir, 'store'), minFreeBytes: 0, ...storeOptions })
  const log = new RollingLog({ dir: join(dir, 'logs'), name: 'uptime', logger, clock })
  const ledger = new UptimeLedger({ store, log, logger, clock, ...ledgerOptions })
  await ledger.start(signal())
  t.teardown(async () => {
    await ledger.stop(signal())
    await store.close()
  })
  return { clock, store, ledger, dir }
}

async function stopTidily(site: Site): Promise<void> {
  await site.ledger.stop(signal())
  await site.store.close()
}

function logLines(dir: string): Record<string, unknown>[] {
  const text = readFileSync(join(dir, 'logs', 'uptime.log'), 'utf8')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

async function play(site: Site, life: readonly Transition[]): Promise<void> {
  for (const transition of life) {
    await site.clock.advance(transition.atMs - site.clock.nowMs())
    site.ledger.record(transition)
  }
  await site.ledger.flush()
}

const LIFE = lifeOf('044', [
  [minute(0), 'dialing'],
  [minute(1), 'securing'],
  [minute(10), 'connected', { sessionId: '0a'.repeat(16), epoch: 1 }],
  [minute(40), 'idle', { cause: 'echo', code: 'DEADLINE_EXCEEDED', detail: 'two echoes missed' }],
  [minute(41), 'dialing'],
  [minute(50), 'connected', { sessionId: '0b'.repeat(16), epoch: 1 }],
])

t.test('LS-11 LS-17 each change of state goes to memory, to the store and to the uptime log', async (t) => {
  const dir = t.testdir({})
  const site = await startSite(t, dir, minute(0))
  await play(site, LIFE)
  t.equal(site.ledger.connectedNow('044'), true)
  t.equal(site.ledger.connectedNow('058'), false)
  t.match(site.ledger.figures('044', minute(120)), { up: true, uptime24h: 100 / 120, drops: { echo: 1 } })
  t.equal(site.ledger.figures('058', minute(120)), undefined)

  t.same(site.ledger.query({ sinceMs: 0, limit: 100 }), LIFE, 'from the store')
  t.same(site.ledger.query({ bankCode: '044', sinceMs: minute(40), untilMs: minute(50), limit: 100 }), LIFE.slice(3, 5))
  t.same(site.ledger.query({ sinceMs: 0, limit: 2 }), LIFE.slice(-2), 'the newest')
  t.same(site.ledger.query({ bankCode: '058', sinceMs: 0, limit: 2 }), [])

  await stopTidily(site)
  t.same(logLines(dir)[3], {
    ts: new Date(minute(40)).toISOString(),
    event: 'transition',
    bankCode: '044',
    from: 'connected',
    to: 'idle',
    cause: 'echo',
    code: 'DEADLINE_EXCEEDED',
    detail: 'two echoes missed',
    durationMs: 30 * MINUTE_MS,
  })
  t.equal(logLines(dir).length, LIFE.length)
})

t.test('LS-16 figures and query are the same after a restart', async (t) => {
  const dir = t.testdir({})
  const first = await startSite(t, dir, minute(0))
  await play(first, [
    ...LIFE,
    ...lifeOf('044', [[minute(60), 'draining', { from: 'connected', durationMs: 10 * MINUTE_MS }]]),
  ])
  const before = first.ledger.figures('044', minute(70))
  await stopTidily(first)
  const second = await startSite(t, dir, minute(70))
  t.same(second.ledger.figures('044', minute(70)), before)
  t.equal(second.ledger.query({ sinceMs: 0, limit: 100 }).length, 7)
})

t.test('a bank that has been up for a hundred days is known after a restart', async (t) => {
  const dir = t.testdir({})
  const store = openStore({ path: join(dir, 'store'), minFreeBytes: 0 })
  const records = new TransitionRecords(store, { onDamage: (error) => t.fail(error.message) })
  for (const transition of lifeOf('044', [[START_MS, 'connected']])) await records.put(transition)
  const endMs = START_MS + 100 * DAY_MS
  await records.putAliveAt(endMs - HOUR_MS)
  await records.prune({ beforeMs: endMs - 31 * DAY_MS, maxAttempts: 10, signal: signal() })
  await store.close()
  const site = await startSite(t, dir, endMs)
  t.match(site.ledger.figures('044', endMs), { knownSinceMs: START_MS, uptime30d: 719 / 720, drops: { local: 1 } })
})

t.test('LS-16 a crash: what was open is closed at the last time at which the process was known to live', async (t) => {
  const dir = t.testdir({})
  const crashed = spawn(process.execPath, [fileURLToPath(new URL('./crashing-ledger.js', import.meta.url)), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(crashed.stdout, 'data')
  const ended = once(crashed, 'exit')
  crashed.kill('SIGKILL')
  await ended

  // The program connected at minute 10, lived until 35 by its last heartbeat, and died. It is restarted at minute 60.
  const site = await startSite(t, dir, minute(60))
  const recovered = {
    atMs: minute(35),
    bankCode: '044',
    from: 'connected',
    to: 'idle',
    cause: 'local',
    detail: 'lsd ended without closing the channel',
    durationMs: 25 * MINUTE_MS,
  }
  t.equal(site.ledger.connectedNow('044'), false)
  t.match(site.ledger.figures('044', minute(60)), {
    up: false,
    uptime1h: 25 / 60,
    drops: { local: 1 },
    lastDrop: { atMs: minute(35), cause: 'local' },
  })
  await site.ledger.flush()
  t.same(site.ledger.query({ bankCode: '044', sinceMs: minute(35), limit: 10 }), [recovered])
  t.equal(site.ledger.figures('058', minute(60))?.drops.local, undefined, 'a bank that was down stays as it was')
  await stopTidily(site)
  const { atMs: _, ...rest } = recovered
  t.match(logLines(dir), [{ ts: new Date(minute(35)).toISOString(), event: 'transition', ...rest }])

  const again = await startSite(t, dir, minute(61))
  await again.ledger.flush()
  t.equal(
    again.ledger.query({ sinceMs: 0, limit: 10 }).filter(({ cause }) => cause === 'local').length,
    1,
    'closed once',
  )
})

t.test('the heartbeat says each minute until when the process lived', async (t) => {
  const dir = t.testdir({})
  const first = await startSite(t, dir, minute(0))
  await play(first, lifeOf('044', [[minute(2), 'connected']]))
  await first.clock.advance(5 * MINUTE_MS + 30_000)
  await stopTidily(first)
  const second = await startSite(t, dir, minute(100))
  t.equal(second.ledger.figures('044', minute(100))?.lastDrop?.atMs, minute(7) + 30_000, 'a stop is the last heartbeat')
})

t.test('LS-17 people and programs that follow get each transition, until they stop', async (t) => {
  const logged: string[] = []
  const logger = createLogger({ name: 'test', level: 'error', destination: { write: (text) => logged.push(text) } })
  const site = await startSite(t, t.testdir({}), minute(0), { logger })
  const seen: Transition[] = []
  const unsubscribe = site.ledger.subscribe((transition) => seen.push(transition))
  site.ledger.subscribe(() => {
    throw new Error('a listener of bad manners')
  })
  await play(site, LIFE.slice(0, 3))
  unsubscribe()
  unsubscribe()
  await play(site, LIFE.slice(3))
  t.same(seen, LIFE.slice(0, 3))
  t.equal(logged.length, LIFE.length)
  t.match(logged[0], /a listener to transitions failed/)
})

t.test('listeners are bounded', async (t) => {
  const site = await startSite(t, t.testdir({}), minute(0))
  let calls = 0
  const all = Array.from({ length: 300 }, () => site.ledger.subscribe(() => calls++))
  await play(site, LIFE.slice(0, 1))
  t.equal(calls, 256)
  for (const unsubscribe of all) unsubscribe()
  site.ledger.subscribe(() => calls++)
  await play(site, LIFE.slice(1, 2))
  t.equal(calls, 257)
})

t.test('LS-17 each full hour the log has a summary of each bank', async (t) => {
  const dir = t.testdir({})
  const site = await startSite(t, dir, minute(0))
  await play(site, LIFE)
  site.ledger.record({
    atMs: minute(50),
    bankCode: '058',
    from: 'dialing',
    to: 'idle',
    cause: 'tcp',
    durationMs: 3_000,
  })
  site.ledger.record({ atMs: minute(50), bankCode: '070', from: 'idle', to: 'dialing', durationMs: 0 })
  site.ledger.forget('070')
  t.same(site.ledger.banks, ['044', '058'])
  await site.clock.advance(9 * MINUTE_MS)
  await site.ledger.flush()
  await site.clock.advance(MINUTE_MS)
  await site.clock.advance(HOUR_MS)
  await stopTidily(site)
  const summaries = logLines(dir).filter(({ event }) => event === 'summary')
  t.match(summaries, [
    {
      ts: new Date(minute(60)).toISOString(),
      bankCode: '044',
      up: true,
      uptime1h: 40 / 60,
      dropCount: 1,
      drops: { echo: 1 },
    },
    { ts: new Date(minute(60)).toISOString(), bankCode: '058', up: false, uptime1h: 0, failedAttempts: { tcp: 1 } },
    { ts: new Date(minute(120)).toISOString(), bankCode: '044', uptime1h: 1, uptime24h: 100 / 120 },
    { ts: new Date(minute(120)).toISOString(), bankCode: '058' },
  ])
  t.equal(summaries.length, 4)
  t.match(summaries[0], {
    since: new Date(minute(50)).toISOString(),
    knownSince: new Date(minute(0)).toISOString(),
    mttrMs: 10 * MINUTE_MS,
    lastDrop: { ts: new Date(minute(40)).toISOString(), cause: 'echo' },
  })
})

t.test('each hour what is older than 31 days is removed', async (t) => {
  const site = await startSite(t, t.testdir({}), START_MS)
  await play(
    site,
    lifeOf('044', [
      [START_MS, 'connected'],
      [START_MS + DAY_MS, 'idle', { cause: 'tcp' }],
      [START_MS + DAY_MS + HOUR_MS, 'connected'],
    ]),
  )
  await stopTidily(site)
  const next = await startSite(t, site.dir, START_MS + 33 * DAY_MS - 1)
  t.equal(next.ledger.query({ sinceMs: 0, limit: 10 }).length, 4, 'with the one that the start closed')
  await next.clock.advance(1)
  const left = () => next.ledger.query({ sinceMs: 0, limit: 10 })
  const stall = signal()
  while (left().length > 0) {
    stall.throwIfAborted()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  t.same(left(), [])
})

t.test('a store that is full: memory and log go on, the operator is told once', async (t) => {
  const dir = t.testdir({})
  const warnings: string[] = []
  const logger = createLogger({ name: 'test', level: 'warn', destination: { write: (text) => warnings.push(text) } })
  const site = await startSite(t, dir, minute(0), { logger, storeOptions: { minFreeBytes: Number.MAX_SAFE_INTEGER } })
  const before = warnings.length
  t.equal(before, 1, 'by the first heartbeat')
  await play(site, LIFE)
  t.equal(warnings.length, before)
  t.equal(site.ledger.unstoredTransitions, LIFE.length)
  t.equal(site.ledger.connectedNow('044'), true)
  t.same(site.ledger.query({ sinceMs: 0, limit: 10 }), [])
  await stopTidily(site)
  t.equal(logLines(dir).length, LIFE.length)
  t.equal(site.ledger.droppedLogLines, 0)
})

t.test('a store that is slow: what waits is bounded', async (t) => {
  const site = await startSite(t, t.testdir({}), minute(0), { maxPendingWrites: 5 })
  for (let index = 0; index < 20; index++) {
    site.ledger.record({ atMs: minute(index), bankCode: '044', from: 'idle', to: 'dialing', durationMs: 0 })
  }
  t.equal(site.ledger.unstoredTransitions, 15)
  await site.ledger.flush()
  t.equal(site.ledger.query({ sinceMs: 0, limit: 100 }).length, 5)
})

t.test('a transition of another form is not recorded, and does not throw', async (t) => {
  const errors: string[] = []
  const logger = createLogger({ name: 'test', level: 'error', destination: { write: (text) => errors.push(text) } })
  const site = await startSite(t, t.testdir({}), minute(0), { logger })
  site.ledger.record({ atMs: minute(0), bankCode: '../etc', from: 'idle', to: 'dialing', durationMs: 0 })
  site.ledger.record({ atMs: Number.NaN, bankCode: '044', from: 'idle', to: 'dialing', durationMs: 0 })
  t.equal(errors.length, 2)
  t.same(site.ledger.banks, [])
})

t.test('stored times far in the future, of a clock that was wrong once, are not counted', async (t) => {
  const dir = t.testdir({})
  const wrong = await startSite(t, dir, START_MS + 5_000 * DAY_MS)
  await play(wrong, lifeOf('044', [[START_MS + 5_000 * DAY_MS, 'connected']]))
  await stopTidily(wrong)
  const warnings: string[] = []
  const logger = createLogger({ name: 'test', level: 'warn', destination: { write: (text) => warnings.push(text) } })
  const site = await startSite(t, dir, minute(0), { logger })
  t.match(warnings, [/lie in the future/])
  t.equal(site.ledger.figures('044', minute(0)), undefined)
  await play(site, lifeOf('044', [[minute(1), 'connected']]))
  t.match(site.ledger.figures('044', minute(2)), { up: true, uptime1h: 1 })
})

t.test('a start that fails leaves nothing open', async (t) => {
  const dir = t.testdir({})
  const store = openStore({ path: join(dir, 'store'), minFreeBytes: 0 })
  const log = new RollingLog({ dir: join(dir, 'logs'), name: 'uptime', logger: silentLogger })
  const clock = new VirtualClock(START_MS)
  const ledger = new UptimeLedger({ store, log, logger: silentLogger, clock })
  await store.close()
  await t.rejects(ledger.start(signal()), { code: 'SHUTTING_DOWN' })
  t.equal(clock.pendingTimers, 0)
})

t.test('stopping ends all timers, may be done twice, and does not wait for a store that hangs', async (t) => {
  const site = await startSite(t, t.testdir({}), minute(0))
  const holder = spawn(process.execPath, [LOCK_HOLDER, join(site.dir, 'store')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(holder.stdout, 'data')
  site.ledger.record({ atMs: minute(0), bankCode: '044', from: 'idle', to: 'dialing', durationMs: 0 })
  const giveUp = new AbortController()
  const stopped = site.ledger.stop(giveUp.signal)
  const stall = signal()
  while (logLines(site.dir).length === 0) {
    stall.throwIfAborted()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  t.equal(logLines(site.dir).length, 1, 'the log has what the store has not')
  giveUp.abort()
  await stopped
  const ended = once(holder, 'exit')
  holder.kill('SIGKILL')
  await ended
  await site.ledger.stop(signal())
  await site.store.close()
  t.equal(site.clock.pendingTimers, 0)
})
