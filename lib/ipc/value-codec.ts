import { decodeValue as decodePlainValue, encodeValue as encodePlainValue, type ScanLimits } from '../frames/index.ts'
import { LsxError } from '../runtime/index.ts'
import { PAYLOAD_SCAN_LIMITS } from './limits.ts'

/**
 * Any plain value as msgpack: null, booleans, numbers, bigints of 64 bits, strings, Buffers, arrays and plain objects, at
 * most 15 levels. Throws INTERNAL for anything else.
 */
export function encodeValue(value: unknown): Buffer {
  return encodePlainValue(value ?? null)
}

/** Exactly one plain msgpack value; nothing in it aliases `bytes`. Throws FRAME_INVALID. */
export function decodeValue(bytes: Uint8Array, limits: ScanLimits): unknown {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return decodePlainValue(buffer, limits)
}

/** A payload as msgpack bytes. Throws BAD_REQUEST when the value is not plain (see `encodeValue`). */
export function encodePayload(value: unknown): Buffer {
  try {
    return encodeValue(value)
  } catch (error) {
    throw new LsxError('BAD_REQUEST', `payload: ${(error as Error).message}`, { cause: error })
  }
}

/** The value of a payload. Throws BAD_REQUEST when the bytes are not exactly one plain msgpack value. */
export function decodePayload(payload: Uint8Array): unknown {
  try {
    return decodeValue(payload, PAYLOAD_SCAN_LIMITS)
  } catch (error) {
    throw new LsxError('BAD_REQUEST', `payload: ${(error as Error).message}`, { cause: error })
  }
}
