import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject, timingSafeEqual } from 'node:crypto'
import { LsxError } from '../runtime/index.ts'
import { X25519_KEY_BYTES } from './constants.ts'

/** An X25519 key pair. `publicKey` is the 32 raw bytes. */
export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: Buffer
}

/** Makes a new key pair at each call; this is how randomness is handed in. */
export type KeyPairSource = () => KeyPair

/** DER before the raw key (RFC 8410, section 7): PKCS #8 for X25519. */
const PKCS8_PREFIX_HEX = '302e020100300506032b656e04220420'

/**
 * `privateRaw`: 32 bytes (RFC 7748, section 5), which the caller zeroes when done. Throws INTERNAL on another length.
 */
export function x25519KeyPairFromRaw(privateRaw: Buffer): KeyPair {
  if (privateRaw.length !== X25519_KEY_BYTES) {
    throw new LsxError('INTERNAL', `an X25519 private key has ${X25519_KEY_BYTES} bytes, not ${privateRaw.length}`)
  }
  const der = Buffer.alloc(PKCS8_PREFIX_HEX.length / 2 + X25519_KEY_BYTES)
  der.write(PKCS8_PREFIX_HEX, 'hex')
  privateRaw.copy(der, der.length - X25519_KEY_BYTES)
  try {
    const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
    return { privateKey, publicKey: Buffer.from(x, 'base64url') }
  } finally {
    der.fill(0)
  }
}

/**
 * DH(private, public) of Noise section 12.1: 32 bytes, which the caller zeroes.
 * Throws KX_FAILED on a public key of another length and on low-order points, whose output is zero whatever our key is.
 */
export function x25519(privateKey: KeyObject, publicKey: Buffer): Buffer {
  if (publicKey.length !== X25519_KEY_BYTES) {
    throw new LsxError('KX_FAILED', `an X25519 public key has ${X25519_KEY_BYTES} bytes, not ${publicKey.length}`)
  }
  let shared: Buffer
  try {
    // As a JWK (RFC 8037): OpenSSL takes eight times as long to find out what a DER is.
    const jwk = { kty: 'OKP', crv: 'X25519', x: publicKey.toString('base64url') }
    const peerKey = createPublicKey({ key: jwk, format: 'jwk' })
    shared = diffieHellman({ privateKey, publicKey: peerKey })
  } catch (cause) {
    // OpenSSL refuses an all-zero output by throwing; other builds return it.
    throw new LsxError('KX_FAILED', 'the peer sent an X25519 public key that is not usable (low order)', { cause })
  }
  if (timingSafeEqual(shared, Buffer.alloc(X25519_KEY_BYTES))) {
    throw new LsxError('KX_FAILED', 'the peer sent an X25519 public key that is not usable (low order)')
  }
  return shared
}
