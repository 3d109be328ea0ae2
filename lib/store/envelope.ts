import { createHash } from 'node:crypto'

/**
 * Guards one record's bytes at rest. `place` names where the record lives (table and key), so that bytes found
 * anywhere else do not open.
 */
export interface Envelope {
  /** Which envelope, and of which key: what was enclosed under one name opens under the same. Not a secret. */
  readonly name: string
  /** Names of all whose records it opens, its own first. Default: its own. */
  readonly opens?: readonly string[]
  enclose(place: Buffer, body: Buffer): Buffer
  /** The body, or undefined when these are not the bytes that were enclosed for this place. */
  open(place: Buffer, bytes: Buffer): Buffer | undefined
  /** False for a record that this envelope would enclose otherwise now: with another key. Default: always true. */
  isCurrent?(place: Buffer, bytes: Buffer): boolean
}

const CHECKSUM_VERSION = 1
const CHECKSUM_BYTES = 8
const HEADER_BYTES = 1 + CHECKSUM_BYTES

/**
 * version u8 (1) | first 8 bytes of SHA-256(version | place | body) | body.
 * LMDB has no checksum of its own: half of all flipped bits would come back as wrong values. This finds accidents, not
 * an attacker who can write the file.
 */
export const checksumEnvelope: Envelope = {
  name: 'checksum',

  enclose(place, body) {
    const bytes = Buffer.allocUnsafe(HEADER_BYTES + body.length)
    bytes[0] = CHECKSUM_VERSION
    checksum(place, body).copy(bytes, 1, 0, CHECKSUM_BYTES)
    body.copy(bytes, HEADER_BYTES)
    return bytes
  },

  open(place, bytes) {
    if (bytes.length < HEADER_BYTES || bytes[0] !== CHECKSUM_VERSION) return undefined
    const body = bytes.subarray(HEADER_BYTES)
    const expected = checksum(place, body)
    return expected.compare(bytes, 1, HEADER_BYTES, 0, CHECKSUM_BYTES) === 0 ? body : undefined
  },
}

/** For an index, whose values are so few and plain that a flipped bit makes none of them into another. */
export const keysOnlyEnvelope: Envelope = {
  name: 'keys only',
  enclose: (_place, body) => body,
  open: (_place, bytes) => bytes,
}

/** u16 length + table | u16 length + key: no two places have the same bytes. */
export function recordPlace(tableBytes: Buffer, keyBytes: Buffer): Buffer {
  const place = Buffer.allocUnsafe(4 + tableBytes.length + keyBytes.length)
  let offset = place.writeUInt16BE(tableBytes.length, 0)
  offset += tableBytes.copy(place, offset)
  offset = place.writeUInt16BE(keyBytes.length, offset)
  keyBytes.copy(place, offset)
  return place
}

const VERSION_PREFIX = Buffer.from([CHECKSUM_VERSION])

function checksum(place: Buffer, body: Buffer): Buffer {
  return createHash('sha256').update(VERSION_PREFIX).update(place).update(body).digest()
}
