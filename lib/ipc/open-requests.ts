import { LsxError } from '../runtime/index.ts'

/** How an accepted request ended; docs/PROTOCOL.md, "Outcomes". */
export type Outcome = 'answered' | 'refused' | 'not-sent' | 'in-doubt'

/** Proof that the bank did what the packet asks for: the SHA-256 of the fulfilment is the condition. LS has checked it. */
export interface IlpProof {
  readonly fulfilment: Buffer
  readonly condition: Buffer
  /** Where LS made it. */
  readonly packet: Buffer | undefined
}

/** The end of a request. */
export interface Reply {
  readonly id: number
  readonly outcome: Outcome
  /** An error code of docs/ERRORS.md; a code of the handler's own is in the payload. */
  readonly code: string | undefined
  /** The decoded answer; undefined when there is none, or when it is not plain msgpack (see `payloadBytes`). */
  readonly payload: unknown
  readonly payloadBytes: Buffer | undefined
  /** What the answer is, where it is not msgpack. */
  readonly type: string | undefined
  /** With an answer that is ok, of a request that had a packet. */
  readonly ilp: IlpProof | undefined
  /** Idempotency key. */
  readonly key: string
  /** Time in LS, milliseconds. */
  readonly ms: number
  /** For people; never to be matched on. */
  readonly message: string | undefined
}

/** The request waits for its channel: nothing is decided yet. */
export interface PendingNotice {
  readonly id: number
  readonly code: string
  readonly key: string
}

/** Requests in doubt whose settlement is awaited; beyond them the oldest is asked for by its key only. */
const MAX_IN_DOUBT = 4_096

/** A request that has no answer yet. */
export interface OpenRequest {
  readonly id: number
  readonly key: string
  /** Monotonic. LS answers before; this bounds the wait for an LS that does not. */
  readonly overdueAtMs: number
  readonly signal: AbortSignal | undefined
  readonly onPending: ((notice: PendingNotice) => void) | undefined
  readonly onSettled: ((reply: Reply) => void) | undefined
  readonly resolve: (reply: Reply) => void
  readonly reject: (reason: unknown) => void
}

/**
 * The open requests of one connection. One abort listener serves all requests that share a signal: adding a listener
 * walks those that are there, so that one for each request would make a shared signal slow.
 */
export class OpenRequests {
  readonly #byId = new Map<number, OpenRequest>()
  readonly #inDoubt = new Map<number, OpenRequest>()
  readonly #bySignal = new Map<AbortSignal, { requests: Set<OpenRequest>; abort: () => void }>()

  get size(): number {
    return this.#byId.size
  }

  /** The request has ended in doubt, and its app wants to hear of the settlement, should one come. */
  awaitSettlement(request: OpenRequest): void {
    this.#inDoubt.set(request.id, request)
    if (this.#inDoubt.size <= MAX_IN_DOUBT) return
    const oldest = this.#inDoubt.keys().next()
    if (!oldest.done) this.#inDoubt.delete(oldest.value)
  }

  /** The request in doubt that is settled now. */
  takeInDoubt(id: number): OpenRequest | undefined {
    const request = this.#inDoubt.get(id)
    this.#inDoubt.delete(id)
    return request
  }

  get(id: number): OpenRequest | undefined {
    return this.#byId.get(id)
  }

  add(request: OpenRequest): void {
    this.#byId.set(request.id, request)
    if (request.signal !== undefined) this.#watch(request.signal).add(request)
  }

  /** The request with this id, which is open no longer. */
  take(id: number): OpenRequest | undefined {
    const request = this.#byId.get(id)
    if (request === undefined) return undefined
    this.#byId.delete(id)
    if (request.signal !== undefined) this.#unwatch(request.signal, request)
    return request
  }

  /** Rejects every request that `isLost` picks. */
  reject(isLost: (request: OpenRequest) => boolean, reasonFor: (request: OpenRequest) => LsxError): void {
    for (const request of this.#byId.values()) {
      if (isLost(request)) this.take(request.id)?.reject(reasonFor(request))
    }
  }

  #watch(signal: AbortSignal): Set<OpenRequest> {
    const watched = this.#bySignal.get(signal)
    if (watched !== undefined) return watched.requests
    const requests = new Set<OpenRequest>()
    const abort = (): void => {
      for (const request of requests) this.take(request.id)?.reject(signal.reason)
    }
    this.#bySignal.set(signal, { requests, abort })
    signal.addEventListener('abort', abort, { once: true })
    return requests
  }

  #unwatch(signal: AbortSignal, request: OpenRequest): void {
    const watched = this.#bySignal.get(signal)
    if (watched === undefined) return
    watched.requests.delete(request)
    if (watched.requests.size > 0) return
    this.#bySignal.delete(signal)
    signal.removeEventListener('abort', watched.abort)
  }
}

/** The app does not know whether the request ran: only the same key may be sent again. */
export function inDoubt(why: string, request: { key: string }, cause?: unknown): LsxError {
  return new LsxError('IN_DOUBT', `${why}; ask again with the same key`, {
    facts: { idempotencyKey: request.key },
    ...(cause === undefined ? {} : { cause }),
  })
}
