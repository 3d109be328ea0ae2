import {
  isKey,
  isMethod,
  type OutgoingRequest,
  type OutgoingResponse,
  requestRecordBytes,
  responseRecordBytes,
} from '../../frames/index.ts'
import { LsxError } from '../../runtime/index.ts'
import { MessageDirection } from './message.ts'
import type { RecordForm, SignedMessage } from './signing-batch.ts'

/** The request that a record belongs to, at LS. */
export interface SignableRequest {
  readonly key: string
  readonly method: string
  /** What was signed of it, each time that it was sent, the newest last. */
  signed: readonly SignedRequest[] | undefined
}

/** One sending of a request. */
export interface SignedRequest extends SignedMessage {
  /** Of its record: an answer names it. */
  readonly recordId: number
}

/** A request that is sent again on the same channel may still be answered under its older ids; more are forgotten. */
const SENDINGS_KEPT = 4

export function requestForm<R extends SignableRequest>(
  keepsEvidence: (request: R) => boolean,
): RecordForm<OutgoingRequest<R>> {
  return {
    direction: MessageDirection.request,
    recordBytes: requestRecordBytes,
    check: ({ key, method }) => {
      if (!isKey(key) || !isMethod(method))
        throw new LsxError('BAD_REQUEST', 'an idempotency key or a method breaks its rules')
    },
    parts: ({ id, key, method, budgetMs, payload }, metaEntries) => ({
      id,
      detail: budgetMs,
      key,
      method,
      requestHash: '',
      metaEntries,
      payload,
    }),
    withMeta: ({ id, key, method, budgetMs, payload, origin }, meta) => ({
      id,
      key,
      method,
      budgetMs,
      payload,
      meta,
      origin,
    }),
    keepsEvidence: ({ origin }) => keepsEvidence(origin),
    onSigned: ({ id, origin }, signed) => {
      const { hash, party, keyId, timeMs, evidence } = signed
      const sent = { recordId: id, hash, party, keyId, timeMs, evidence }
      // As a rule a request is sent once.
      origin.signed = origin.signed === undefined ? [sent] : [...origin.signed.slice(1 - SENDINGS_KEPT), sent]
    },
  }
}

export const responseForm: RecordForm<OutgoingResponse> = {
  direction: MessageDirection.response,
  recordBytes: responseRecordBytes,
  check: () => {},
  parts: ({ id, status, payload, answered }, metaEntries) => ({
    id,
    detail: status,
    key: answered.key,
    method: answered.method,
    requestHash: answered.messageHash,
    metaEntries,
    payload,
  }),
  withMeta: ({ id, status, payload, answered }, meta) => ({ id, status, payload, meta, answered }),
  keepsEvidence: () => false,
  onSigned: () => {},
}
