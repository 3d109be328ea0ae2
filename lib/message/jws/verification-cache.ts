import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../runtime/index.ts'
import { verifyBytes } from './algorithms.ts'
import type { VerificationKey } from './jwk.ts'

export interface VerificationCacheOptions {
  readonly clock: Clock
  /** Signatures remembered. Default 1,000; 0 turns it off. */
  readonly size?: number
  /** How long one is remembered. Default 1 h. */
  readonly ttlMs?: number
}

/**
 * Remembers which signatures were good, so that the same bytes are not verified twice. An entry is named by a hash over
 * key, algorithm, signature and signed bytes, never by the text of a token, which has many spellings. It says nothing of
 * the key's validity: the caller looks the key up, and asks for its times, each time.
 */
export class VerificationCache {
  readonly #verified: LRUCache<string, true> | undefined
  #hits = 0
  #misses = 0

  constructor({ clock, size = 1_000, ttlMs = 3_600_000 }: VerificationCacheOptions) {
    if (size === 0) return
    this.#verified = new LRUCache<string, true>({
      max: size,
      ttl: ttlMs,
      // lru-cache takes a start of 0 for "no ttl", and with a resolution above 0 starts timers of its own.
      perf: { now: () => clock.monotonicMs() + 1 },
      ttlResolution: 0,
    })
  }

  get counts(): { readonly size: number; readonly hits: number; readonly misses: number } {
    return { size: this.#verified?.size ?? 0, hits: this.#hits, misses: this.#misses }
  }

  verify(key: VerificationKey, message: Buffer, signature: Buffer): boolean {
    const name = this.#verified === undefined ? '' : nameOf(key, message, signature)
    if (this.#verified?.get(name) === true) {
      this.#hits++
      return true
    }
    this.#misses++
    if (!verifyBytes(key.algorithm, key.publicKey, message, signature)) return false
    this.#verified?.set(name, true)
    return true
  }
}

/** The lengths in front keep two different triples from being the same bytes. */
function nameOf(key: VerificationKey, message: Buffer, signature: Buffer): string {
  return createHash('sha256')
    .update(`${key.thumbprint} ${key.algorithm} ${signature.length} `)
    .update(signature)
    .update(message)
    .digest('binary')
}
