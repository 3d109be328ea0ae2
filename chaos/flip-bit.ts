/** A copy with this bit the other way round, counted from the first byte's lowest. */
export function flipBit(bytes: Buffer, bit: number): Buffer {
  const damaged = Buffer.from(bytes)
  damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return damaged
}
