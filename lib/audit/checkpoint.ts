import { createPublicKey, verify } from 'node:crypto'
import { formatIdentityPin } from '../certs/index.ts'

/** What a checkpoint signs: the chain up to and including the record `seq`. */
export interface Checkpoint {
  readonly chain: string
  /** `ls`, or `xchange <bank code>`. */
  readonly party: string
  readonly seq: number
  readonly hash: string
  /** ISO 8601, UTC. */
  readonly at: string
  /** Records since the checkpoint before this one. */
  readonly count: number
  /** No more records than this ever stand unsigned; from here on. */
  readonly every: number
}

/** An Ed25519 key that signs and is never seen: the daemon's identity. */
export interface AuditSigner {
  /** 32 bytes. */
  readonly publicKey: Buffer
  sign(message: Buffer): Buffer
}

/** Why a checkpoint is not believed. */
export type CheckpointProblem = 'malformed' | 'unknown-key' | 'wrong-signature'

const TYP = 'lsx-audit+jws'
const SPKI_ED25519 = Buffer.from('302a300506032b6570032100', 'hex')
const SIGNATURE_BYTES = 64

/** A compact JWS (RFC 7515, RFC 8037): EdDSA with the daemon's Ed25519 identity, `kid` is its pin. */
export function signCheckpoint(checkpoint: Checkpoint, signer: AuditSigner): string {
  const input = `${headerOf(formatIdentityPin(signer.publicKey))}.${payloadOf(checkpoint)}`
  return `${input}.${signer.sign(Buffer.from(input)).toString('base64url')}`
}

/**
 * The checkpoint that one of the pinned keys (32 bytes each) has signed. The header decides nothing: it must be, byte for
 * byte, the one that we write for that key.
 */
export function openCheckpoint(
  jws: string,
  pins: readonly Buffer[],
): { checkpoint: Checkpoint; pin: string } | { problem: CheckpointProblem; pin?: string } {
  const [header = '', payload = '', signature = '', ...more] = jws.split('.')
  const kid = kidOf(header)
  const checkpoint = checkpointOf(payload)
  const signatureBytes = Buffer.from(signature, 'base64url')
  if (more.length > 0 || kid === undefined || checkpoint === undefined) return { problem: 'malformed' }
  if (signatureBytes.length !== SIGNATURE_BYTES || signatureBytes.toString('base64url') !== signature)
    return { problem: 'malformed', pin: kid }
  const pin = pins.find((candidate) => formatIdentityPin(candidate) === kid)
  if (pin === undefined) return { problem: 'unknown-key', pin: kid }
  const publicKey = createPublicKey({ key: Buffer.concat([SPKI_ED25519, pin]), format: 'der', type: 'spki' })
  const isGood = verify(null, Buffer.from(`${header}.${payload}`), publicKey, signatureBytes)
  return isGood ? { checkpoint, pin: kid } : { problem: 'wrong-signature', pin: kid }
}

function headerOf(kid: string): string {
  return encode({ alg: 'EdDSA', typ: TYP, kid })
}

function payloadOf({ chain, party, seq, hash, at, count, every }: Checkpoint): string {
  return encode({ chain, party, seq, hash, at, count, every })
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function decode(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function kidOf(header: string): string | undefined {
  const kid = decode(header)?.kid
  return typeof kid === 'string' && headerOf(kid) === header ? kid : undefined
}

function checkpointOf(payload: string): Checkpoint | undefined {
  const value = decode(payload) as Partial<Checkpoint> | undefined
  if (value === undefined) return undefined
  const { chain, party, seq, hash, at, count, every } = value
  for (const text of [chain, party, hash, at]) if (typeof text !== 'string') return undefined
  for (const number of [seq, count, every]) if (!Number.isSafeInteger(number)) return undefined
  return payloadOf(value as Checkpoint) === payload ? (value as Checkpoint) : undefined
}
