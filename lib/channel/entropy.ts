import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import type { KeyPair } from '../kx/index.ts'

/** The randomness that daemons hand to the pure layers. */

/** A new X25519 key pair from the system's generator. */
export function newX25519KeyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('x25519')
  return { privateKey, publicKey: rawPublicKey(publicKey) }
}

export function newSessionId(): Buffer {
  return randomBytes(16)
}

export function newBootId(): Buffer {
  return randomBytes(16)
}

/** RFC 8037: the `x` of a JWK holds the 32 raw bytes. OpenSSL writes a DER seventy times slower. */
function rawPublicKey(key: KeyObject): Buffer {
  const { x = '' } = key.export({ format: 'jwk' })
  return Buffer.from(x, 'base64url')
}
