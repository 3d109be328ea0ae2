/** Writes big-endian fields into a buffer that grows and is used again. */
export class ByteWriter {
  #bytes = Buffer.allocUnsafeSlow(1_024)
  #end = 0

  get end(): number {
    return this.#end
  }

  /** Goes back to this offset; what was written before it stays. */
  rewind(end: number): void {
    this.#end = end
  }

  /** What was written, as a view that later writing overwrites. */
  view(start = 0): Buffer {
    return this.#bytes.subarray(start, this.#end)
  }

  u8(value: number): void {
    this.#room(1)
    this.#bytes[this.#end++] = value
  }

  u16(value: number): void {
    this.#room(2)
    this.#bytes[this.#end++] = value >>> 8
    this.#bytes[this.#end++] = value
  }

  u32(value: number): void {
    this.#room(4)
    const bytes = this.#bytes
    bytes[this.#end++] = value >>> 24
    bytes[this.#end++] = value >>> 16
    bytes[this.#end++] = value >>> 8
    bytes[this.#end++] = value
  }

  /** At most 2^53 - 1. */
  u64(value: number): void {
    this.u32(Math.floor(value / 0x1_0000_0000))
    this.u32(value % 0x1_0000_0000)
  }

  bytes(bytes: Buffer): void {
    this.#room(bytes.length)
    this.#bytes.set(bytes, this.#end)
    this.#end += bytes.length
  }

  /** Each character is one byte. */
  latin1(text: string): void {
    if (text === '') return
    this.#room(text.length)
    this.#end += this.#bytes.write(text, this.#end, 'latin1')
  }

  /** UTF-8 behind its length as u16. */
  text16(text: string): void {
    const { length } = text
    this.#room(2 + length * 3)
    const bytes = this.#bytes
    const start = this.#end + 2
    let index = 0
    // Short and plain, as names are, a loop is quicker than a native call.
    while (index < length) {
      const unit = text.charCodeAt(index)
      if (unit >= 0x80) break
      bytes[start + index++] = unit
    }
    const written = index === length ? length : bytes.write(text, start, 'utf8')
    bytes[start - 2] = written >>> 8
    bytes[start - 1] = written
    this.#end = start + written
  }

  bytes16(bytes: Buffer): void {
    this.u16(bytes.length)
    this.bytes(bytes)
  }

  bytes32(bytes: Buffer): void {
    this.u32(bytes.length)
    this.bytes(bytes)
  }

  #room(count: number): void {
    const needed = this.#end + count
    if (needed <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    grown.set(this.#bytes.subarray(0, this.#end))
    this.#bytes = grown
  }
}
