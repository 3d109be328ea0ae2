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
    this.#end = this.#bytes.writeUInt16BE(value, this.#end)
  }

  u32(value: number): void {
    this.#room(4)
    this.#end = this.#bytes.writeUInt32BE(value, this.#end)
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
    this.#room(text.length)
    this.#end += this.#bytes.write(text, this.#end, 'latin1')
  }

  /** UTF-8 behind its length as u16. */
  text16(text: string): void {
    const most = text.length * 3
    this.#room(2 + most)
    const length = this.#bytes.write(text, this.#end + 2, 'utf8')
    this.#bytes.writeUInt16BE(length, this.#end)
    this.#end += 2 + length
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
