import { isUtf8 } from 'node:buffer'
import type { LsxError } from '../runtime/index.ts'
import { frameInvalid } from './frame-invalid.ts'
import { DEFAULT_SCAN_LIMITS, type ScanLimits } from './limits.ts'
import type { TextBytes } from './text-bytes.ts'

/** Up to here a loop over the bytes is quicker than a native call. */
const SHORT_TEXT_BYTES = 64
/** Up to here keys are compared pair by pair, above it in a set. */
const FEW_KEYS = 8
const PROTOTYPE_KEY = Buffer.from('__proto__', 'latin1')

/**
 * Scans ONE msgpack value without decoding it and returns the offset of its end.
 *
 * msgpackr takes more off the wire than a peer may send, even with `useRecords: false`: record definitions, Set, RegExp
 * and other extensions, duplicate keys, invalid UTF-8. So bytes from outside pass here first. FRAME_INVALID: extensions
 * of every type, the reserved byte 0xc1, a value cut short, more than `maxDepth` levels or `maxElements` elements,
 * strings that are not UTF-8, map keys that are not strings, twice in one map, or `__proto__`.
 */
export function scanValue(bytes: Buffer, start: number, limits: ScanLimits = DEFAULT_SCAN_LIMITS): number {
  return new ValueScanner(bytes, limits).scan(start)
}

/** True for the first byte of a msgpack map. */
export function isMapStart(token: number | undefined): boolean {
  return token !== undefined && ((token & 0xf0) === 0x80 || token === 0xde || token === 0xdf)
}

/** The scan and what it saw on the way; `scanValue` is enough for all but the decoder of maps. */
export class ValueScanner {
  /** A bin value was among them, which the decoder would alias to the input. */
  sawBinary = false
  /** A string of more than 64 bytes begins with a byte order mark, which msgpackr without its native part drops. */
  sawLongMarkedText = false

  readonly #bytes: TextBytes
  readonly #end: number
  readonly #limits: ScanLimits
  /** Start and end of each key of the small maps that are open, innermost last. */
  readonly #keys: number[] = []
  /** How much of `#keys` counts; to shorten an array costs more than the rest of a small map. */
  #keyWords = 0
  #position = 0
  #elements = 0

  constructor(bytes: Buffer, limits: ScanLimits) {
    this.#bytes = bytes as TextBytes
    this.#end = bytes.length
    this.#limits = limits
  }

  scan(start: number): number {
    this.#position = start
    this.#elements = 0
    this.#keyWords = 0
    this.#value(0)
    return this.#position
  }

  #value(depth: number): void {
    if (this.#position >= this.#end) throw this.#cutShort()
    const token = this.#bytes[this.#position++] as number
    if (token < 0x80 || token >= 0xe0) return
    if (token < 0x90) this.#map(token & 0x0f, depth)
    else if (token < 0xa0) this.#array(token & 0x0f, depth)
    else if (token < 0xc0) this.#text(token & 0x1f)
    else this.#longForm(token, depth)
  }

