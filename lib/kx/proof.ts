import { LsxError } from '../runtime/index.ts'
import { DEFAULT_CLOCK_SKEW_MS, DEFAULT_PROOF_LIFETIME_MS } from './constants.ts'
import { checkIdentityPublicKey, type Identity, isPinned, verifyIdentitySignature } from './identity.ts'
import { withLength } from './prologue.ts'

const LABEL = 'LS-KX-PROOF-1'

/** Who proves. Part of the signed bytes, so that a proof cannot be turned around. */
export const ProofRole = { ls: 1, xchange: 2 } as const
export type ProofRole = (typeof ProofRole)[keyof typeof ProofRole]

/** What a proof speaks about; both ends know it without being told. */
export interface ProofSubject {
  readonly role: ProofRole
  readonly bankCode: string
  readonly sessionId: Buffer
  /** The X25519 static public key that the prover uses in this handshake. */
  readonly staticKey: Buffer
}

/** As it travels, encrypted, in message 2 or 3. The window is Unix ms, both ends included. */
export interface IdentityProof {
  readonly identity: Buffer
  readonly notBefore: number
  readonly notAfter: number
  readonly signature: Buffer
}

/** Whose proofs are taken, and when. */
export interface ProofPolicy {
  /** Ed25519 public keys of the other side, 32 bytes each; several during a rotation. */
  readonly pinnedIdentities: readonly Buffer[]
  /** How long our own proofs hold, and those of others may. Default 300,000. */
  readonly proofLifetimeMs?: number
  /** How far the clocks of both machines may be apart. Default 60,000. */
  readonly clockSkewMs?: number
}

/**
 * label | role u8 | u16 length, bank code | u16 length, session id | notBefore u64 | notAfter u64 | static key. Big
 * endian.
 */
function signedBytes(subject: ProofSubject, notBefore: number, notAfter: number): Buffer {
  const window = Buffer.alloc(16)
  window.writeBigUInt64BE(BigInt(notBefore), 0)
  window.writeBigUInt64BE(BigInt(notAfter), 8)
  return Buffer.concat([
    Buffer.from(LABEL, 'ascii'),
    Buffer.of(subject.role),
    withLength(Buffer.from(subject.bankCode, 'ascii')),
    withLength(subject.sessionId),
    window,
    subject.staticKey,
  ])
}

/** A proof that holds from `wallMs` on for the lifetime of the policy. */
export function makeProof(
  subject: ProofSubject,
  identity: Identity,
  policy: ProofPolicy,
  wallMs: number,
): IdentityProof {
  const notBefore = Math.floor(wallMs)
  const notAfter = notBefore + Math.floor(policy.proofLifetimeMs ?? DEFAULT_PROOF_LIFETIME_MS)
  const signature = identity.sign(signedBytes(subject, notBefore, notAfter))
  return { identity: identity.publicKey, notBefore, notAfter, signature }
}

/**
 * Throws IDENTITY_DENIED for an identity that is not pinned (or should never have been), and KX_FAILED for a window
 * that is too long or does not hold now, and for a wrong signature.
 */
export function checkProof(proof: IdentityProof, subject: ProofSubject, policy: ProofPolicy, wallMs: number): void {
  const prover = subject.role === ProofRole.ls ? 'LS' : 'xchange'
  if (!isPinned(proof.identity, policy.pinnedIdentities)) {
    throw new LsxError('IDENTITY_DENIED', `the identity of the ${prover} is not one of the pinned ones`, {
      facts: { identity: proof.identity.toString('base64') },
    })
  }
  checkIdentityPublicKey(proof.identity)
  const { proofLifetimeMs = DEFAULT_PROOF_LIFETIME_MS, clockSkewMs = DEFAULT_CLOCK_SKEW_MS } = policy
  const { notBefore, notAfter } = proof
  const lifetimeMs = notAfter - notBefore
  if (lifetimeMs < 0 || lifetimeMs > proofLifetimeMs + 2 * clockSkewMs) {
    throw new LsxError('KX_FAILED', `the proof of the ${prover} has a window of ${lifetimeMs} ms`, {
      facts: { notBefore, notAfter },
    })
  }
  if (wallMs + clockSkewMs < notBefore || wallMs - clockSkewMs > notAfter) {
    throw new LsxError(
      'KX_FAILED',
      `the proof of the ${prover} is not valid now: compare the clocks of both machines`,
      {
        facts: { notBefore, notAfter, nowMs: wallMs },
      },
    )
  }
  if (!verifyIdentitySignature(proof.identity, signedBytes(subject, notBefore, notAfter), proof.signature)) {
    throw new LsxError('KX_FAILED', `the signature in the proof of the ${prover} is wrong`)
  }
}
