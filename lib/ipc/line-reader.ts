import { LsxError } from '../runtime/index.ts'
import { HeldBytes } from './held-bytes.ts'

const NEWLINE = 0x0a

/**
 * Human form: cuts a byte stream into lines. `receiveLine` gets the line without its newline, as a view that is valid
 * during the call only.
 */
export class LineReader {
  readonly #maxLineBytes: number
  readonly #receiveLine: (line: Buffer) => void
  readonly #held = new HeldBytes()
  #completed = 0

  constructor(options: { maxLineBytes: number; receiveLine: (line: Buffer) => void }) {
    this.#maxLineBytes = options.maxLineBytes
    this.#receiveLine = options.receiveLine
  }

  /** Whether a line has begun and not ended. */
  get partial(): boolean {
    return this.#held.length > 0
  }

  /** Lines cut so far. */
  get completed(): number {
    return this.#completed
  }

  /** Throws TOO_LARGE when a line passes its bound; the stream has no meaning after that. */
  push(chunk: Buffer): void {
    let offset = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, offset)) {
      this.#checkLength(this.#held.length + end - offset)
      if (this.#held.length > 0) {
        this.#held.append(chunk, offset, end)
        this.#deliverHeld()
      } else {
        this.#completed++
        this.#receiveLine(chunk.subarray(offset, end))
      }
      offset = end + 1
    }
    if (offset === chunk.length) return
    this.#checkLength(this.#held.length + chunk.length - offset)
    this.#held.append(chunk, offset, chunk.length)
  }

  /** The client has ended its side: what it left without a newline counts as a line. */
  end(): void {
    if (this.#held.length > 0) this.#deliverHeld()
  }

  #deliverHeld(): void {
    this.#completed++
    this.#receiveLine(this.#held.bytes)
    this.#held.clear()
  }

  #checkLength(length: number): void {
    if (length <= this.#maxLineBytes) return
    throw new LsxError('TOO_LARGE', `a line may have ${this.#maxLineBytes} bytes`, {
      facts: { length, maxLineBytes: this.#maxLineBytes },
    })
  }
}