  /** The formats 0xc0 to 0xdf; within each family the width doubles from one format to the next. */
  #longForm(token: number, depth: number): void {
    switch (token) {
      case 0xc0:
      case 0xc2:
      case 0xc3:
        break
      case 0xc4:
      case 0xc5:
      case 0xc6:
        this.sawBinary = true
        this.#skip(this.#length(1 << (token - 0xc4)))
        break
      case 0xca:
      case 0xcb:
        this.#skip(4 << (token - 0xca))
        break
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        this.#skip(1 << (token - 0xcc))
        break
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        this.#skip(1 << (token - 0xd0))
        break
      case 0xd9:
      case 0xda:
      case 0xdb:
        this.#text(this.#length(1 << (token - 0xd9)))
        break
      case 0xdc:
      case 0xdd:
        this.#array(this.#length(2 << (token - 0xdc)), depth)
        break
      case 0xde:
      case 0xdf:
        this.#map(this.#length(2 << (token - 0xde)), depth)
        break
      case 0xc1:
        throw frameInvalid('a value uses the reserved msgpack byte 0xc1', { offset: this.#position - 1 })
      default:
        throw frameInvalid('a value uses a msgpack extension', { token, offset: this.#position - 1 })
    }
  }

  #array(length: number, depth: number): void {
    this.#enter(length, length, depth)
    for (let index = 0; index < length; index++) this.#value(depth + 1)
  }

  #map(length: number, depth: number): void {
    this.#enter(length, length * 2, depth)
    if (length > FEW_KEYS) this.#largeMap(length, depth)
    else this.#smallMap(length, depth)
  }

  #smallMap(length: number, depth: number): void {
    const keys = this.#keys
    const firstKey = this.#keyWords
    for (let index = 0; index < length; index++) {
      const start = this.#key()
      const end = this.#position
      const lastKey = this.#keyWords
      for (let other = firstKey; other < lastKey; other += 2) {
        if (this.#sameText(start, end, keys[other] as number, keys[other + 1] as number)) throw this.#duplicateKey()
      }
      keys[lastKey] = start
      keys[lastKey + 1] = end
      this.#keyWords = lastKey + 2
      this.#value(depth + 1)
    }
    this.#keyWords = firstKey
  }

  #largeMap(length: number, depth: number): void {
    // Latin-1 gives each byte its own character, so equal strings are equal bytes.
    const seen = new Set<string>()
    for (let index = 0; index < length; index++) {
      const start = this.#key()
      seen.add(this.#bytes.latin1Slice(start, this.#position))
      if (seen.size === index) throw this.#duplicateKey()
      this.#value(depth + 1)
    }
  }

  /** Refuses a declared length at its header, before any work is done for it. */
  #enter(elements: number, leastBytes: number, depth: number): void {
    if (depth >= this.#limits.maxDepth) {
      throw frameInvalid('a value is nested too deeply', { maxDepth: this.#limits.maxDepth })
    }
    if (leastBytes > this.#end - this.#position) throw this.#cutShort()
    this.#elements += elements
    if (this.#elements > this.#limits.maxElements) {
      throw frameInvalid('a value has too many elements', { maxElements: this.#limits.maxElements })
    }
  }

  /** Scans a map key and returns where its text starts; it ends at the position. */
  #key(): number {
    if (this.#position >= this.#end) throw this.#cutShort()
    const token = this.#bytes[this.#position++] as number
    let length: number
    if ((token & 0xe0) === 0xa0) length = token & 0x1f
    else if (token >= 0xd9 && token <= 0xdb) length = this.#length(1 << (token - 0xd9))
    else throw frameInvalid('a map key is not a string', { token, offset: this.#position - 1 })
    const start = this.#position
    this.#text(length)
    if (length === PROTOTYPE_KEY.length && PROTOTYPE_KEY.compare(this.#bytes, start, this.#position) === 0) {
      throw frameInvalid('a map key is __proto__', { offset: start })
    }
    return start
  }

  #text(length: number): void {
    const start = this.#position
    this.#skip(length)
    const end = this.#position
    const bytes = this.#bytes
    if (length <= SHORT_TEXT_BYTES) {
      let bits = 0
      for (let index = start; index < end; index++) bits |= bytes[index] as number
      if (bits < 0x80) return
    } else if (bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) {
      this.sawLongMarkedText = true
    }
    if (!isUtf8(bytes.subarray(start, end))) throw frameInvalid('a string is not UTF-8', { offset: start })
  }

  #skip(length: number): void {
    if (length > this.#end - this.#position) throw this.#cutShort()
    this.#position += length
  }

  /** Reads a big-endian length of 1, 2 or 4 bytes. */
  #length(width: number): number {
    const bytes = this.#bytes
    const position = this.#position
    this.#skip(width)
    if (width === 1) return bytes[position] as number
    const first = ((bytes[position] as number) << 8) | (bytes[position + 1] as number)
    if (width === 2) return first
    return first * 0x1_0000 + (((bytes[position + 2] as number) << 8) | (bytes[position + 3] as number))
  }

  #sameText(start: number, end: number, otherStart: number, otherEnd: number): boolean {
    const length = end - start
    if (length !== otherEnd - otherStart) return false
    const bytes = this.#bytes
    for (let index = 0; index < length; index++) {
      if (bytes[start + index] !== bytes[otherStart + index]) return false
    }
    return true
  }

  #cutShort(): LsxError {
    return frameInvalid('a value is cut short', { offset: this.#position })
  }

  #duplicateKey(): LsxError {
    return frameInvalid('a map has the same key twice', { offset: this.#position })
  }
}
