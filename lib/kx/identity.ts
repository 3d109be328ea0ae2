import { createPublicKey, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto'
import { ed25519KeyProblem, LsxError } from '../runtime/index.ts'
import { ED25519_KEY_BYTES } from './constants.ts'

/** Holder of a party's long-lived Ed25519 private key. `publicKey` is the 32 raw bytes that the other side pins. */
export interface Identity {
  readonly publicKey: Buffer
  /** Ed25519 signature (RFC 8032), 64 bytes. */
  sign(message: Buffer): Buffer
}

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
  const problem = ed25519KeyProblem(raw)
  if (problem !== undefined) throw new LsxError('IDENTITY_DENIED', `an identity ${problem}`)
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
  // As a JWK (RFC 8037): OpenSSL takes eight times as long to find out what a DER is.
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') }
  return verify(null, message, createPublicKey({ key: jwk, format: 'jwk' }), signature)
}
