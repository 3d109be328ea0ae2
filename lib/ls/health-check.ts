import { askHealth } from '../channel/index.ts'
import { type Clock, describeError, type Logger, type Service, type TimerHandle } from '../runtime/index.ts'
import type { BankLink } from './bank-link.ts'
import type { Registry } from './registry.ts'

const ANSWER_TIMEOUT_MS = 5_000
/** Health checks under way at once. */
const CONCURRENT_CHECKS = 16

/**
 * Asks each connected xchange that LS dials for its session id, over https beside the channel. An xchange that names
 * another session than LS holds gets a new kx. Where the xchange dials, there is nobody to ask: echo does that work.
 */
export class HealthCheck implements Service {
  readonly name = 'health-check'
  readonly #registry: Registry
  readonly #intervalMs: number
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #abort = new AbortController()
  #timer: TimerHandle | undefined
  #round: Promise<void> = Promise.resolve()

  /** `intervalMs` 0 turns the check off. */
  constructor(options: { registry: Registry; intervalMs: number; clock: Clock; logger: Logger }) {
    this.#registry = options.registry
    this.#intervalMs = options.intervalMs
    this.#clock = options.clock
    this.#logger = options.logger
  }

  async start(): Promise<void> {
    this.#arm()
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    await this.#round
  }

  #arm(): void {
    if (this.#intervalMs === 0 || this.#abort.signal.aborted) return
    this.#timer = this.#clock.startTimer(this.#intervalMs, () => {
      this.#round = this.checkAll().finally(() => this.#arm())
    })
  }

  async checkAll(): Promise<void> {
    const waiting = this.#registry.all().filter((link) => link.bank.dial === 'ls' && link.session !== undefined)
    const work = async (): Promise<void> => {
      for (let link = waiting.pop(); link !== undefined; link = waiting.pop()) await this.#check(link)
    }
    await Promise.all(Array.from({ length: Math.min(CONCURRENT_CHECKS, waiting.length) }, work))
  }

  async #check(link: BankLink): Promise<void> {
    const before = link.session
    if (before === undefined || this.#abort.signal.aborted) return
    // Not AbortSignal.timeout: on Node 20 one that only AbortSignal.any holds is collected, and never fires.
    const over = new AbortController()
    const timer = this.#clock.startTimer(ANSWER_TIMEOUT_MS, () =>
      over.abort(new Error(`none within ${ANSWER_TIMEOUT_MS} ms`)),
    )
    try {
      const signal = AbortSignal.any([this.#abort.signal, over.signal])
      const answer = await askHealth(link.tlsTarget(), signal)
      // A kx in the meantime explains any difference.
      if (link.session !== before) return
      if (answer.sessionId === before.sessionId.toString('hex') && answer.bankCode === before.bankCode) return
      this.#logger.warn({ bankCode: link.bank.code }, 'the health check names another session: beginning a new kx')
      link.rekey('health')
    } catch (error) {
      if (this.#abort.signal.aborted) return
      this.#logger.warn(
        { bankCode: link.bank.code, error: describeError(error) },
        'the health check got no answer; the channel goes on',
      )
    } finally {
      this.#clock.cancelTimer(timer)
    }
  }
}
