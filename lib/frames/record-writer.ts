import { LsxError } from '../runtime/index.ts'
import { MAX_KEY_BYTES, MAX_META_BYTES, MAX_METHOD_BYTES } from './limits.ts'
import { isKey, METHOD_BYTES } from './record-rules.ts'
import { isMapStart } from './scan.ts'

/** No record needs more than this beside its payload and meta. */
export const LARGEST_RECORD_OVERHEAD_BYTES = 1 + 5 + (2 + MAX_KEY_BYTES) + (2 + MAX_METHOD_BYTES) + 5 + 5

export function uintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x100 ? 2 : value < 0x1_0000 ? 3 : 5
}

/** Encoded size of a string of `length` bytes, at most 255. */
export function shortTextBytes(length: number): number {
  return length < 0x20 ? 1 + length : 2 + length
}

export function binBytes(length: number): number {
  return length < 0x100 ? 2 + length : length < 0x1_0000 ? 3 + length : 5 + length
}

/** Writes a u32 in its shortest form. Each writer returns the offset after what it wrote. */
export function writeUint32(target: Buffer, position: number, value: number): number {
  if (value >>> 0 !== value) throw new LsxError('INTERNAL', 'a record holds a number that is not a u32')
  if (value < 0x80) {
    target[position] = value
    return position + 1
  }
  if (value < 0x100) {
    target[position] = 0xcc
    target[position + 1] = value
    return position + 2
  }
  if (value < 0x1_0000) {
    target[position] = 0xcd
    target[position + 1] = value >>> 8
    target[position + 2] = value
    return position + 3
  }
  target[position] = 0xce
  target[position + 1] = value >>> 24
  target[position + 2] = value >>> 16
  target[position + 3] = value >>> 8
  target[position + 4] = value
  return position + 5
}

/** Throws BAD_REQUEST for a key that breaks its rule. */
export function writeKey(target: Buffer, position: number, key: string): number {
  const length = key.length
  if (length === 0 || length > MAX_KEY_BYTES) throw badKey()
  const start = writeShortTextHeader(target, position, length)
  for (let index = 0; index < length; index++) {
    const unit = key.charCodeAt(index)
    if (unit >= 0x80) return writeUtf8Key(target, position, key)
    target[start + index] = unit
  }
  return start + length
}

function writeUtf8Key(target: Buffer, position: number, key: string): number {
  if (!isKey(key)) throw badKey()
  const start = writeShortTextHeader(target, position, Buffer.byteLength(key))
  return start + target.write(key, start)
}

/** Throws BAD_REQUEST for a method that breaks its rule. */
export function writeMethod(target: Buffer, position: number, method: string): number {
  const length = method.length
  if (length === 0 || length > MAX_METHOD_BYTES) throw badMethod()
  const start = writeShortTextHeader(target, position, length)
  for (let index = 0; index < length; index++) {
    const unit = method.charCodeAt(index)
    if (METHOD_BYTES[unit] !== 1) throw badMethod()
    target[start + index] = unit
  }
  return start + length
}

export function writeBin(target: Buffer, position: number, bytes: Buffer): number {
  const length = bytes.length
  let start: number
  if (length < 0x100) {
    target[position] = 0xc4
    target[position + 1] = length
    start = position + 2
  } else if (length < 0x1_0000) {
    target[position] = 0xc5
    target[position + 1] = length >>> 8
    target[position + 2] = length
    start = position + 3
  } else {
    target[position] = 0xc6
    target[position + 1] = length >>> 24
    target[position + 2] = length >>> 16
    target[position + 3] = length >>> 8
    target[position + 4] = length
    start = position + 5
  }
  target.set(bytes, start)
  return start + length
}

/** Copies an encoded map as it is: INTERNAL when it is not a map, TOO_LARGE when it is over 16 KiB. */
export function writeMeta(target: Buffer, position: number, meta: Buffer): number {
  if (!isMapStart(meta[0])) throw new LsxError('INTERNAL', 'the meta of a record is not an encoded map')
  if (meta.length > MAX_META_BYTES) {
    throw new LsxError('TOO_LARGE', 'the meta of a record is too large', {
      facts: { metaBytes: meta.length, maxMetaBytes: MAX_META_BYTES },
    })
  }
  target.set(meta, position)
  return position + meta.length
}

function writeShortTextHeader(target: Buffer, position: number, length: number): number {
  if (length < 0x20) {
    target[position] = 0xa0 | length
    return position + 1
  }
  target[position] = 0xd9
  target[position + 1] = length
  return position + 2
}

function badKey(): LsxError {
  return new LsxError('BAD_REQUEST', `an idempotency key has 1 to ${MAX_KEY_BYTES} bytes of UTF-8`)
}

function badMethod(): LsxError {
  return new LsxError('BAD_REQUEST', `a method has 1 to ${MAX_METHOD_BYTES} of [A-Za-z0-9._:/-]`)
}
