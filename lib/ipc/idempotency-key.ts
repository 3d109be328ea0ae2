import { randomFillSync } from 'node:crypto'
import { systemClock } from '../runtime/index.ts'

const RANDOM_BYTES = 10
/** Randomness is drawn for many keys at once: one call for each would cost more than the rest of a request. */
const pool = Buffer.alloc(RANDOM_BYTES * 512)
let poolOffset = pool.length

const HEX = Buffer.from('0123456789abcdef')
const HYPHEN = 0x2d
const VERSION_7 = 0x37
const text = Buffer.alloc(36, HYPHEN) as Buffer & { latin1Slice(start: number, end: number): string }

/**
 * A new UUIDv7: unique, and sorted by the millisecond in which it was made. RFC 9562, section 5.7:
 * 48 bits of Unix ms, version, 12 random bits, variant, 62 random bits. Written by hand, because it is made for each request.
 */
export function newIdempotencyKey(): string {
  if (poolOffset === pool.length) {
    randomFillSync(pool)
    poolOffset = 0
  }
  const nowMs = systemClock.nowMs()
  const high = Math.floor(nowMs / 0x1_0000)
  writeByte(0, high >>> 24)
  writeByte(2, high >>> 16)
  writeByte(4, high >>> 8)
  writeByte(6, high)
  writeByte(9, nowMs >>> 8)
  writeByte(11, nowMs)
  const offset = poolOffset
  poolOffset += RANDOM_BYTES
  const version = pool[offset] as number
  text[14] = VERSION_7
  text[15] = HEX[version & 0x0f] as number
  writeByte(16, pool[offset + 1] as number)
  writeByte(19, 0x80 | ((pool[offset + 2] as number) & 0x3f))
  writeByte(21, pool[offset + 3] as number)
  for (let index = 0; index < 6; index++) writeByte(24 + index * 2, pool[offset + 4 + index] as number)
  return text.latin1Slice(0, 36)
}

function writeByte(position: number, byte: number): void {
  text[position] = HEX[(byte >>> 4) & 0x0f] as number
  text[position + 1] = HEX[byte & 0x0f] as number
}
