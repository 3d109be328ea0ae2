import { isUtf8 } from 'node:buffer'
import type { LsxError } from '../runtime/index.ts'
import { frameInvalid } from './frame-invalid.ts'
import { DEFAULT_SCAN_LIMITS, MAX_KEY_BYTES, MAX_META_BYTES, MAX_METHOD_BYTES } from './limits.ts'
import { METHOD_BYTES } from './record-rules.ts'
import { isMapStart, ValueScanner } from './scan.ts'
import type { TextBytes } from './text-bytes.ts'

/** Reads the fields of records back to back from one body; every read checks its bounds first. */
export class RecordReader {
  readonly #body: TextBytes
  readonly #end: number
  #position = 0
  #scanner: ValueScanner | undefined
  /** Records of one batch mostly name the same method: its bytes are compared, and the string is used again. */
  #lastMethod = ''
  #lastMethodStart = 0

  constructor(body: Buffer) {
    this.#body = body as TextBytes
    this.#end = body.length
  }

  get atEnd(): boolean {
    return this.#position === this.#end
  }

  /** Reads the header of a fixarray and returns its length. */
  arrayHeader(): number {
    const token = this.#byte()
    if ((token & 0xf0) !== 0x90) throw this.#invalid('a record is not a short array')
    return token & 0x0f
  }

  /** Any unsigned format with a value of 32 bits. */
  uint32(): number {
    const token = this.#byte()
    if (token < 0x80) return token
    switch (token) {
      case 0xcc:
        return this.#byte()
      case 0xcd:
        return this.#uint16()
      case 0xce:
        return this.#uint32()
      case 0xcf:
        if (this.#uint32() !== 0) throw this.#invalid('a number of a record is over 32 bits')
        return this.#uint32()
      default:
        throw this.#invalid('a number of a record is not an unsigned integer')
    }
  }

  key(): string {
    const length = this.#shortTextLength(MAX_KEY_BYTES)
    const body = this.#body
    const start = this.#take(length)
    const end = start + length
    let bits = 0
    for (let index = start; index < end; index++) bits |= body[index] as number
    if (bits < 0x80) return body.latin1Slice(start, end)
    if (!isUtf8(body.subarray(start, end))) throw this.#invalid('a key is not UTF-8')
    return body.utf8Slice(start, end)
  }

  method(): string {
    const length = this.#shortTextLength(MAX_METHOD_BYTES)
    const body = this.#body
    const start = this.#take(length)
    if (length === this.#lastMethod.length && this.#sameBytes(start, this.#lastMethodStart, length)) {
      return this.#lastMethod
    }
    for (let index = 0; index < length; index++) {
      if (METHOD_BYTES[body[start + index] as number] !== 1) throw this.#invalid('a method holds a forbidden byte')
    }
    this.#lastMethodStart = start
    this.#lastMethod = body.latin1Slice(start, start + length)
    return this.#lastMethod
  }

  /** Any bin format; a view of the body. */
  bin(): Buffer {
    const token = this.#byte()
    let length: number
    if (token === 0xc4) length = this.#byte()
    else if (token === 0xc5) length = this.#uint16()
    else if (token === 0xc6) length = this.#uint32()
    else throw this.#invalid('a payload is not bin')
    const start = this.#take(length)
    return this.#body.subarray(start, start + length)
  }

  /** One map, scanned and not decoded; a view of the body. */
  meta(): Buffer {
    const start = this.#position
    if (!isMapStart(this.#body[start])) throw this.#invalid('the meta of a record is not a map')
    this.#scanner ??= new ValueScanner(this.#body, DEFAULT_SCAN_LIMITS)
    const end = this.#scanner.scan(start)
    if (end - start > MAX_META_BYTES) throw this.#invalid('the meta of a record is too large')
    this.#position = end
    return this.#body.subarray(start, end)
  }

  #shortTextLength(maxBytes: number): number {
    const token = this.#byte()
    let length: number
    if ((token & 0xe0) === 0xa0) length = token & 0x1f
    else if (token === 0xd9) length = this.#byte()
    else throw this.#invalid('a key or method is not a short string')
    if (length === 0 || length > maxBytes) throw this.#invalid('a key or method has a length out of range')
    return length
  }

  #sameBytes(start: number, otherStart: number, length: number): boolean {
    const body = this.#body
    for (let index = 0; index < length; index++) {
      if (body[start + index] !== body[otherStart + index]) return false
    }
    return true
  }

  #byte(): number {
    return this.#body[this.#take(1)] as number
  }

  #uint16(): number {
    const start = this.#take(2)
    return ((this.#body[start] as number) << 8) | (this.#body[start + 1] as number)
  }

  #uint32(): number {
    const high = this.#uint16()
    return high * 0x1_0000 + this.#uint16()
  }

  /** Moves over `length` bytes and returns where they start. */
  #take(length: number): number {
    const start = this.#position
    if (length > this.#end - start) throw this.#invalid('a record is cut short')
    this.#position = start + length
    return start
  }

  #invalid(message: string): LsxError {
    return frameInvalid(message, { offset: this.#position })
  }
}
