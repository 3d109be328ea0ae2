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

/**
 * The session with all that it keeps of the peer's frames in one buffer of its own. Small pieces would each hold 8 KiB of
 * node's pool for as long as the session lives.
 */
export function keepingOwnBytes(session: Session): Session {
  const { sessionId, peerIdentity, peerStatic, handshakeHash, offer } = session
  const parts = [sessionId, peerIdentity, peerStatic, handshakeHash, offer.bootId]
  const kept = Buffer.alloc(parts.reduce((bytes, part) => bytes + part.length, 0))
  let end = 0
  const keep = (part: Buffer): Buffer => {
    const start = end
    end += part.copy(kept, start)
    return kept.subarray(start, end)
  }
  return {
    ...session,
    sessionId: keep(sessionId),
    peerIdentity: keep(peerIdentity),
    peerStatic: keep(peerStatic),
    handshakeHash: keep(handshakeHash),
    offer: { ...offer, bootId: keep(offer.bootId) },
  }
}
