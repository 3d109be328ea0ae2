const SMALLEST_BYTES = 256
/** A buffer that has grown past this is given back as soon as it is empty. */
const KEPT_BYTES = 64 * 1024

/**
 * The beginning of a message that has not arrived whole. It grows by doubling as bytes arrive, never ahead of them:
 * a length that only claims to be large reserves nothing, and single bytes cost no object each.
 */
export class HeldBytes {
  #buffer: Buffer = Buffer.alloc(0)
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Valid until the next append or clear. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  append(source: Buffer, start: number, end: number): void {
    const needed = this.#length + end - start
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2, SMALLEST_BYTES))
      this.#buffer.copy(grown, 0, 0, this.#length)
      this.#buffer = grown
    }
    source.copy(this.#buffer, this.#length, start, end)
    this.#length = needed
  }

  clear(): void {
    this.#length = 0
    if (this.#buffer.length > KEPT_BYTES) this.#buffer = Buffer.alloc(0)
  }
}
