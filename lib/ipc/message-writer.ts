import type { Message } from './message.ts'
import { encodeValue } from './value-codec.ts'

const FIRST_BYTES = 4 * 1024
/** A buffer that has grown past this is not kept for the next batch. */
const KEPT_BYTES = 64 * 1024
/** Up to here a loop is quicker than a native call. */
const SHORT = 64
/** Most fields that a fixmap counts. */
const FIXMAP_FIELDS = 15
/** Longest header of any msgpack value. */
const HEADER_BYTES = 9

/**
 * Messages in msgpack back to back, written straight into one buffer that serves batch after batch. Fields are what
 * messages hold (short strings, small numbers, bytes) and written by hand; nested values go through lib/frames.
 */
export class MessageWriter {
  readonly #reservedBytes: number
  #buffer: Buffer
  #length: number

  /** `reservedBytes` are left free at the start of each batch, for its length. */
  constructor(reservedBytes: number) {
    this.#reservedBytes = reservedBytes
    this.#buffer = Buffer.allocUnsafeSlow(FIRST_BYTES)
    this.#length = reservedBytes
  }

  /** Bytes of messages in the batch. */
  get byteLength(): number {
    return this.#length - this.#reservedBytes
  }

  /** Returns the size of the message. Fields that are undefined are left out. INTERNAL when a value is not plain. */
  appendMessage(message: Message): number {
    const start = this.#length
    try {
      this.#writeMap(message)
    } catch (error) {
      this.#length = start
      throw error
    }
    return this.#length - start
  }

  appendBytes(bytes: Uint8Array): number {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
    return bytes.length
  }

  /** Takes back what was appended after the batch had `byteLength`. */
  rewind(byteLength: number): void {
    this.#length = this.#reservedBytes + byteLength
  }

  /** The first `byteLength` bytes of the batch, behind the reserved ones, in a buffer of their own; the rest stays. */
  take(byteLength: number): Buffer {
    const end = this.#reservedBytes + byteLength
    const taken = Buffer.allocUnsafe(end)
    this.#buffer.copy(taken, 0, 0, end)
    this.#buffer.copy(this.#buffer, this.#reservedBytes, end, this.#length)
    this.#length -= byteLength
    if (this.byteLength === 0 && this.#buffer.length > KEPT_BYTES) this.#buffer = Buffer.allocUnsafeSlow(FIRST_BYTES)
    return taken
  }

  #writeMap(message: Message): void {
    const names = Object.keys(message)
    if (names.length > FIXMAP_FIELDS) {
      this.appendBytes(encodeValue(message))
      return
    }
    this.#reserve(1)
    const header = this.#length++
    let fields = 0
    for (let index = 0; index < names.length; index++) {
      const name = names[index] as string
      const value = message[name]
      if (value === undefined) continue
      this.#writeString(name)
      this.#writeValue(value)
      fields++
    }
    this.#buffer[header] = 0x80 | fields
  }

  #writeValue(value: unknown): void {
    if (typeof value === 'string') this.#writeString(value)
    else if (typeof value === 'number' && value >>> 0 === value) this.#writeUint32(value)
    else if (typeof value === 'boolean') this.#writeByte(value ? 0xc3 : 0xc2)
    else if (value instanceof Uint8Array) this.#writeBin(value)
    else if (typeof value === 'number' && !Number.isInteger(value)) this.#writeDouble(value)
    else this.appendBytes(encodeValue(value))
  }

  #writeString(text: string): void {
    const { length } = text
    if (length > SHORT) {
      this.#writeUtf8(text)
      return
    }
    this.#reserve(HEADER_BYTES + length)
    const buffer = this.#buffer
    const before = this.#length
    let position = before
    if (length < 0x20) buffer[position++] = 0xa0 | length
    else {
      buffer[position++] = 0xd9
      buffer[position++] = length
    }
    for (let index = 0; index < length; index++) {
      const unit = text.charCodeAt(index)
      if (unit >= 0x80) {
        this.#length = before
        this.#writeUtf8(text)
        return
      }
      buffer[position++] = unit
    }
    this.#length = position
  }

  #writeUtf8(text: string): void {
    const bytes = Buffer.byteLength(text)
    this.#reserve(HEADER_BYTES + bytes)
    if (bytes < 0x20) this.#writeByte(0xa0 | bytes)
    else this.#writeLength(bytes, 0xd9)
    this.#length += this.#buffer.write(text, this.#length)
  }

  #writeBin(bytes: Uint8Array): void {
    const { length } = bytes
    this.#reserve(HEADER_BYTES + length)
    this.#writeLength(length, 0xc4)
    if (length > SHORT) this.#buffer.set(bytes, this.#length)
    else for (let index = 0; index < length; index++) this.#buffer[this.#length + index] = bytes[index] as number
    this.#length += length
  }

  #writeUint32(value: number): void {
    this.#reserve(HEADER_BYTES)
    if (value < 0x80) this.#writeByte(value)
    else this.#writeLength(value, 0xcc)
  }

  #writeDouble(value: number): void {
    this.#reserve(HEADER_BYTES)
    this.#buffer[this.#length++] = 0xcb
    this.#length = this.#buffer.writeDoubleBE(value, this.#length)
  }

  /** A u8, u16 or u32 behind its token; the tokens of the three widths follow each other in all formats. */
  #writeLength(length: number, tokenOfByte: number): void {
    const buffer = this.#buffer
    if (length < 0x100) {
      buffer[this.#length++] = tokenOfByte
      buffer[this.#length++] = length
    } else if (length < 0x1_0000) {
      buffer[this.#length++] = tokenOfByte + 1
      this.#length = buffer.writeUInt16BE(length, this.#length)
    } else {
      buffer[this.#length++] = tokenOfByte + 2
      this.#length = buffer.writeUInt32BE(length, this.#length)
    }
  }

  #writeByte(byte: number): void {
    this.#reserve(1)
    this.#buffer[this.#length++] = byte
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#buffer.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2))
    this.#buffer.copy(grown, 0, 0, this.#length)
    this.#buffer = grown
  }
}
