import { type Deadlined, DeadlineWheel } from './deadline-wheel.ts'

/** A request on its way to an xchange. lib/ls extends it with who asked. */
export class ChannelRequest implements Deadlined {
  /** Unique on the channel while in flight; the in-flight table gives it. */
  channelId = 0
  readonly key: string
  readonly method: string
  readonly payload: Buffer
  /** Encoded msgpack map, or nothing. */
  readonly meta: Buffer | undefined
  /** How long LS waits for the answer, monotonic ms. */
  deadlineMs: number
  /** When the request's own time is over: its budget ends here, monotonic ms. */
  readonly expiresAtMs: number
  /** It has left this process at least once: only the xchange can say that nothing was done. */
  mayBeExecuted = false
  /** Boot id of the xchange that it was last sent to, hex. */
  sentTo: string | undefined = undefined
  wheelNext: Deadlined | undefined = undefined
  wheelPrevious: Deadlined | undefined = undefined
  wheelSlot = -1

  constructor(
    request: {
      readonly key: string
      readonly method: string
      readonly payload: Buffer
      readonly meta?: Buffer | undefined
    },
    deadlineMs: number,
  ) {
    this.key = request.key
    this.method = request.method
    this.payload = request.payload
    this.meta = request.meta
    this.deadlineMs = deadlineMs
    this.expiresAtMs = deadlineMs
  }
}

/** How many requests that were given up are remembered, so that a late answer is known for what it is. */
const MAX_LATE = 4_096

/**
 * Requests that were sent and not yet answered, by channel id. An id is not used again while its answer may still come.
 */
export class InFlightTable<R extends ChannelRequest> {
  readonly #byId = new Map<number, R>()
  readonly #late = new Map<number, R>()
  readonly #wheel: DeadlineWheel<R>
  #lastId: number

  /** Ids go up from the one after `lastId`, and wrap after 32 bits. */
  constructor(nowMs: number, lastId = 0) {
    this.#wheel = new DeadlineWheel<R>(nowMs)
    this.#lastId = lastId
  }

  get size(): number {
    return this.#byId.size
  }

  /** Gives the request its id and watches its deadline. */
  add(request: R): void {
    // Sent anew on the same channel: its answer comes to the new id. One to the old id is signed for the message of then.
    if (this.#late.get(request.channelId) === request) this.#late.delete(request.channelId)
    let id = this.#lastId
    do id = (id + 1) >>> 0
    while (this.#byId.has(id) || this.#late.has(id))
    this.#lastId = id
    request.channelId = id
    this.#byId.set(id, request)
    this.#wheel.insert(request)
  }

  /** The request that this id answers, left where it is. */
  find(id: number): R | undefined {
    return this.#byId.get(id) ?? this.#late.get(id)
  }

  /** The request that this id answers, taken out. `late` when it was given up before. */
  take(id: number): { request: R; late: boolean } | undefined {
    const request = this.#byId.get(id)
    if (request !== undefined) {
      this.#byId.delete(id)
      this.#wheel.remove(request)
      return { request, late: false }
    }
    const late = this.#late.get(id)
    if (late === undefined) return undefined
    this.#late.delete(id)
    return { request: late, late: true }
  }

  /** Takes out what is past its deadline; a later answer to it will be `late`. */
  expire(nowMs: number): R[] {
    const expired = this.#wheel.expire(nowMs)
    for (const request of expired) {
      this.#byId.delete(request.channelId)
      this.#late.set(request.channelId, request)
      if (this.#late.size > MAX_LATE) {
        const oldest = this.#late.keys().next()
        if (!oldest.done) this.#late.delete(oldest.value)
      }
    }
    return expired
  }

  /** Takes out everything: the channel is over. */
  takeAll(): R[] {
    const all = [...this.#byId.values()]
    for (const request of all) this.#wheel.remove(request)
    this.#byId.clear()
    this.#late.clear()
    return all
  }
}
