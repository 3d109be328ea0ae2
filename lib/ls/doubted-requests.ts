import type { Clock, TimerHandle } from '../runtime/index.ts'
import type { RoutedRequest } from './routed-request.ts'
import type { UnsettledRequests } from './unsettled-requests.ts'

/** An app that asks again for what is in doubt makes LS ask the xchange again, not more often than this. */
const ASK_AGAIN_MS = 500

/**
 * Requests in doubt that apps have asked for again while the channel is up: what the bank could not say before it may know
 * by now. Their doubt was told; the end is an event. They are asked about together, and with a pause in between.
 */
export class DoubtedRequests {
  readonly #requests = new Set<RoutedRequest>()
  readonly #unsettled: Pick<UnsettledRequests, 'has'>
  readonly #clock: Clock
  readonly #onDue: () => void
  #nextAskMs = 0
  #timer: TimerHandle | undefined

  constructor(options: {
    readonly unsettled: Pick<UnsettledRequests, 'has'>
    readonly clock: Clock
    /** The pause is over: the time to `take` them. */
    readonly onDue: () => void
  }) {
    this.#unsettled = options.unsettled
    this.#clock = options.clock
    this.#onDue = options.onDue
  }

  add(request: RoutedRequest): void {
    if (this.#isDoubted(request)) this.#requests.add(request)
  }

  /** Those to ask about now; none during the pause, which ends with `onDue`. */
  take(): readonly RoutedRequest[] {
    if (this.#requests.size === 0 || this.#timer !== undefined) return []
    const nowMs = this.#clock.monotonicMs()
    if (nowMs < this.#nextAskMs) {
      this.#timer = this.#clock.startTimer(this.#nextAskMs - nowMs, () => {
        this.#timer = undefined
        this.#onDue()
      })
      return []
    }
    const requests = [...this.#requests].filter((request) => this.#isDoubted(request))
    this.#requests.clear()
    if (requests.length > 0) this.#nextAskMs = nowMs + ASK_AGAIN_MS
    return requests
  }

  /** The channel is gone, or all is over: a new channel is asked about everything anyway. */
  clear(): void {
    this.#requests.clear()
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }

  #isDoubted(request: RoutedRequest): boolean {
    return request.state === 'inDoubt' && this.#unsettled.has(request)
  }
}
