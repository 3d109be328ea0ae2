import type { OpeningKey, SealingKey } from './session-keys.ts'
import type { SessionTerms, XchangeOffer } from './terms.ts'

/** What one completed kx creates. Whoever holds it destroys both keys at its end. */
export interface Session {
  readonly sessionId: Buffer
  readonly bankCode: string
  readonly epoch: number
  readonly seal: SealingKey
  readonly open: OpeningKey
  /** Ed25519, 32 bytes: which of the pinned identities the peer proved. */
  readonly peerIdentity: Buffer
  /** X25519 public keys, 32 bytes each. */
  readonly ownStatic: Buffer
  readonly peerStatic: Buffer
  /** Names this very handshake on both ends, 32 bytes. Not a secret. */
  readonly handshakeHash: Buffer
  /** Unix ms. */
  readonly establishedAtMs: number
  readonly terms: SessionTerms
  readonly offer: XchangeOffer
  readonly generation: number
}

/** Both readings of one moment: wall (Unix ms) for proofs and records, monotonic for the life of keys. */
export interface KxTime {
  readonly wallMs: number
  readonly monotonicMs: number
}
