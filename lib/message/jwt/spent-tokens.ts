import { type Clock, LsxError } from '../../runtime/index.ts'

/**
 * Single-use tokens and the idempotency key that each was spent on. The same key may come again: a repetition of a
 * request brings its token along. Bounded: where there is no room for one more, none is taken, for a forgotten one
 * could be spent twice.
 */
export class SpentTokens {
  readonly #maxTokens: number
  readonly #clock: Clock
  readonly #spent = new Map<string, { readonly idempotencyKey: string; readonly untilMs: number }>()
  #nextSweepAtMs = 0

  constructor(maxTokens: number, clock: Clock) {
    this.#maxTokens = maxTokens
    this.#clock = clock
  }

  /** @throws LsxError TOKEN_INVALID: spent on another key; BUSY: no room */
  spend(token: string, idempotencyKey: string, untilMs: number): void {
    const spent = this.#spent.get(token)
    if (spent !== undefined) {
      if (spent.idempotencyKey === idempotencyKey) return
      throw new LsxError('TOKEN_INVALID', 'the token was used before, for another request')
    }
    if (this.#spent.size >= this.#maxTokens) this.#sweep()
    if (this.#spent.size >= this.#maxTokens)
      throw new LsxError('BUSY', `${this.#maxTokens} single-use tokens are remembered already`)
    this.#spent.set(token, { idempotencyKey, untilMs })
  }

  /** At most once a second: it looks at all of them. */
  #sweep(): void {
    const nowMs = this.#clock.nowMs()
    if (nowMs < this.#nextSweepAtMs) return
    this.#nextSweepAtMs = nowMs + 1_000
    for (const [token, { untilMs }] of this.#spent) if (untilMs <= nowMs) this.#spent.delete(token)
  }
}
