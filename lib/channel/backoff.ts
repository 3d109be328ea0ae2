export interface BackoffTerms {
  readonly minDelayMs: number
  readonly maxDelayMs: number
  /** A connection that lasted this long starts the delays afresh. */
  readonly stableAfterMs: number
}

/**
 * Full jitter: each delay is drawn evenly from 0 to a bound that doubles from `minDelayMs` to `maxDelayMs`.
 * The cap comes before the draw, so that a fleet that failed together does not come back together.
 */
export class Backoff {
  readonly #terms: BackoffTerms
  readonly #random: () => number
  #failures = 0

  constructor(terms: BackoffTerms, random: () => number) {
    this.#terms = terms
    this.#random = random
  }

  /** A connection is over; one that was stable makes the next delay a first one. */
  connectionEnded(lastedMs: number): void {
    if (lastedMs >= this.#terms.stableAfterMs) this.#failures = 0
  }

  nextDelayMs(): number {
    const { minDelayMs, maxDelayMs } = this.#terms
    const boundMs = Math.min(maxDelayMs, minDelayMs * 2 ** Math.min(this.#failures, 40))
    this.#failures++
    return this.#random() * boundMs
  }
}
