import type { RequestRecord } from './request-records.ts'
import type { ResponseRecord } from './response-records.ts'

/** A request record on its way out, with the request that it is of. */
export interface OutgoingRequest<R> extends RequestRecord {
  readonly origin: R
}

/** What a response answers, as the xchange received it and as its signature names it. */
export interface AnsweredRequest {
  readonly key: string
  readonly method: string
  /** Hash of the signed request, empty where it was not signed. */
  readonly messageHash: string
}

/** A response record on its way out, with what it answers. */
export interface OutgoingResponse extends ResponseRecord {
  readonly answered: AnsweredRequest
}
