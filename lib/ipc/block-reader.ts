import { LsxError } from '../runtime/index.ts'
import { HeldBytes } from './held-bytes.ts'

export const LENGTH_BYTES = 4

/**
 * Fast form: cuts a byte stream into blocks, each `u32 big-endian length` and that many bytes.
 * `receiveBlock` gets a view that is valid during the call only.
 */
export class BlockReader {
  readonly #maxBlockBytes: number
  readonly #receiveBlock: (block: Buffer) => void
  readonly #held = new HeldBytes()
  #completed = 0

  constructor(options: { maxBlockBytes: number; receiveBlock: (block: Buffer) => void }) {
    this.#maxBlockBytes = options.maxBlockBytes
    this.#receiveBlock = options.receiveBlock
  }

  /** Whether a block has begun and not ended. */
  get partial(): boolean {
    return this.#held.length > 0
  }

  /** Blocks cut so far. */
  get completed(): number {
    return this.#completed
  }

  /** Throws TOO_LARGE or BAD_REQUEST when a length makes no sense; the stream has no meaning after that. */
  push(chunk: Buffer): void {
    let offset = this.#held.length > 0 ? this.#completeHeld(chunk) : 0
    while (chunk.length - offset >= LENGTH_BYTES) {
      const end = offset + LENGTH_BYTES + this.#checkLength(chunk.readUInt32BE(offset))
      if (end > chunk.length) break
      this.#completed++
      this.#receiveBlock(chunk.subarray(offset + LENGTH_BYTES, end))
      offset = end
    }
    if (offset < chunk.length) this.#held.append(chunk, offset, chunk.length)
  }

  /** Adds what the held block lacks; returns the offset in `chunk` from which nothing is used yet. */
  #completeHeld(chunk: Buffer): number {
    const held = this.#held
    let offset = 0
    if (held.length < LENGTH_BYTES) {
      offset = Math.min(LENGTH_BYTES - held.length, chunk.length)
      held.append(chunk, 0, offset)
      if (held.length < LENGTH_BYTES) return offset
    }
    const blockEnd = LENGTH_BYTES + this.#checkLength(held.bytes.readUInt32BE(0))
    const end = Math.min(offset + blockEnd - held.length, chunk.length)
    held.append(chunk, offset, end)
    if (held.length === blockEnd) {
      this.#completed++
      this.#receiveBlock(held.bytes.subarray(LENGTH_BYTES))
      held.clear()
    }
    return end
  }

  #checkLength(length: number): number {
    if (length > this.#maxBlockBytes) {
      throw new LsxError('TOO_LARGE', `a message block may have ${this.#maxBlockBytes} bytes, this one has ${length}`, {
        facts: { length, maxBlockBytes: this.#maxBlockBytes },
      })
    }
    if (length === 0) throw new LsxError('BAD_REQUEST', 'a message block holds at least one map; this one is empty')
    return length
  }
}
