import { isFulfilled } from './fulfilment.ts'
import { parseFulfil } from './meta.ts'

/** What can be wrong with the proof of a transfer. */
export const ILP_FAILURES = {
  missing: 'the answer is ok and brings no fulfilment',
  malformed: 'the fulfilment breaks the protocol',
  mismatch: 'the fulfilment does not meet the condition',
  expired: 'the fulfilment was made after the expiry',
  unexpected: 'an answer that is not ok brings a fulfilment',
  refused: 'the xchange could not have met the condition, and ran nothing',
} as const

export type IlpFailureType = keyof typeof ILP_FAILURES

/** What LS remembers of a request's packet until the answer comes. */
export interface IlpTerms {
  readonly condition: Buffer
  /** Unix ms. */
  readonly expiresAtMs: number
}

/** Judges an answer with status ok: the fulfilment that proves it, or what is wrong. */
export function judgeFulfilment(
  terms: IlpTerms,
  ilp: unknown,
  options: { readonly receivedAtMs: number; readonly clockSkewMs: number },
): { readonly fulfilment: Buffer } | { readonly failure: IlpFailureType } {
  const fulfil = parseFulfil(ilp)
  if (fulfil === undefined) return { failure: 'missing' }
  if (fulfil === 'malformed') return { failure: 'malformed' }
  const { fulfilment, fulfilledAtMs = options.receivedAtMs } = fulfil
  if (!isFulfilled(terms.condition, fulfilment)) return { failure: 'mismatch' }
  // The bank's clock says when it was done. What took the answer its time, a lost channel for one, does not undo that.
  if (fulfilledAtMs > terms.expiresAtMs + options.clockSkewMs) return { failure: 'expired' }
  return { fulfilment }
}
