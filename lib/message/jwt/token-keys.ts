import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { Clock } from '../../runtime/index.ts'
import { type Ed25519Jwk, ed25519Jwk } from './ed25519-jwk.ts'
import type { TokenSigner } from './make-token.ts'

/** A new Ed25519 private key. */
export type NewTokenKey = () => KeyObject

export const newTokenKey: NewTokenKey = () => generateKeyPairSync('ed25519').privateKey

export interface TokenKey extends TokenSigner {
  readonly jwk: Ed25519Jwk
  /** Wall time. */
  readonly createdAtMs: number
}

/**
 * The key that signs this party's request tokens. It is in memory only: each session's token, which the identity
 * signs, carries its public half, so a new one needs nobody's consent and no file can leak it. Those who hear of a
 * rotation send their sessions a new token before anything is signed with the new key.
 */
export class TokenKeys {
  readonly #newKey: NewTokenKey
  readonly #clock: Clock
  readonly #followers = new Set<() => void>()
  #current: TokenKey

  constructor(clock: Clock, newKey: NewTokenKey = newTokenKey) {
    this.#clock = clock
    this.#newKey = newKey
    this.#current = this.#make()
  }

  get current(): TokenKey {
    return this.#current
  }

  rotate(): TokenKey {
    this.#current = this.#make()
    for (const follow of this.#followers) follow()
    return this.#current
  }

  /** Returns what ends it. */
  follow(onRotated: () => void): () => void {
    this.#followers.add(onRotated)
    return () => this.#followers.delete(onRotated)
  }

  #make(): TokenKey {
    const privateKey = this.#newKey()
    const { x } = privateKey.export({ format: 'jwk' })
    const jwk = ed25519Jwk(Buffer.from(x ?? '', 'base64url'))
    return {
      jwk,
      kid: jwk.kid,
      createdAtMs: this.#clock.nowMs(),
      sign: (message) => sign(null, message, privateKey),
    }
  }
}
