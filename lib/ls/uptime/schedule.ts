import type { Clock, TimerHandle } from '../../runtime/index.ts'

export const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** A crash closes what was open at the last beat: no uptime is claimed that was not seen. */
export const HEARTBEAT_INTERVAL_MS = 60_000
/** A day more than the longest window. */
export const RETENTION_MS = 31 * DAY_MS
/** Stored times further ahead than this come from a wrong clock. */
export const MAX_CLOCK_LEAD_MS = 300_000

/** Runs a task at each full interval of wall time; never twice at once. */
export class Schedule {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #task: (signal: AbortSignal) => Promise<void>
  readonly #onError: (error: unknown) => void
  #timer: TimerHandle | undefined
  #abort: AbortController | undefined
  #running: Promise<void> | undefined

  constructor(options: {
    clock: Clock
    intervalMs: number
    task: (signal: AbortSignal) => Promise<void>
    onError: (error: unknown) => void
  }) {
    this.#clock = options.clock
    this.#intervalMs = options.intervalMs
    this.#task = options.task
    this.#onError = options.onError
  }

  start(): void {
    if (this.#abort !== undefined) return
    this.#abort = new AbortController()
    this.#arm()
  }

  /** Aborts a run that is under way and waits for its end. */
  async stop(): Promise<void> {
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
    this.#abort?.abort()
    this.#abort = undefined
    await this.#running
  }

  #arm(): void {
    const nowMs = this.#clock.nowMs()
    const dueMs = (Math.floor(nowMs / this.#intervalMs) + 1) * this.#intervalMs
    this.#timer = this.#clock.startTimer(dueMs - nowMs, () => {
      // Timers and wall clock differ by a little: a timer that fires early must not make the task run twice.
      if (this.#clock.nowMs() >= dueMs) this.#run()
      this.#arm()
    })
  }

  #run(): void {
    const signal = this.#abort?.signal
    if (signal === undefined || this.#running !== undefined) return
    this.#running = this.#task(signal)
      .catch((error) => {
        if (!signal.aborted) this.#onError(error)
      })
      .finally(() => {
        this.#running = undefined
      })
  }
}
