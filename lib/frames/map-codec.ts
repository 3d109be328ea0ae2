import { type Options, Packr, Unpackr } from 'msgpackr'
import { LsxError, toLsxError } from '../runtime/index.ts'
import { frameInvalid } from './frame-invalid.ts'
import { DEFAULT_SCAN_LIMITS, MAX_META_BYTES, type ScanLimits } from './limits.ts'
import { isWellFormed } from './record-rules.ts'
import { isMapStart, ValueScanner } from './scan.ts'

const MIN_INT64 = -(2n ** 63n)
const MAX_UINT64 = 2n ** 64n - 1n
/** msgpackr without its native part loses the byte order mark of strings longer than this. */
const MARK_SAFE_BYTES = 64
const BYTE_ORDER_MARK = 0xfeff

const packr = new Packr({ useRecords: false, variableMapSize: true, useToJSON: false })
// 'auto' (a number where it is exact, else a bigint) is missing from the type declarations.
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'auto' } as unknown as Options)

/**
 * Encodes a map of plain values: null, booleans, numbers, bigints of 64 bits, strings, Buffers (as bin), arrays and
 * plain objects, at most 16 levels. A field that is undefined is left out; integers keep an integer format up to
 * 2^53 - 1, for readers in other languages. Throws INTERNAL for anything else: what this writes, `decodeMap` reads.
 */
export function encodeMap(map: Record<string, unknown>): Buffer {
  if (!isPlainObject(map)) throw new LsxError('INTERNAL', 'a map to encode is not a plain object')
  return packed(encodableObject(map, 0))
}

/** Encodes any value that a map of `encodeMap` may hold, and at most 15 levels of it, so that it fits into one. */
export function encodeValue(value: unknown): Buffer {
  return packed(encodableValue(value, 1))
}

function packed(encodable: unknown): Buffer {
  try {
    return packr.pack(encodable)
  } catch (error) {
    throw toLsxError(error, 'INTERNAL')
  }
}

/**
 * Decodes exactly one map. bin values are Buffers that nobody else writes to; a 64-bit integer is a number where that
 * is exact, else a bigint. FRAME_INVALID: see `scanValue`; also bytes that are not a map or go on after it, and a string
 * of more than 64 bytes that begins with a byte order mark.
 */
export function decodeMap(bytes: Buffer, limits: ScanLimits = DEFAULT_SCAN_LIMITS): Record<string, unknown> {
  if (!isMapStart(bytes[0])) throw frameInvalid('a map was expected', { token: bytes[0] })
  return decodeValue(bytes, limits) as Record<string, unknown>
}

/** Decodes exactly one value, as `decodeMap` does a map. */
export function decodeValue(bytes: Buffer, limits: ScanLimits = DEFAULT_SCAN_LIMITS): unknown {
  const scanner = new ValueScanner(bytes, limits)
  const end = scanner.scan(0)
  if (end !== bytes.length) throw frameInvalid('bytes follow the value', { end, bytes: bytes.length })
  if (scanner.sawLongMarkedText) throw frameInvalid('a string begins with a byte order mark')
  try {
    // One copy of it all: msgpackr's own copying costs a microsecond for each bin.
    return unpackr.unpack(scanner.sawBinary ? Buffer.from(bytes) : bytes)
  } catch (error) {
    throw new LsxError('FRAME_INVALID', 'a value does not decode', { cause: error })
  }
}

/** The `meta` of a record, which the record decoder leaves as bytes; an absent one is empty. */
export function decodeMeta(meta: Buffer | undefined): Record<string, unknown> {
  if (meta === undefined) return {}
  if (meta.length > MAX_META_BYTES) throw frameInvalid('the meta map is too large', { metaBytes: meta.length })
  return decodeMap(meta)
}

/** The value itself, or a copy of it where msgpackr would write something that a peer refuses or misreads. */
function encodableValue(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      checkText(value)
      return value
    case 'number':
      // msgpackr writes integers over 32 bits as floats; a bigint becomes an int64.
      return Number.isSafeInteger(value) && (value > 0xffff_ffff || value < -0x8000_0000) ? BigInt(value) : value
    case 'bigint':
      if (value < MIN_INT64 || value > MAX_UINT64) throw notEncodable('a bigint of more than 64 bits')
      return value
    case 'boolean':
      return value
    case 'object':
      if (value === null || value instanceof Uint8Array) return value
      if (Array.isArray(value)) return encodableArray(value, depth)
      if (isPlainObject(value)) return encodableObject(value, depth)
      throw notEncodable('an object that is not plain')
    default:
      throw notEncodable(`a value of type ${typeof value}`)
  }
}

function encodableArray(array: readonly unknown[], depth: number): readonly unknown[] {
  checkDepth(depth)
  let copy: unknown[] | undefined
  for (let index = 0; index < array.length; index++) {
    const value = array[index]
    const encodable = encodableValue(value, depth + 1)
    if (Object.is(encodable, value)) continue
    copy ??= array.slice()
    copy[index] = encodable
  }
  return copy ?? array
}

function encodableObject(object: Record<string, unknown>, depth: number): Record<string, unknown> {
  checkDepth(depth)
  const keys = Object.keys(object)
  let copy: Record<string, unknown> | undefined
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index] as string
    if (key === '__proto__') throw notEncodable('the key __proto__')
    checkText(key)
    const value = object[key]
    const encodable = value === undefined ? undefined : encodableValue(value, depth + 1)
    if (encodable === undefined || !Object.is(encodable, value)) copy ??= firstFields(object, keys, index)
    if (copy !== undefined && encodable !== undefined) copy[key] = encodable
  }
  return copy ?? object
}

function firstFields(object: Record<string, unknown>, keys: readonly string[], count: number): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (let index = 0; index < count; index++) fields[keys[index] as string] = object[keys[index] as string]
  return fields
}

function checkDepth(depth: number): void {
  if (depth >= DEFAULT_SCAN_LIMITS.maxDepth) throw notEncodable('more than 16 levels')
}

function checkText(text: string): void {
  if (!isWellFormed(text)) throw notEncodable('a string with a lone surrogate')
  if (text.charCodeAt(0) === BYTE_ORDER_MARK && Buffer.byteLength(text) > MARK_SAFE_BYTES) {
    throw notEncodable('a long string that begins with a byte order mark')
  }
}

function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function notEncodable(what: string): LsxError {
  return new LsxError('INTERNAL', `a map to encode holds ${what}`)
}
