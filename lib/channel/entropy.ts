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

/** RFC 8410: the SubjectPublicKeyInfo of an X25519 key ends with its 32 raw bytes. */
function rawPublicKey(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(-32)
}
