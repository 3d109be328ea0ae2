import type {
  AnsweredRequest,
  OutgoingRequest,
  OutgoingResponse,
  RequestRecord,
  ResponseRecord,
} from '../frames/index.ts'
import type { LsxError } from '../runtime/index.ts'
import type { FlushAt, RecordBatch } from './batch-sender.ts'

/** A signature costs more than all the rest of a batch: it is shared by twice as many records. */
export const SIGNED_FLUSH_AT: FlushAt = { bytes: 32_768, records: 128 }

/** Signs what LS sends and verifies what comes back. `sessionId`: of the session that seals, or sealed, the frame. */
export interface LsMessageSigning<R> {
  newBatch(maxBodyBytes: number, sessionId: () => Buffer | undefined): RecordBatch<OutgoingRequest<R>>
  /** The most that a signature adds to a request. */
  readonly growthBytes: number
  /** One verdict for each, in their order. */
  verify(
    answers: readonly { readonly request: R; readonly response: ResponseRecord }[],
    sessionId: Buffer,
  ): readonly ResponseVerdict[]
}

export interface ResponseVerdict {
  /** SIGNATURE_INVALID: the response must not be believed. */
  readonly error: LsxError | undefined
  /** Of the response, without the signature. */
  readonly meta: Buffer | undefined
}

/** Verifies what comes from LS and signs what the xchange answers. */
export interface XchangeMessageSigning {
  newBatch(maxBodyBytes: number, sessionId: () => Buffer | undefined): RecordBatch<OutgoingResponse>
  /** One verdict for each, in their order. */
  verify(requests: readonly RequestRecord[], sessionId: Buffer): readonly RequestVerdict[]
}

export interface RequestVerdict {
  /** SIGNATURE_INVALID: the request must not be executed. */
  readonly error: LsxError | undefined
  readonly answered: AnsweredRequest
  /** Of the request, without the signature. */
  readonly meta: Buffer | undefined
}
