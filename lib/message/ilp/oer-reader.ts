import { LsxError } from '../../runtime/index.ts'

/** Reads the part of OER (ITU-T X.696) that ILP uses, in its canonical form. Each method throws BAD_REQUEST. */
export class OerReader {
  readonly #bytes: Buffer
  #position = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  uint8(): number {
    const value = this.#bytes[this.#position]
    if (value === undefined) throw cutShort()
    this.#position++
    return value
  }

  uint64(): bigint {
    return this.bytes(8).readBigUInt64BE()
  }

  /** A view. */
  bytes(count: number): Buffer {
    const start = this.#position
    if (count > this.#bytes.length - start) throw cutShort()
    this.#position = start + count
    return this.#bytes.subarray(start, start + count)
  }

  /** A length and so many bytes. Up to 127 the length is one byte; above, 0x80 plus the number of its bytes comes first. */
  octets(): Buffer {
    const first = this.uint8()
    if (first < 0x80) return this.bytes(first)
    const lengthBytes = first & 0x7f
    // Two bytes of length are more than any packet of ours may have.
    if (lengthBytes === 0 || lengthBytes > 2) throw malformed('has a length that is out of bounds')
    let length = 0
    for (let index = 0; index < lengthBytes; index++) length = length * 256 + this.uint8()
    if (length < (lengthBytes === 1 ? 0x80 : 0x100)) throw malformed('has a length that is not in its shortest form')
    return this.bytes(length)
  }

  end(): void {
    if (this.#position < this.#bytes.length) throw malformed('has bytes behind its end')
  }
}

function cutShort(): LsxError {
  return malformed('is cut short')
}

function malformed(problem: string): LsxError {
  return new LsxError('BAD_REQUEST', `the ILP packet ${problem}`)
}
