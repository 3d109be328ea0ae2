import { LsxError } from '../../runtime/index.ts'
import { LATEST_EXPIRY_MS, MAX_PACKET_BYTES, PROOF_BYTES } from './limits.ts'
import { type IlpPacket, readPacket } from './packet.ts'

/** What travels in a request's meta as `ilp`: `{packet, condition, expiresAt?}`. */
export interface IlpPrepareFields {
  readonly packet: Buffer
  /** 32 bytes. */
  readonly condition: Buffer
  /** Unix ms, beside a version 1 packet, which has no expiry of its own; never beside version 4. */
  readonly expiresAt?: number | undefined
}

/** An `ilp` of a request that keeps the rules. */
export interface IlpPrepare {
  readonly packet: IlpPacket
  readonly packetBytes: Buffer
  readonly condition: Buffer
  /** Unix ms. */
  readonly expiresAtMs: number
}

/** What travels in a response's meta as `ilp`: `{fulfilment, fulfilledAt?}`. */
export interface IlpFulfil {
  readonly fulfilment: Buffer
  /** Unix ms, by the bank's clock: when the handler had answered. */
  readonly fulfilledAtMs: number | undefined
}

const PREPARE_FIELDS: ReadonlySet<string> = new Set([
  'packet',
  'condition',
  'expiresAt',
] satisfies (keyof IlpPrepareFields)[])

/**
 * Checks an `ilp` from outside and reads its packet. Throws BAD_REQUEST.
 *
 * @param value of the field; bytes are Buffers
 */
export function parsePrepare(value: unknown): IlpPrepare {
  const fields = fieldsOf(value)
  for (const name in fields) if (!PREPARE_FIELDS.has(name)) throw bad(`ilp.${name.slice(0, 32)} is not known`)
  const { packet: packetBytes, condition, expiresAt } = fields
  if (!Buffer.isBuffer(packetBytes) || packetBytes.length > MAX_PACKET_BYTES) {
    throw bad(`ilp.packet must be at most ${MAX_PACKET_BYTES} bytes`)
  }
  if (!isProof(condition)) throw bad(`ilp.condition must be ${PROOF_BYTES} bytes`)
  const packet = readPacket(packetBytes)
  if (packet.condition !== undefined && !packet.condition.equals(condition)) {
    throw bad('ilp.condition is not the one in the packet')
  }
  if (packet.expiresAtMs !== undefined) {
    if (!isAbsent(expiresAt)) throw bad('ilp.expiresAt belongs to version 1 packets; this one has its own')
    return { packet, packetBytes, condition, expiresAtMs: packet.expiresAtMs }
  }
  if (!isTime(expiresAt)) throw bad('ilp.expiresAt must be a Unix time in milliseconds: a version 1 packet has none')
  return { packet, packetBytes, condition, expiresAtMs: expiresAt }
}

/** Undefined where a response has no `ilp`, or one that breaks the rules. */
export function parseFulfil(value: unknown): IlpFulfil | 'malformed' | undefined {
  if (isAbsent(value)) return undefined
  if (typeof value !== 'object' || Array.isArray(value)) return 'malformed'
  const { fulfilment, fulfilledAt } = value as Record<string, unknown>
  if (!isProof(fulfilment) || !(isAbsent(fulfilledAt) || isTime(fulfilledAt))) return 'malformed'
  return { fulfilment, fulfilledAtMs: fulfilledAt ?? undefined }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)) {
    throw bad('ilp must be a map of packet and condition')
  }
  return value as Record<string, unknown>
}

function isProof(value: unknown): value is Buffer {
  return Buffer.isBuffer(value) && value.length === PROOF_BYTES
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= LATEST_EXPIRY_MS
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

function bad(problem: string): LsxError {
  return new LsxError('BAD_REQUEST', problem)
}
