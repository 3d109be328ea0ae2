import { hash } from 'node:crypto'
import type { ErrorCode } from '../../runtime/index.ts'
import type { Outcome } from '../routed-request.ts'

/** A request as the app made it. Times are wall time, Unix ms. */
export interface NewRequest {
  readonly key: string
  readonly bankCode: string
  readonly method: string
  readonly payload: Buffer
  /** Encoded map, as it goes to the bank's node. */
  readonly meta?: Buffer | undefined
  /** ILP condition that the app brought. */
  readonly condition?: Buffer | undefined
  readonly acceptedAtMs: number
  readonly deadlineAtMs: number
}

/** How a request ended, or that it is in doubt, which is not an end. */
export interface JournalSettlement {
  readonly outcome: Outcome
  readonly code?: ErrorCode | undefined
  /** The bank's answer, as it is passed on to the app. */
  readonly response?: Buffer | undefined
  /** What the answer is, where it is not msgpack. */
  readonly type?: string | undefined
  /** Checked. */
  readonly fulfilment?: Buffer | undefined
}

/**
 * accepted -> sent -> settled, or accepted -> settled. A record that is open is not settled; one in doubt is open, has
 * state `sent` and outcome `in-doubt`.
 */
export interface JournalRecord extends NewRequest {
  /** Grows with each acceptance: 16 hexadecimal digits, which compare as text. */
  readonly sequence: string
  /** SHA-256 over bank code, method, payload and the app's ILP condition. */
  readonly digest: Buffer
  /** Open records of an earlier process are `sent`: what that process still sent is not known. */
  readonly state: 'accepted' | 'sent' | 'settled'
  /** When it was last sent, as far as that is known. */
  readonly sentAtMs?: number | undefined
  /** The xchange process that it was last sent to. */
  readonly bootId?: string | undefined
  readonly settledAtMs?: number | undefined
  readonly outcome?: Outcome | undefined
  readonly code?: ErrorCode | undefined
  readonly response?: Buffer | undefined
  readonly type?: string | undefined
  readonly fulfilment?: Buffer | undefined
}

/** Tells a repetition from another request under the same key. NUL ends what cannot contain one. */
export function journalDigest(request: Pick<NewRequest, 'bankCode' | 'method' | 'payload' | 'condition'>): Buffer {
  const { bankCode, method, payload, condition } = request
  // In one call: a hash object costs three times as much as the hash of a small payload.
  const digest = hash('sha256', Buffer.concat([Buffer.from(`${bankCode}\0${method}\0`), payload]), 'buffer')
  return condition === undefined ? digest : hash('sha256', Buffer.concat([digest, condition]), 'buffer')
}
