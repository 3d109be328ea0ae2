import type { MessageEvidence } from '../jws/index.ts'

/** The signed messages of one exchange, as they are kept. */
export interface EvidenceRecord {
  /** Idempotency key. */
  readonly key: string
  readonly bankCode: string
  /** When LS had verified the response, Unix ms. */
  readonly keptAtMs: number
  /** Missing where LS did not sign its requests. */
  readonly request: MessageEvidence | undefined
  readonly response: MessageEvidence
}

/** Of a record beside its messages and signatures, generously. */
const OVERHEAD_BYTES = 512

export function evidenceBytes({ request, response }: EvidenceRecord): number {
  const bytesOf = (evidence: MessageEvidence | undefined) =>
    evidence === undefined ? 0 : evidence.message.length + evidence.signature.length
  return OVERHEAD_BYTES + bytesOf(request) + bytesOf(response)
}

/** @throws TypeError for what is no such record */
export function validateEvidence(value: unknown): EvidenceRecord {
  const { key, bankCode, keptAtMs, request, response } = fieldsOf(value)
  if (typeof key !== 'string' || typeof bankCode !== 'string' || typeof keptAtMs !== 'number')
    throw new TypeError('not a record of evidence')
  return {
    key,
    bankCode,
    keptAtMs,
    request: request === undefined || request === null ? undefined : validateMessage(request),
    response: validateMessage(response),
  }
}

function validateMessage(value: unknown): MessageEvidence {
  const { message, signature } = fieldsOf(value)
  if (Buffer.isBuffer(message) && (Buffer.isBuffer(signature) || typeof signature === 'string'))
    return { message, signature }
  throw new TypeError('not a signed message')
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  throw new TypeError('not a map')
}
