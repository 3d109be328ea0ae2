import { type Clock, describeError, type Logger, type TimerHandle } from '../../runtime/index.ts'
import type { TransactionalStore, TransactionalTable } from '../../store/index.ts'
import type { StoredProgress } from './journal-tables.ts'
import type { OpenRequest } from './open-requests.ts'

const BATCH = 256

/**
 * Notes on disk that requests were sent, some time later: most are settled before, and then cost nothing. Nobody waits
 * for it, because a restart takes every open request as possibly sent.
 */
export class SentMarks {
  readonly #store: TransactionalStore
  readonly #progress: TransactionalTable<StoredProgress>
  readonly #delayMs: number
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #due = new Set<OpenRequest>()
  #timer: TimerHandle | undefined
  #failing = false

  constructor(options: {
    store: TransactionalStore
    progress: TransactionalTable<StoredProgress>
    delayMs: number
    clock: Clock
    logger: Logger
  }) {
    this.#store = options.store
    this.#progress = options.progress
    this.#delayMs = options.delayMs
    this.#clock = options.clock
    this.#logger = options.logger
  }

  add(request: OpenRequest): void {
    this.#due.add(request)
    this.#arm()
  }

  delete(request: OpenRequest): void {
    this.#due.delete(request)
  }

  /** Writes what is due and waits for it. Never rejects. */
  async flush(): Promise<void> {
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
    // A settlement that is being written says it all; should it fail, the next round comes.
    const ready = [...this.#due].filter(({ writing }) => writing === undefined)
    const writes: Promise<void>[] = []
    for (let first = 0; first < ready.length; first += BATCH)
      writes.push(this.#write(ready.slice(first, first + BATCH)))
    await Promise.all(writes)
  }

  async #write(requests: readonly OpenRequest[]): Promise<void> {
    try {
      const changes = requests.map((request) => this.#progress.toPut(request.key, progressOf(request)))
      for (const request of requests) {
        request.hasProgress = true
        this.#due.delete(request)
      }
      await this.#store.write(changes, 'finishes')
      this.#failing = false
    } catch (error) {
      if (!this.#failing) this.#logger.warn({ error: describeError(error) }, 'the journal cannot note what was sent')
      this.#failing = true
    }
  }

  #arm(): void {
    this.#timer ??= this.#clock.startTimer(this.#delayMs, () => {
      this.#timer = undefined
      void this.flush().then(() => {
        if (this.#due.size > 0) this.#arm()
      })
    })
  }
}

export function progressOf(request: OpenRequest): StoredProgress {
  const { sequence, sentAtMs, bootId, inDoubt, code } = request
  return {
    sequence,
    ...(sentAtMs === undefined ? {} : { sentAtMs }),
    ...(bootId === undefined ? {} : { bootId }),
    ...(inDoubt ? { inDoubt } : {}),
    ...(code === undefined ? {} : { code }),
  }
}
