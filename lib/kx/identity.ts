import { createPublicKey, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto'
import { LsxError } from '../runtime/index.ts'
import { ED25519_KEY_BYTES } from './constants.ts'

/** Holder of a party's long-lived Ed25519 private key. `publicKey` is the 32 raw bytes that the other side pins. */
export interface Identity {
  readonly publicKey: Buffer
  /** Ed25519 signature (RFC 8032), 64 bytes. */
  sign(message: Buffer): Buffer
}

/** DER before the raw key (RFC 8410, section 4): SubjectPublicKeyInfo for Ed25519. */
const SPKI_PREFIX_HEX = '302a300506032b6570032100'

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

/** `key`: an Ed25519 private key. Throws IDENTITY_DENIED on any other kind. */
export function identityFromPrivateKey(key: KeyObject): Identity {
  if (key.type !== 'private' || key.asymmetricKeyType !== 'ed25519') {
    throw new LsxError('IDENTITY_DENIED', 'the identity key is not an Ed25519 private key', { party: 'self' })
  }
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
  return {
    publicKey: Buffer.from(spki.subarray(spki.length - ED25519_KEY_BYTES)),
    sign: (message) => sign(null, message, key),
  }
}

/** For a key to be pinned. Throws IDENTITY_DENIED on a wrong length, a non-canonical and a small-order point. */
export function checkIdentityPublicKey(raw: Buffer): void {
  if (raw.length !== ED25519_KEY_BYTES) {
    throw new LsxError('IDENTITY_DENIED', `an identity has ${ED25519_KEY_BYTES} bytes, not ${raw.length}`)
  }
  const y = Buffer.from(raw)
  const highest = ED25519_KEY_BYTES - 1
  y[highest] = (y[highest] ?? 0) & 0x7f
  if (SMALL_ORDER_Y_HEX.includes(y.toString('hex'))) {
    throw new LsxError('IDENTITY_DENIED', 'the identity is a small-order point and proves nothing')
  }
  const atLeastP = y[highest] === 0x7f && y.subarray(1, highest).every((byte) => byte === 0xff)
  if (atLeastP && (y[0] ?? 0) >= FIELD_LOWEST_BYTE) {
    throw new LsxError('IDENTITY_DENIED', 'the identity is not a canonical Ed25519 public key')
  }
}

/** Whether `identity` is one of the pins. Compares with each of them, in constant time. */
export function isPinned(identity: Buffer, pinnedIdentities: readonly Buffer[]): boolean {
  let found = false
  for (const pin of pinnedIdentities) {
    if (pin.length === identity.length && timingSafeEqual(pin, identity)) found = true
  }
  return found
}

/** `publicKey` must have passed `checkIdentityPublicKey`. */
export function verifyIdentitySignature(publicKey: Buffer, message: Buffer, signature: Buffer): boolean {
  const spki = Buffer.concat([Buffer.from(SPKI_PREFIX_HEX, 'hex'), publicKey])
  return verify(null, message, createPublicKey({ key: spki, format: 'der', type: 'spki' }), signature)
}
