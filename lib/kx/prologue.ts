import { LsxError } from '../runtime/index.ts'
import { EXPORTER_BYTES, SESSION_ID_BYTES } from './constants.ts'

const LABEL = 'LS-KX-1'
const BANK_CODE = /^[A-Za-z0-9._-]{1,32}$/

/** What both ends must agree on before the first message; a difference in any makes the handshake fail. */
export interface PrologueFacts {
  readonly bankCode: string
  /** 16 bytes. */
  readonly sessionId: Buffer
  /** LS's fencing number. */
  readonly generation: number
  /** TLS exporter (RFC 9266), 32 bytes, or none where channel binding is off. */
  readonly exporter: Buffer
}

/**
 * label `LS-KX-1` | u16 length, bank code | u16 length, session id | u16 length (8), generation u64 | u16 length,
 * exporter. Throws KX_FAILED when a fact is out of its bounds.
 */
export function prologueOf(facts: PrologueFacts): Buffer {
  checkRoute(facts.bankCode, facts.sessionId)
  if (!Number.isSafeInteger(facts.generation) || facts.generation < 0) {
    throw new LsxError('KX_FAILED', 'the generation is not an integer from 0 to 2^53-1')
  }
  if (facts.exporter.length !== 0 && facts.exporter.length !== EXPORTER_BYTES) {
    throw new LsxError('KX_FAILED', `the TLS exporter has ${facts.exporter.length} bytes, not 0 or ${EXPORTER_BYTES}`)
  }
  const generation = Buffer.alloc(8)
  generation.writeBigUInt64BE(BigInt(facts.generation))
  return Buffer.concat([
    Buffer.from(LABEL, 'ascii'),
    withLength(Buffer.from(facts.bankCode, 'ascii')),
    withLength(facts.sessionId),
    withLength(generation),
    withLength(facts.exporter),
  ])
}

/** Throws KX_FAILED on a bank code or session id that is not one. */
export function checkRoute(bankCode: string, sessionId: Buffer): void {
  if (!BANK_CODE.test(bankCode)) {
    throw new LsxError('KX_FAILED', 'the bank code is not 1 to 32 characters of A-Z a-z 0-9 . _ -')
  }
  if (sessionId.length !== SESSION_ID_BYTES) {
    throw new LsxError('KX_FAILED', `the session id has ${sessionId.length} bytes, not ${SESSION_ID_BYTES}`)
  }
}

/** `part` with its u16 big-endian length before it. */
export function withLength(part: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(part.length)
  return Buffer.concat([length, part])
}
