import { DeadlineWheel, type KeyAnswer, type KeyState, type LsChannel, MAX_RESOLVE_KEYS } from '../channel/index.ts'
import type { Clock, Logger, TimerHandle } from '../runtime/index.ts'
import type { RoutedRequest } from './routed-request.ts'

/** What the xchange's answer means for requests that were sent on a channel that is gone. */
export interface Resolution {
  /** Never seen there, and there is time left: they may be sent, in their old order. */
  readonly resend: readonly RoutedRequest[]
  /** Seen there: asking again with the same key gets the stored or the coming response, and executes nothing. */
  readonly fetch: readonly RoutedRequest[]
  /** Never seen there, and their time is over. */
  readonly tooLate: readonly RoutedRequest[]
  /** The xchange has no memory of that time, or is another than they were sent to: asking again might execute them twice. */
  readonly forgotten: readonly RoutedRequest[]
}

/** An xchange that says nothing to the question is taken to have seen every key. */
const ANSWER_TIMEOUT_MS = 5_000
/** The way of the question and of its answer. */
const MEMORY_MARGIN_MS = 1_000
/** Longest key, its length byte and room to spare. */
const KEY_BYTES = 66

/**
 * Requests of one bank that were sent and whose channel ended before the answer came. On every new channel LS asks the
 * xchange what became of their keys.
 */
export class UnsettledRequests {
  readonly #requests = new Set<RoutedRequest>()
  /** Those whose app still waits for an outcome. */
  readonly #wheel: DeadlineWheel<RoutedRequest>
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #maxRequests: number
  #timer: TimerHandle | undefined

  constructor(options: { clock: Clock; logger: Logger; maxRequests: number }) {
    this.#clock = options.clock
    this.#logger = options.logger
    this.#maxRequests = options.maxRequests
    this.#wheel = new DeadlineWheel<RoutedRequest>(options.clock.monotonicMs())
  }

  /** Requests whose app still waits for an outcome. */
  get waiting(): number {
    return this.#wheel.size
  }

  get size(): number {
    return this.#requests.size
  }

  /** False when there are too many: then the request must end in doubt and is not asked about. */
  add(request: RoutedRequest): boolean {
    if (this.#requests.size >= this.#maxRequests) return false
    if (this.#requests.has(request)) return true
    this.#requests.add(request)
    if (request.state === 'open') this.#wheel.insert(request)
    return true
  }

  delete(request: RoutedRequest): boolean {
    if (!this.#requests.delete(request)) return false
    this.#wheel.remove(request)
    return true
  }

  /** Takes out all whose app still waits. */
  takeWaiting(): RoutedRequest[] {
    return this.all().filter((request) => request.state === 'open' && this.delete(request))
  }

  /** Takes out those whose app has waited long enough. */
  takeOverdue(nowMs: number): RoutedRequest[] {
    const overdue = this.#wheel.expire(nowMs)
    for (const request of overdue) this.#requests.delete(request)
    return overdue
  }

  has(request: RoutedRequest): boolean {
    return this.#requests.has(request)
  }

  all(): readonly RoutedRequest[] {
    return [...this.#requests]
  }

  /**
   * Asks the xchange about these, and calls `onResolved` once: with its answer, or after a time without one. Not
   * at all when the channel ends first; the next channel asks again.
   */
  resolve(
    channel: LsChannel<RoutedRequest>,
    asked: readonly RoutedRequest[],
    onResolved: (resolution: Resolution) => void,
  ): void {
    const askedOf = channel.session?.offer.bootId.toString('hex')
    const states = new Map<RoutedRequest, KeyState | 'forgotten'>()
    const chunkKeys = Math.max(1, Math.min(MAX_RESOLVE_KEYS, Math.floor((channel.maxBodyBytes - 64) / KEY_BYTES)))
    let missing = asked.length
    const finish = () => {
      this.cancel()
      if (channel.state.name === 'closed') return
      if (missing > 0)
        this.#logger.warn(
          { missing },
          'the xchange did not say what became of some keys; asking with the requests themselves',
        )
      onResolved(this.#divide(asked, states))
    }
    this.cancel()
    this.#timer = this.#clock.startTimer(ANSWER_TIMEOUT_MS, finish)
    for (let start = 0; start < asked.length; start += chunkKeys) {
      const chunk = asked.slice(start, start + chunkKeys)
      channel.resolve(
        chunk.map((request) => request.key),
        (answer) => {
          const nowMs = this.#clock.monotonicMs()
          for (const [index, request] of chunk.entries()) {
            const { sentTo, acceptedAtMs } = request
            states.set(request, believed(answer, index, { ageMs: nowMs - acceptedAtMs, sentTo, askedOf }))
          }
          missing -= chunk.length
          if (missing === 0) finish()
        },
      )
    }
  }

  /** The channel is gone, or all is over: no answer is waited for. */
  cancel(): void {
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }

  #divide(asked: readonly RoutedRequest[], states: ReadonlyMap<RoutedRequest, KeyState | 'forgotten'>): Resolution {
    const nowMs = this.#clock.monotonicMs()
    const resend: RoutedRequest[] = []
    const fetch: RoutedRequest[] = []
    const tooLate: RoutedRequest[] = []
    const forgotten: RoutedRequest[] = []
    for (const request of asked) {
      if (!this.delete(request)) continue
      const state = states.get(request)
      if (state === 'forgotten') forgotten.push(request)
      else if (state !== 'never') fetch.push(request)
      else if (request.expiresAtMs > nowMs && request.state === 'open') resend.push(request)
      else tooLate.push(request)
    }
    return { resend, fetch, tooLate, forgotten }
  }
}

/**
 * `never` counts only where it comes from the memory that would know: that of the node to which the request was sent,
 * reaching back to before it was accepted.
 */
function believed(
  { states, rememberedForMs }: KeyAnswer,
  index: number,
  request: { readonly ageMs: number; readonly sentTo: string | undefined; readonly askedOf: string | undefined },
): KeyState | 'forgotten' {
  const state = states[index] ?? 'begun'
  if (state !== 'never') return state
  const isOtherMemory = request.sentTo !== undefined && memoryOf(request.sentTo) !== memoryOf(request.askedOf)
  return isOtherMemory || request.ageMs + MEMORY_MARGIN_MS > rememberedForMs ? 'forgotten' : state
}

/** The first 8 of the 16 bytes of a boot id name the xchange's memory of keys. */
function memoryOf(bootId: string | undefined): string | undefined {
  return bootId?.slice(0, 16)
}
