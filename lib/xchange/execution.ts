import type { ResponseRecord } from '../frames/index.ts'
import type { Invocation } from './invocation.ts'
import type { Route } from './route.ts'

export type Respond = (response: ResponseRecord) => void

/** A request at work, with the repetitions of its key that wait for the same answer. */
export class Execution {
  readonly digest: Buffer
  readonly route: Route
  readonly payload: unknown
  readonly invocation: Invocation
  readonly #requestId: number
  readonly #respond: Respond
  #repetitions: { readonly requestId: number; readonly respond: Respond }[] | undefined

  constructor(fields: {
    requestId: number
    respond: Respond
    digest: Buffer
    route: Route
    payload: unknown
    invocation: Invocation
  }) {
    this.#requestId = fields.requestId
    this.#respond = fields.respond
    this.digest = fields.digest
    this.route = fields.route
    this.payload = fields.payload
    this.invocation = fields.invocation
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
    visit(this.#requestId, this.#respond)
    for (const repetition of this.#repetitions ?? []) visit(repetition.requestId, repetition.respond)
  }
}
