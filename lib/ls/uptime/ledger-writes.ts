import { type Clock, describeError, type Logger } from '../../runtime/index.ts'
import { isUp, type Transition } from './transition.ts'
import type { TransitionRecords } from './transition-records.ts'

/** Writes to the store that nobody waits for: bounded, and their failures counted and told once until one succeeds. */
export class LedgerWrites {
  readonly #records: TransitionRecords
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #maxPending: number
  readonly #pending = new Set<Promise<void>>()
  #failing = false
  #unstored = 0

  constructor(options: { records: TransitionRecords; clock: Clock; logger: Logger; maxPending: number }) {
    this.#records = options.records
    this.#clock = options.clock
    this.#logger = options.logger
    this.#maxPending = options.maxPending
  }

  get unstoredTransitions(): number {
    return this.#unstored
  }

  store(transition: Transition): void {
    if (this.#pending.size >= this.#maxPending) {
      this.#notStored(transition, new Error('too many transitions wait for the store'))
      return
    }
    const write = this.#records.put(transition).then(
      () => {
        this.#failing = false
      },
      (error) => this.#notStored(transition, error),
    )
    this.#track(write)
  }

  /** Tells a later process until when this one lived. Never rejects. */
  beat(): Promise<void> {
    const write = this.#records
      .putAliveAt(this.#clock.nowMs())
      .catch((error) => this.#warnOnce({ error: describeError(error) }, 'the uptime ledger cannot be stored'))
    this.#track(write)
    return write
  }

  /** Resolves when all writes are done, or given up. */
  async flush(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
  }

  #notStored(transition: Transition, error: unknown): void {
    this.#unstored++
    const isChange = isUp(transition.from) || isUp(transition.to)
    this.#warnOnce(
      { bankCode: transition.bankCode, isChange, error: describeError(error) },
      'transitions cannot be stored; they are in memory and in the uptime log only',
    )
  }

  #warnOnce(facts: Record<string, unknown>, message: string): void {
    if (!this.#failing) this.#logger.warn(facts, message)
    this.#failing = true
  }

  #track(write: Promise<void>): void {
    this.#pending.add(write)
    write.finally(() => this.#pending.delete(write))
  }
}
