import { LsxError } from '../runtime/index.ts'

/** Holds what one phase of a kx owns, and gives it out once: an old state cannot be continued a second time. */
export class SingleUse<T> {
  #held: T | undefined
  readonly #destroy: (held: T) => void

  constructor(held: T, destroy: (held: T) => void) {
    this.#held = held
    this.#destroy = destroy
  }

  /** Throws INTERNAL when it was taken or discarded before. */
  take(): T {
    const held = this.#held
    if (held === undefined) throw new LsxError('INTERNAL', 'this phase of the key exchange is over already')
    this.#held = undefined
    return held
  }

  /** Destroys what is still held. Safe to call at any time. */
  discard(): void {
    const held = this.#held
    this.#held = undefined
    if (held !== undefined) this.#destroy(held)
  }
}
