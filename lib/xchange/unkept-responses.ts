import { type Clock, describeError, type Logger, type TimerHandle } from '../runtime/index.ts'
import type { Place } from './key-index.ts'
import type { KeyRecord } from './key-record.ts'

interface Unkept {
  readonly record: KeyRecord
  /** Where the disk has what was known of the key before. */
  readonly place: Place
  readonly write: () => Promise<void>
}

const RETRY_MS = 1_000
/** More than run at once, of which each may end on a disk that fails. What is beyond is in doubt, as its record says. */
const MAX_UNKEPT = 16_384

/**
 * Responses that the disk could not take. This process knows them and tells them, and tries to write them until the disk
 * is well again; should it end before, their keys are in doubt.
 */
export class UnkeptResponses {
  readonly #unkept = new Map<string, Unkept>()
  readonly #clock: Clock
  readonly #logger: Logger
  #timer: TimerHandle | undefined

  constructor(options: { clock: Clock; logger: Logger }) {
    this.#clock = options.clock
    this.#logger = options.logger
  }

  get size(): number {
    return this.#unkept.size
  }

  has(key: string): boolean {
    return this.#unkept.has(key)
  }

  get(key: string): { readonly record: KeyRecord; readonly place: Place } | undefined {
    return this.#unkept.get(key)
  }

  add(key: string, record: KeyRecord, place: Place, write: () => Promise<void>): void {
    if (this.#unkept.size >= MAX_UNKEPT) return
    this.#unkept.set(key, { record, place, write })
    this.#arm()
  }

  delete(key: string): void {
    this.#unkept.delete(key)
  }

  /** Tries once more, and no more after that. */
  async stop(): Promise<void> {
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
    await this.#writeAll()
  }

  #arm(): void {
    this.#timer ??= this.#clock.startTimer(RETRY_MS, () => {
      this.#timer = undefined
      void this.#writeAll().then(() => {
        if (this.#unkept.size > 0) this.#arm()
      })
    })
  }

  /** In one tick, so that they share a commit. */
  async #writeAll(): Promise<void> {
    if (this.#unkept.size === 0) return
    let failure: unknown
    await Promise.all(
      [...this.#unkept].map(async ([key, unkept]) => {
        try {
          await unkept.write()
        } catch (error) {
          failure = error
          return
        }
        if (this.#unkept.get(key) === unkept) this.#unkept.delete(key)
      }),
    )
    if (failure !== undefined)
      this.#logger.error(
        { unkept: this.#unkept.size, error: describeError(failure) },
        'responses still cannot be kept; should this process end, their keys are in doubt',
      )
  }
}
