import type { Clock, TimerHandle } from '../runtime/index.ts'
import { PARTIAL_MESSAGE_MS } from './limits.ts'

/**
 * Bounds how long a message may take to arrive. Most chunks end inside a message, so it keeps the time and at most one
 * timer, which winds itself up again when it fires too soon for the message at hand.
 */
export class MessageDeadline {
  readonly #clock: Clock
  readonly #isPaused: () => boolean
  readonly #onOverdue: () => void
  #sinceMs: number | undefined
  #timer: TimerHandle | undefined

  /** While `isPaused` says that nothing is read, the rest may be there and waiting: the time begins anew. */
  constructor(options: { clock: Clock; isPaused: () => boolean; onOverdue: () => void }) {
    this.#clock = options.clock
    this.#isPaused = options.isPaused
    this.#onOverdue = options.onOverdue
  }

  /** A message has begun and not ended; `isNew` when it is another one than at the last call. */
  partial(options: { isNew: boolean }): void {
    if (options.isNew || this.#sinceMs === undefined) this.#sinceMs = this.#clock.monotonicMs()
    this.#timer ??= this.#clock.startTimer(PARTIAL_MESSAGE_MS, this.#timerFired)
  }

  /** No message is under way. */
  complete(): void {
    this.#sinceMs = undefined
  }

  stop(): void {
    this.#sinceMs = undefined
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }

  readonly #timerFired = (): void => {
    this.#timer = undefined
    if (this.#sinceMs === undefined) return
    const nowMs = this.#clock.monotonicMs()
    if (this.#isPaused()) this.#sinceMs = nowMs
    const remainingMs = this.#sinceMs + PARTIAL_MESSAGE_MS - nowMs
    if (remainingMs > 0) this.#timer = this.#clock.startTimer(remainingMs, this.#timerFired)
    else this.#onOverdue()
  }
}
