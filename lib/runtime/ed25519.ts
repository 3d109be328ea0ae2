/** Ed25519 public keys are 32 bytes (RFC 8032 section 5.1.5). */
const PUBLIC_KEY_BYTES = 32

/**
 * Small-order points by their y, little endian and without the sign bit of x: orders 4, 1, 8, 8, 2. A signature under
 * such a key says nothing: one fits any message.
 */
const SMALL_ORDER_Y_HEX = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]

/** p = 2^255 - 19, little endian: its lowest byte; the bytes between are 0xff and the highest is 0x7f. */
const FIELD_LOWEST_BYTE = 0xed

/** Why a signature under this raw Ed25519 public key would prove nothing, or undefined. OpenSSL takes such keys. */
export function ed25519KeyProblem(raw: Buffer): string | undefined {
  if (raw.length !== PUBLIC_KEY_BYTES) return `has ${PUBLIC_KEY_BYTES} bytes, not ${raw.length}`
  const y = Buffer.from(raw)
  const highest = PUBLIC_KEY_BYTES - 1
  y[highest] = (y[highest] ?? 0) & 0x7f
  if (SMALL_ORDER_Y_HEX.includes(y.toString('hex'))) return 'is a small-order point and proves nothing'
  const atLeastP = y[highest] === 0x7f && y.subarray(1, highest).every((byte) => byte === 0xff)
  return atLeastP && (y[0] ?? 0) >= FIELD_LOWEST_BYTE ? 'is not a canonical Ed25519 public key' : undefined
}
