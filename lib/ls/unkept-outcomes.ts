import { type Clock, describeError, type Logger, type TimerHandle } from '../runtime/index.ts'
import type { DurableRequests } from './durable-requests.ts'
import type { RoutedRequest, Settlement } from './routed-request.ts'

const RETRY_MS = 1_000
/** At once, so that a disk that is back is not met with everything. */
const BATCH = 256

/**
 * Ends of durable requests that the journal could not take: tried again until it does, because a full disk is not full
 * for ever, and a request that stays open in the journal would be asked about again after the next start, perhaps when the
 * xchange has forgotten it. At most as many as the journal has open requests.
 */
export class UnkeptOutcomes {
  readonly #unkept = new Map<RoutedRequest, Settlement>()
  readonly #durable: DurableRequests
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #onKept: (request: RoutedRequest, settlement: Settlement) => void
  #timer: TimerHandle | undefined
  #stopped = false

  constructor(options: {
    durable: DurableRequests
    clock: Clock
    logger: Logger
    onKept: (request: RoutedRequest, settlement: Settlement) => void
  }) {
    this.#durable = options.durable
    this.#clock = options.clock
    this.#logger = options.logger
    this.#onKept = options.onKept
  }

  get size(): number {
    return this.#unkept.size
  }

  add(request: RoutedRequest, settlement: Settlement): void {
    if (this.#stopped) return
    this.#unkept.set(request, settlement)
    this.#timer ??= this.#clock.startTimer(RETRY_MS, () => {
      this.#timer = undefined
      void this.#keepSome()
    })
  }

  /** Gives back what is not on disk: the journal has it open. */
  stop(): readonly RoutedRequest[] {
    this.#stopped = true
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
    const left = [...this.#unkept.keys()]
    this.#unkept.clear()
    return left
  }

  async #keepSome(): Promise<void> {
    const batch = [...this.#unkept].slice(0, BATCH)
    let failure: unknown
    await Promise.all(
      batch.map(async ([request, settlement]) => {
        try {
          await this.#durable.settle(request, settlement)
        } catch (error) {
          failure = error
          return
        }
        this.#unkept.delete(request)
        if (!this.#stopped) this.#onKept(request, settlement)
      }),
    )
    if (failure !== undefined)
      this.#logger.error(
        { unkept: this.#unkept.size, error: describeError(failure) },
        'outcomes still cannot be kept; trying again',
      )
    const next = this.#unkept.entries().next()
    if (!next.done) this.add(...next.value)
  }
}
