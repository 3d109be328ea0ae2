import { z } from 'zod'
import { LsxError } from '../../runtime/index.ts'
import {
  describeSignature,
  type KeyFinder,
  MessageDirection,
  type MessageEvidence,
  parseJsonObject,
  publicJwk,
  readMessage,
  type VerificationKey,
} from '../jws/index.ts'
import type { EvidenceRecord } from './evidence-record.ts'

export const EVIDENCE_FORMAT = 'ls-xchange-evidence-1'
const MAX_EXCHANGES = 100

const messageSchema = z.strictObject({
  /** The signed bytes, base64. */
  message: z.base64(),
  /** The batch proof of PROTOCOL.md, base64; or a JWS with detached content. */
  signature: z.strictObject({ proof: z.base64() }).or(z.strictObject({ jws: z.string().max(8_192) })),
  /** What the two say, for people; a verifier works it out anew. */
  facts: z.record(z.string(), z.unknown()),
})

const fileSchema = z.strictObject({
  format: z.literal(EVIDENCE_FORMAT),
  exportedAt: z.iso.datetime(),
  key: z.string().min(1).max(64),
  exchanges: z
    .array(z.strictObject({ keptAt: z.iso.datetime(), request: messageSchema.optional(), response: messageSchema }))
    .min(1)
    .max(MAX_EXCHANGES),
  /** Those that the exporter knew. Nobody is to trust them because they are here. */
  keys: z.array(z.strictObject({ party: z.string(), jwk: z.record(z.string(), z.unknown()) })),
})

/** All that proves what was said in the exchanges of one idempotency key, as JSON. */
export type EvidenceFile = z.output<typeof fileSchema>
export type EvidenceMessage = z.output<typeof messageSchema>

/** @throws LsxError SIGNATURE_INVALID for a record whose messages cannot be read */
export function evidenceFile(
  key: string,
  records: readonly EvidenceRecord[],
  options: { keys: KeyFinder; nowMs: number },
): EvidenceFile {
  const used = new Map<string, { party: string; jwk: Record<string, unknown> }>()
  const exported = (evidence: MessageEvidence): EvidenceMessage => {
    const message = exportMessage(evidence)
    const { party, keyId } = message.facts as { party: string; keyId: string }
    const found = options.keys.find(party, keyId)
    if (found !== undefined) used.set(`${party}/${keyId}`, { party, jwk: jwkOf(found) })
    return message
  }
  const exchanges = records.map(({ keptAtMs, request, response }) => ({
    keptAt: new Date(keptAtMs).toISOString(),
    ...(request === undefined ? {} : { request: exported(request) }),
    response: exported(response),
  }))
  return {
    format: EVIDENCE_FORMAT,
    exportedAt: new Date(options.nowMs).toISOString(),
    key,
    exchanges,
    keys: [...used.values()],
  }
}

/** @throws LsxError BAD_REQUEST for what is no evidence file */
export function parseEvidenceFile(text: string): EvidenceFile {
  // A name that stands twice says one thing to a reader and another to us.
  const value = parseJsonObject(Buffer.from(text))
  if (typeof value === 'string') throw new LsxError('BAD_REQUEST', `the file cannot be read: ${value}`)
  const parsed = fileSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`)
  throw new LsxError('BAD_REQUEST', `the file is no evidence of this format: ${problems.slice(0, 5).join('; ')}`)
}

/** The message as it is kept. */
export function importMessage({ message, signature }: EvidenceMessage): MessageEvidence {
  return {
    message: Buffer.concat([LEAF_PREFIX, Buffer.from(message, 'base64')]),
    signature: 'jws' in signature ? signature.jws : Buffer.from(signature.proof, 'base64'),
  }
}

export function exportMessage(evidence: MessageEvidence): EvidenceMessage {
  const { message, signature } = evidence
  return {
    message: message.subarray(LEAF_PREFIX.length).toString('base64'),
    signature: typeof signature === 'string' ? { jws: signature } : { proof: signature.toString('base64') },
    facts: factsOf(evidence),
  }
}

/** The prefix of a leaf is no part of the message. */
const LEAF_PREFIX = Buffer.from([0])

function factsOf(evidence: MessageEvidence): Record<string, unknown> {
  const { context, parts, timeMs } = readMessage(evidence.message)
  const isRequest = context.direction === MessageDirection.request
  const { hash, keyId, ...signature } = describeSignature(evidence)
  return {
    direction: isRequest ? 'request' : 'response',
    party: context.party,
    keyId,
    signedAt: timeText(timeMs),
    bankCode: context.bankCode,
    sessionId: context.sessionId.toString('hex'),
    id: parts.id,
    key: parts.key,
    method: parts.method,
    ...(isRequest ? { budgetMs: parts.detail } : { status: parts.detail }),
    ...(parts.requestHash === '' ? {} : { requestHash: Buffer.from(parts.requestHash, 'latin1').toString('hex') }),
    metaEntries: parts.metaEntries.toString('base64'),
    payload: parts.payload.toString('base64'),
    hash,
    ...signature,
  }
}

function timeText(timeMs: number): string {
  const date = new Date(timeMs)
  return Number.isNaN(date.getTime()) ? String(timeMs) : date.toISOString()
}

function jwkOf(key: VerificationKey): Record<string, unknown> {
  const { keyId, algorithm, notBeforeMs, notAfterMs } = key
  return publicJwk(key.publicKey, {
    keyId,
    algorithm,
    ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
    ...(notAfterMs === undefined ? {} : { notAfterMs }),
  })
}
