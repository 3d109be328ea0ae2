export interface BackoffTerms {
  readonly minDelayMs: number
  readonly maxDelayMs: number
  /** A connection that lasted this long starts the delays afresh. */
  readonly stableAfterMs: number
  /** So long after a channel that served was lost, no delay is over `PROMPT_MAX_DELAY_MS`. 0: never. */
  readonly promptForMs: number
}

/** While a loss is fresh: a process that was killed is back within a second or two, and its requests wait for it. */
export const PROMPT_MAX_DELAY_MS = 500
/** A channel has served when it was up this long. One that always ends sooner is dialled ever more slowly. */
export const SERVED_AFTER_MS = 1_000

/**
 * Full jitter: each delay is drawn evenly from 0 to a bound that doubles from `minDelayMs` to `maxDelayMs`.
 * The cap comes before the draw, so that a fleet that failed together does not come back together.
 */
export class Backoff {
  readonly #terms: BackoffTerms
  readonly #random: () => number
  #failures = 0
  #promptUntilMs = Number.NEGATIVE_INFINITY

  constructor(terms: BackoffTerms, random: () => number) {
    this.#terms = terms
    this.#random = random
  }

  /** A connection is over; one that was stable makes the next delay a first one. Times are monotonic. */
  connectionEnded({ upSinceMs, nowMs }: { readonly upSinceMs: number; readonly nowMs: number }): void {
    const lastedMs = nowMs - upSinceMs
    if (lastedMs >= this.#terms.stableAfterMs) this.#failures = 0
    if (lastedMs >= SERVED_AFTER_MS) this.#promptUntilMs = nowMs + this.#terms.promptForMs
  }

  nextDelayMs(nowMs: number): number {
    const { minDelayMs, maxDelayMs } = this.#terms
    const boundMs = Math.min(maxDelayMs, minDelayMs * 2 ** Math.min(this.#failures, 40))
    const isPrompt = nowMs < this.#promptUntilMs
    // The delays after the prompt ones go on where those ended, not where many short ones would have brought them.
    if (!isPrompt || boundMs < PROMPT_MAX_DELAY_MS) this.#failures++
    return this.#random() * (isPrompt ? Math.min(boundMs, PROMPT_MAX_DELAY_MS) : boundMs)
  }
}
