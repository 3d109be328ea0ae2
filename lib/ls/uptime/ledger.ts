import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  type Clock,
  describeError,
  type Logger,
  type LsxError,
  type Service,
  systemClock,
} from '../../runtime/index.ts'
import type { Store } from '../../store/index.ts'
import { figuresOf, type UptimeFigures } from './figures.ts'
import { LinkHistory } from './history.ts'
import { LedgerWrites } from './ledger-writes.ts'
import type { RollingLog } from './rolling-log.ts'
import { HEARTBEAT_INTERVAL_MS, HOUR_MS, MAX_CLOCK_LEAD_MS, RETENTION_MS, Schedule } from './schedule.ts'
import { keptTransition, type Transition, UP_STATE } from './transition.ts'
import { TransitionRecords } from './transition-records.ts'

export interface UptimeLedgerOptions {
  readonly store: Store
  /** The ledger starts and stops it. */
  readonly log: RollingLog
  readonly logger: Logger
  readonly clock?: Clock
  /** Attempts to connect that are kept of one bank, besides its ups and downs. Default 10,000. */
  readonly maxAttempts?: number
  /** Transitions that may wait for the store; more are only in memory and log. Default 4,096. */
  readonly maxPendingWrites?: number
}

export interface TransitionQuery {
  /** Default: all banks. */
  readonly bankCode?: string | undefined
  /** Included. */
  readonly sinceMs: number
  /** Not included. Default: no end. */
  readonly untilMs?: number | undefined
  /** The newest so many, 1 to 10,000. */
  readonly limit: number
}

export type TransitionListener = (transition: Transition) => void

const MAX_LISTENERS = 256

/**
 * Every change of every channel's state: to memory, to the store and to the uptime log, and figures from them.
 * Nothing here makes the switch wait or fail: what disk or log cannot take is counted, and warned of once.
 */
export class UptimeLedger implements Service {
  readonly name = 'uptime ledger'
  readonly #records: TransitionRecords
  readonly #log: RollingLog
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #maxAttempts: number
  readonly #histories = new Map<string, LinkHistory>()
  readonly #listeners = new Set<TransitionListener>()
  readonly #writes: LedgerWrites
  readonly #heartbeat: Schedule
  readonly #hourly: Schedule
  #serves = false
  #damagedRecords = 0

