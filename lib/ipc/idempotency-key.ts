import { randomFillSync } from 'node:crypto'
import { v7 } from 'uuid'

const RANDOM_BYTES = 16
/** Randomness is drawn for many keys at once: one call for each would cost more than the rest of a request. */
const pool = Buffer.alloc(RANDOM_BYTES * 256)
let poolOffset = pool.length

/** A new UUIDv7 (RFC 9562, section 5.7): unique, and sorted by the time it was made. */
export function newIdempotencyKey(): string {
  if (poolOffset === pool.length) {
    randomFillSync(pool)
    poolOffset = 0
  }
  const random = pool.subarray(poolOffset, poolOffset + RANDOM_BYTES)
  poolOffset += RANDOM_BYTES
  return v7({ random })
}
