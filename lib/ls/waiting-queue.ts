import { type Deadlined, DeadlineWheel } from '../channel/index.ts'

interface Waiting extends Deadlined {
  readonly payload: Buffer
}

/** What one waiting request is counted with beside its payload. */
const OVERHEAD_BYTES = 512

export interface QueueBounds {
  readonly maxQueued: number
  readonly maxQueuedBytes: number
}

/** Requests of one bank that wait for its channel, in the order in which they came. Bounded in number and bytes. */
export class WaitingQueue<R extends Waiting> {
  readonly #bounds: QueueBounds
  readonly #wheel: DeadlineWheel<R>
  readonly #requests = new Set<R>()
  #bytes = 0

  constructor(bounds: QueueBounds, nowMs: number) {
    this.#bounds = bounds
    this.#wheel = new DeadlineWheel<R>(nowMs)
  }

  get size(): number {
    return this.#requests.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** False when the queue is full. */
  push(request: R): boolean {
    const bytes = request.payload.length + OVERHEAD_BYTES
    if (this.#requests.size >= this.#bounds.maxQueued || this.#bytes + bytes > this.#bounds.maxQueuedBytes) return false
    this.#requests.add(request)
    this.#bytes += bytes
    this.#wheel.insert(request)
    return true
  }

  /** Puts requests that were taken on before ahead of all others, in their order; no bound holds them off. */
  putFirst(requests: readonly R[]): void {
    const behind = [...this.#requests]
    this.#requests.clear()
    for (const request of [...requests, ...behind]) this.#requests.add(request)
    for (const request of requests) {
      this.#bytes += request.payload.length + OVERHEAD_BYTES
      this.#wheel.insert(request)
    }
  }

  /** The one that waits longest, left in its place. */
  peek(): R | undefined {
    return this.#requests.values().next().value
  }

  remove(request: R): void {
    if (!this.#requests.delete(request)) return
    this.#bytes -= request.payload.length + OVERHEAD_BYTES
    this.#wheel.remove(request)
  }

  /** Takes out what is past its deadline. */
  expire(nowMs: number): R[] {
    const expired = this.#wheel.expire(nowMs)
    for (const request of expired) this.remove(request)
    return expired
  }

  takeAll(): R[] {
    const all = [...this.#requests]
    for (const request of all) this.remove(request)
    return all
  }
}
