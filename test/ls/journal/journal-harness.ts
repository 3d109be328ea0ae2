import { type NewRequest, RequestJournal, type RequestJournalOptions } from '../../../lib/ls/journal/index.ts'
import { createLogger, type Logger } from '../../../lib/runtime/index.ts'
import type { StoreOptions, TransactionalStore } from '../../../lib/store/index.ts'
import { openSealedStore } from '../../support/sealed-store.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

export const NOW = 1_800_000_000_000

export function newRequest(key: string, fields: Partial<NewRequest> = {}): NewRequest {
  return {
    key,
    bankCode: '044',
    method: 'transfer',
    payload: Buffer.from(`payload of ${key}`),
    acceptedAtMs: NOW,
    deadlineAtMs: NOW + 30_000,
    ...fields,
  }
}

export function responseTo(key: string): Buffer {
  return Buffer.from(`response to ${key}`)
}

type JournalOptions = Partial<RequestJournalOptions> & { storeOptions?: Partial<StoreOptions> }

/** A journal in a store of its own, which can be closed and opened again as a restart does. */
export class JournalHarness {
  readonly path: string
  readonly clock: VirtualClock
  readonly log: string[] = []
  readonly logger: Logger = createLogger({
    name: 'ls',
    level: 'warn',
    destination: { write: (line) => this.log.push(line) },
  })
  readonly #options: JournalOptions
  store: TransactionalStore
  journal: RequestJournal

  private constructor(path: string, clock: VirtualClock, options: JournalOptions) {
    this.path = path
    this.clock = clock
    this.#options = options
    this.store = openSealedStore(path, options.storeOptions)
    this.journal = this.#create(this.store)
  }

  static async start(
    path: string,
    options: JournalOptions = {},
    clock = new VirtualClock(NOW),
  ): Promise<JournalHarness> {
    const harness = new JournalHarness(path, clock, options)
    await harness.journal.start(new AbortController().signal)
    return harness
  }

  async stop(): Promise<void> {
    await this.journal.stop()
    await this.store.close()
  }

  /** The journal that the next process has. `orderly` stops the old one first, else it is as after a crash. */
  async restart(options: { orderly: boolean } = { orderly: false }): Promise<RequestJournal> {
    if (options.orderly) await this.journal.stop()
    await this.store.close()
    this.store = openSealedStore(this.path, this.#options.storeOptions)
    this.journal = this.#create(this.store)
    await this.journal.start(new AbortController().signal)
    return this.journal
  }

  #create(store: TransactionalStore): RequestJournal {
    const { storeOptions: _, ...options } = this.#options
    return new RequestJournal({ store, clock: this.clock, logger: this.logger, ...options })
  }
}

/** Every third is open; of the others all is known by the index. */
export function flipRequest(index: number): {
  request: NewRequest
  settlement: { outcome: 'answered' | 'refused'; response?: Buffer } | undefined
} {
  const key = `key-${(index * 7_919) % 10_007}`
  const request = newRequest(key, { payload: Buffer.alloc(50 + ((index * 131) % 900), index) })
  if (index % 3 === 0) return { request, settlement: undefined }
  if (index % 3 === 1) return { request, settlement: { outcome: 'refused' } }
  return { request, settlement: { outcome: 'answered', response: Buffer.alloc(80 + ((index * 37) % 500), index + 1) } }
}
