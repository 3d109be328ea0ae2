import type { RequestRecord, ResponseRecord } from '../frames/index.ts'
import type { OpenedRequest } from '../message/jwe/index.ts'
import type { AcceptedIlp } from './ilp-receiver.ts'
import type { Invocation } from './invocation.ts'
import { requestDigest } from './once-only.ts'
import type { SealedRequest } from './request-sealing.ts'
import type { Route } from './route.ts'

export type Respond = (response: ResponseRecord) => void

/** A request at work, with the repetitions of its key that wait for the same answer. */
export class Execution {
  readonly request: RequestRecord
  readonly route: Route
  /** What the handler gets; of a sealed request nothing, until it is opened. */
  payload: unknown
  readonly invocation: Invocation
  readonly ilp: AcceptedIlp | undefined
  readonly sealed: SealedRequest | undefined
  /** Once a sealed request is opened: what its answer is sealed with. */
  opened: OpenedRequest | undefined = undefined
  readonly #respond: Respond
  #digest: Buffer | undefined
  #repetitions: { readonly requestId: number; readonly respond: Respond }[] | undefined

  constructor(
    request: RequestRecord,
    respond: Respond,
    parts: {
      route: Route
      payload: unknown
      invocation: Invocation
      ilp: AcceptedIlp | undefined
      sealed: SealedRequest | undefined
    },
  ) {
    this.request = request
    this.#respond = respond
    this.route = parts.route
    this.payload = parts.payload
    this.invocation = parts.invocation
    this.ilp = parts.ilp
    this.sealed = parts.sealed
  }

  /** Not every request needs it. */
  get digest(): Buffer {
    this.#digest ??= requestDigest(this.request, this.ilp?.transfer.condition)
    return this.#digest
  }

  get repetitionsWaiting(): number {
    return this.#repetitions?.length ?? 0
  }

  addRepetition(requestId: number, respond: Respond): void {
    this.#repetitions ??= []
    this.#repetitions.push({ requestId, respond })
  }

  /** The request itself first. */
  forEachWaiting(visit: (requestId: number, respond: Respond) => void): void {
    visit(this.request.id, this.#respond)
    if (this.#repetitions === undefined) return
    for (const { requestId, respond } of this.#repetitions) visit(requestId, respond)
  }
}
