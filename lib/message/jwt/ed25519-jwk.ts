import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { LsxError } from '../../runtime/index.ts'

const ED25519_KEY_BYTES = 32

/** An Ed25519 public key as a JWK (RFC 8037 section 2). */
export interface Ed25519Jwk {
  readonly kty: 'OKP'
  readonly crv: 'Ed25519'
  readonly x: string
  readonly kid: string
}

/** `publicKey`: 32 raw bytes. */
export function ed25519Jwk(publicKey: Buffer): Ed25519Jwk {
  return { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url'), kid: ed25519Kid(publicKey) }
}

/** JWK thumbprint (RFC 7638, RFC 8037 appendix A.3), so that a key id names one key and no other. */
export function ed25519Kid(publicKey: Buffer): string {
  const canonical = `{"crv":"Ed25519","kty":"OKP","x":"${publicKey.toString('base64url')}"}`
  return createHash('sha256').update(canonical).digest('base64url')
}

export function ed25519Key(publicKey: Buffer): KeyObject {
  return createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') },
    format: 'jwk',
  })
}

/** The raw key of a JWK that a peer sent. @throws LsxError TOKEN_INVALID */
export function readEd25519Jwk(value: unknown): { readonly publicKey: Buffer; readonly kid: string } {
  if (typeof value !== 'object' || value === null) throw new LsxError('TOKEN_INVALID', 'a key of a token is not a JWK')
  const { kty, crv, x, kid, ...rest } = value as Record<string, unknown>
  const publicKey = typeof x === 'string' ? Buffer.from(x, 'base64url') : Buffer.alloc(0)
  const sound =
    kty === 'OKP' &&
    crv === 'Ed25519' &&
    publicKey.length === ED25519_KEY_BYTES &&
    publicKey.toString('base64url') === x &&
    kid === ed25519Kid(publicKey) &&
    Object.keys(rest).length === 0
  if (!sound) throw new LsxError('TOKEN_INVALID', 'a key of a token is not an Ed25519 key, or its kid is of another')
  return { publicKey, kid: kid as string }
}
