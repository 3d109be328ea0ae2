import { describeError } from './loggable.ts'
import type { Logger } from './logger.ts'

/** Something with a life: whoever starts it stops it. */
export interface Service {
  readonly name: string
  /** Resolves when it serves. Rejects, having released everything, when it cannot. */
  start(signal: AbortSignal): Promise<void>
  /** Finishes or abandons its work before `signal` aborts, then releases everything. Safe to call twice. */
  stop(signal: AbortSignal): Promise<void>
}

/** Starts services in order and stops them in reverse; a failed start stops those already started. */
export class ServiceGroup {
  readonly #started: Service[] = []
  readonly #logger: Logger

  constructor(logger: Logger) {
    this.#logger = logger
  }

  async start(services: readonly Service[], signal: AbortSignal): Promise<void> {
    for (const service of services) {
      try {
        signal.throwIfAborted()
        await service.start(signal)
        this.#started.push(service)
      } catch (error) {
        await this.stop(AbortSignal.timeout(2_000))
        throw error
      }
    }
  }

  async stop(signal: AbortSignal): Promise<void> {
    for (let service = this.#started.pop(); service !== undefined; service = this.#started.pop()) {
      try {
        await service.stop(signal)
      } catch (error) {
        this.#logger.error({ service: service.name, error: describeError(error) }, 'a service did not stop cleanly')
      }
    }
  }
}
