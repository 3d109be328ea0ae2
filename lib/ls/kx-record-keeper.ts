import type { ChannelCounters } from '../channel/index.ts'
import type { Session } from '../kx/index.ts'
import { describeError, type Logger } from '../runtime/index.ts'
import type { Table } from '../store/index.ts'
import type { KxRecord } from './kx-record.ts'

/** One bank's kx record: the one in memory, and the one on disk that follows it. */
export class KxRecordKeeper {
  readonly #bankCode: string
  readonly #table: Table<KxRecord>
  readonly #counters: ChannelCounters
  readonly #logger: Logger
  #record: KxRecord | undefined

  constructor(options: { bankCode: string; table: Table<KxRecord>; counters: ChannelCounters; logger: Logger }) {
    this.#bankCode = options.bankCode
    this.#table = options.table
    this.#counters = options.counters
    this.#logger = options.logger
    this.#record = this.#read()
  }

  get record(): KxRecord | undefined {
    return this.#record
  }

  /** `session` is given when a kx has just been completed; what it does not say stays as it was. */
  update(link: { readonly state: string; readonly status: 0 | 1; readonly session?: Session }): void {
    const { session } = link
    const before = this.#record
    const record: KxRecord = {
      bankCode: this.#bankCode,
      sessionId: session?.sessionId.toString('hex') ?? before?.sessionId ?? '',
      state: link.state,
      status: link.status,
      lsStatic: session?.ownStatic.toString('hex') ?? before?.lsStatic ?? '',
      xchangeStatic: session?.peerStatic.toString('hex') ?? before?.xchangeStatic ?? '',
      xchangeIdentity: session?.peerIdentity.toString('hex') ?? before?.xchangeIdentity ?? '',
      epoch: session?.epoch ?? before?.epoch ?? 0,
      lastKxAtMs: session?.establishedAtMs ?? before?.lastKxAtMs ?? 0,
      kxStarted: this.#counters.kxStarted,
      kxCompleted: this.#counters.kxCompleted,
      kxFailed: this.#counters.kxFailed,
    }
    this.#record = record
    this.#table.put(this.#bankCode, record).catch((error) => {
      this.#logger.error({ error: describeError(error) }, 'the kx record could not be stored; the channel goes on')
    })
  }

  #read(): KxRecord | undefined {
    try {
      const record = this.#table.get(this.#bankCode)
      // A process that was killed leaves a record behind that says connected.
      return record === undefined ? undefined : { ...record, state: 'idle', status: 0 }
    } catch (error) {
      this.#logger.error({ error: describeError(error) }, 'the stored kx record is damaged; a new one takes its place')
      return undefined
    }
  }
}