  constructor(options: UptimeLedgerOptions) {
    this.#log = options.log
    this.#logger = options.logger
    this.#clock = options.clock ?? systemClock
    this.#maxAttempts = options.maxAttempts ?? 10_000
    this.#records = new TransitionRecords(options.store, { onDamage: (error) => this.#foundDamage(error) })
    this.#writes = new LedgerWrites({
      records: this.#records,
      clock: this.#clock,
      logger: this.#logger,
      maxPending: options.maxPendingWrites ?? 4_096,
    })
    const onError = (error: unknown) =>
      this.#logger.error({ error: describeError(error) }, 'a task of the uptime ledger failed')
    this.#heartbeat = new Schedule({
      clock: this.#clock,
      intervalMs: HEARTBEAT_INTERVAL_MS,
      task: () => this.#writes.beat(),
      onError,
    })
    this.#hourly = new Schedule({
      clock: this.#clock,
      intervalMs: HOUR_MS,
      task: async (signal) => {
        await this.writeSummaries(this.#clock.nowMs(), signal)
        await this.prune(signal)
      },
      onError,
    })
  }

  /** Transitions that are in memory and log only. */
  get unstoredTransitions(): number {
    return this.#writes.unstoredTransitions
  }

  get droppedLogLines(): number {
    return this.#log.droppedLines
  }

  get damagedRecords(): number {
    return this.#damagedRecords
  }

  /** Banks with a history, those among them that are no longer configured until `forget`. */
  get banks(): string[] {
    return [...this.#histories.keys()]
  }

  /** Opens the log, reads the last 31 days, and closes what a crash left open. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#log.start(signal)
    try {
      await this.#load(signal)
      this.#closeWhatACrashLeftOpen()
      await this.#writes.beat()
    } catch (error) {
      await this.#log.stop(AbortSignal.timeout(1_000))
      throw error
    }
    this.#serves = true
    this.#heartbeat.start()
    this.#hourly.start()
  }

  async stop(signal: AbortSignal): Promise<void> {
    if (!this.#serves) return
    this.#serves = false
    await abortable(
      Promise.all([this.#heartbeat.stop(), this.#hourly.stop()]).then(() => {}),
      signal,
    )
    void this.#writes.beat()
    // Side by side: a store that hangs must not cost the log its last lines.
    await Promise.all([abortable(this.flush(), signal), this.#log.stop(signal)])
  }

  /** Takes a transition as it happens. Never throws. */
  record(transition: Transition): void {
    let kept: Transition
    try {
      kept = this.#remember(keptTransition(transition))
    } catch (error) {
      this.#logger.error({ error: describeError(error) }, 'a transition of another form is not recorded')
      return
    }
    this.#log.write({ ts: new Date(kept.atMs).toISOString(), event: 'transition', ...withoutTime(kept) })
    this.#writes.store(kept)
    for (const listener of this.#listeners) {
      try {
        listener(kept)
      } catch (error) {
        this.#logger.error({ error: describeError(error) }, 'a listener to transitions failed')
      }
    }
  }

  connectedNow(bankCode: string): boolean {
    return this.#histories.get(bankCode)?.up ?? false
  }

  /** Undefined for a bank that was never heard of. */
  figures(bankCode: string, nowMs: number): UptimeFigures | undefined {
    const history = this.#histories.get(bankCode)
    return history === undefined ? undefined : figuresOf(history, nowMs)
  }

  /** Stored transitions, oldest first. One that was recorded a moment ago may not be stored yet. */
  query(query: TransitionQuery): Transition[] {
    const histories: Iterable<[string, LinkHistory | undefined]> =
      query.bankCode === undefined ? this.#histories : [[query.bankCode, this.#histories.get(query.bankCode)]]
    const banks: { bankCode: string; lastAtMs: number }[] = []
    for (const [bankCode, history] of histories) {
      if (history !== undefined && history.lastAtMs >= query.sinceMs)
        banks.push({ bankCode, lastAtMs: history.lastAtMs })
    }
    const untilMs = query.untilMs ?? Number.MAX_SAFE_INTEGER
    const limit = Math.min(Math.max(1, Math.floor(query.limit)), 10_000)
    return this.#records.newest({ banks, sinceMs: query.sinceMs, untilMs, limit })
  }

  /** Calls `listener` with each transition from now on, until the returned function is called. */
  subscribe(listener: TransitionListener): () => void {
    if (this.#listeners.size >= MAX_LISTENERS) {
      this.#logger.warn({ listeners: MAX_LISTENERS }, 'too many listeners to transitions; one more is not taken')
      return () => {}
    }
    const own: TransitionListener = (transition) => listener(transition)
    this.#listeners.add(own)
    return () => this.#listeners.delete(own)
  }

  /** Leaves a bank that is no longer configured out of figures and summaries; what is stored of it stays its 31 days. */
  forget(bankCode: string): void {
    this.#histories.delete(bankCode)
  }

  /** One line per bank; done by itself each full hour. */
  async writeSummaries(nowMs: number, signal: AbortSignal = new AbortController().signal): Promise<void> {
    const ts = new Date(nowMs).toISOString()
    for (const bankCode of this.banks) {
      const figures = this.figures(bankCode, nowMs)
      if (figures === undefined) continue
      const { sinceMs, knownSinceMs, lastDrop, ...numbers } = figures
      const written = this.#log.write({
        ts,
        event: 'summary',
        bankCode,
        since: new Date(sinceMs).toISOString(),
        knownSince: new Date(knownSinceMs).toISOString(),
        ...numbers,
        ...(lastDrop === undefined
          ? {}
          : { lastDrop: { ts: new Date(lastDrop.atMs).toISOString(), ...withoutTime(lastDrop) } }),
      })
      if (!written) await this.#log.drained(signal)
    }
  }

  /** Removes what is older than 31 days, and attempts above their bound; done by itself each hour. Gives their number. */
  async prune(signal: AbortSignal = new AbortController().signal): Promise<number> {
    const beforeMs = this.#clock.nowMs() - RETENTION_MS
    for (const history of this.#histories.values()) history.prune(beforeMs)
    return await this.#records.prune({ beforeMs, maxAttempts: this.#maxAttempts, signal })
  }

  /** Resolves when all that was recorded is stored, or given up. */
  flush(): Promise<void> {
    return this.#writes.flush()
  }

  async #load(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.nowMs()
    let ahead = 0
    for (const bankCode of await this.#records.banks(signal)) {
      const history = new LinkHistory()
      for await (const transition of this.#records.oldestFirst(bankCode, signal)) {
        // Of a clock that was once wrong: kept, it would hold the bank in that future.
        if (transition.atMs > nowMs + MAX_CLOCK_LEAD_MS) ahead++
        else history.append(transition)
      }
      history.prune(nowMs - RETENTION_MS)
      if (history.knownSinceMs !== undefined) this.#histories.set(bankCode, history)
      await nextTurn()
    }
    if (ahead > 0) this.#logger.warn({ transitions: ahead }, 'stored transitions lie in the future and are not counted')
  }

  #closeWhatACrashLeftOpen(): void {
    const aliveAtMs = this.#records.aliveAtMs ?? 0
    for (const [bankCode, history] of this.#histories) {
      if (!history.up) continue
      const atMs = Math.max(Math.min(aliveAtMs, this.#clock.nowMs()), history.lastAtMs + 1)
      this.record({
        atMs,
        bankCode,
        from: UP_STATE,
        to: 'idle',
        cause: 'local',
        detail: 'lsd ended without closing the channel',
        durationMs: atMs - history.sinceMs,
      })
    }
  }

  #remember(transition: Transition): Transition {
    const { bankCode } = transition
    let history = this.#histories.get(bankCode)
    if (history === undefined) {
      history = new LinkHistory()
      this.#histories.set(bankCode, history)
    }
    const appended = history.append(transition)
    if (!appended.continues) {
      this.#logger.warn({ bankCode }, 'the wall clock was set back; the uptime history of the bank begins anew')
    }
    return appended.transition
  }

  #foundDamage(error: LsxError): void {
    if (this.#damagedRecords++ === 0) {
      this.#logger.error({ error: describeError(error) }, 'a stored transition is damaged and left out')
    }
  }
}

function withoutTime<T extends { readonly atMs: number }>(facts: T): Omit<T, 'atMs'> {
  const { atMs: _, ...rest } = facts
  return rest
}

/** Waits for `work`, but not longer than until `signal` aborts. */
function abortable(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => resolve()
    if (signal.aborted) resolve()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
