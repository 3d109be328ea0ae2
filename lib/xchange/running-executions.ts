import type { Clock, LsxError, TimerHandle } from '../runtime/index.ts'
import type { Execution } from './execution.ts'

/** The requests at work, by key. Watches for those that never end, and tells when none is left. */
export class RunningExecutions {
  readonly #byKey = new Map<string, Execution>()
  readonly #clock: Clock
  readonly #abandonAfterMs: number
  readonly #onAbandoned: (execution: Execution) => void
  readonly #idleListeners = new Set<() => void>()
  #sweepTimer: TimerHandle | undefined

  /** `onAbandoned` is called for an execution that is `abandonAfterMs` over its deadline and has lost its place. */
  constructor(options: { clock: Clock; abandonAfterMs: number; onAbandoned: (execution: Execution) => void }) {
    this.#clock = options.clock
    this.#abandonAfterMs = options.abandonAfterMs
    this.#onAbandoned = options.onAbandoned
  }

  get size(): number {
    return this.#byKey.size
  }

  get(key: string): Execution | undefined {
    return this.#byKey.get(key)
  }

  add(execution: Execution): void {
    this.#byKey.set(execution.invocation.key, execution)
    this.#ensureSweep()
  }

  remove(execution: Execution): void {
    const { key } = execution.invocation
    // An abandoned execution has lost its place, perhaps to a repetition.
    if (this.#byKey.get(key) !== execution) return
    this.#byKey.delete(key)
    this.#announceIdle()
  }

  /** Resolves when nothing is at work; rejects with the signal's reason when that comes first. */
  whenIdle(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#byKey.size === 0) {
        resolve()
        return
      }
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const onIdle = () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      const onAbort = () => {
        this.#idleListeners.delete(onIdle)
        reject(signal.reason)
      }
      this.#idleListeners.add(onIdle)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Tells all handlers to stop, and watches no more. */
  stop(reason: LsxError): void {
    if (this.#sweepTimer !== undefined) this.#clock.cancelTimer(this.#sweepTimer)
    this.#sweepTimer = undefined
    for (const execution of this.#byKey.values()) execution.invocation.abort(reason)
  }

  #announceIdle(): void {
    if (this.#byKey.size > 0 || this.#idleListeners.size === 0) return
    const listeners = [...this.#idleListeners]
    this.#idleListeners.clear()
    for (const listener of listeners) listener()
  }

  /** One timer for all that run, and none while nothing does. */
  #ensureSweep(): void {
    if (this.#sweepTimer !== undefined) return
    this.#sweepTimer = this.#clock.startTimer(Math.max(1_000, this.#abandonAfterMs / 4), () => {
      this.#sweepTimer = undefined
      this.#abandonOverdue()
      if (this.#byKey.size > 0) this.#ensureSweep()
    })
  }

  #abandonOverdue(): void {
    const nowMs = this.#clock.monotonicMs()
    for (const execution of this.#byKey.values()) {
      if (nowMs - execution.invocation.deadlineMs < this.#abandonAfterMs) continue
      this.remove(execution)
      this.#onAbandoned(execution)
    }
  }
}
