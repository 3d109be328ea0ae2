import { createHash } from 'node:crypto'
import {
  type Clock,
  describeError,
  type Logger,
  LsxError,
  type Service,
  type TimerHandle,
} from '../../runtime/index.ts'
import {
  type Change,
  Pruner,
  SizeBound,
  TimeIndex,
  type TransactionalStore,
  type TransactionalTable,
} from '../../store/index.ts'
import { type EvidenceRecord, evidenceBytes, validateEvidence } from './evidence-record.ts'

export interface EvidenceStoreOptions {
  /** Whoever opened the store closes it, after this. */
  readonly store: TransactionalStore
  readonly clock: Clock
  readonly logger: Logger
  readonly maxRecords: number
  /** On disk. */
  readonly maxBytes: number
  readonly keepMs: number
  /** Records that may wait for the disk; more are lost. */
  readonly maxWaiting: number
  /** And their bytes. Default 64 MiB. */
  readonly maxWaitingBytes?: number
  /** Between two looks for what is over. Default 60 s. */
  readonly pruneIntervalMs?: number
}

export interface EvidenceCounts {
  readonly kept: number
  readonly waiting: number
  /** Since the start: exchanges whose evidence could not be kept. */
  readonly lost: number
}

/** What comes together within this time is one commit. */
const GATHER_MS = 50
const MAX_BATCH = 512
const MAX_FOUND = 100
const LOSS_LINE_INTERVAL_MS = 10_000

/**
 * Keeps evidence in the background: `keep` never waits and never fails. What the disk does not take in time, or what is
 * over a bound, is lost, counted and reported; the exchange itself is not held up by it.
 */
export class EvidenceStore implements Service {
  readonly name = 'evidence'
  readonly #options: EvidenceStoreOptions
  readonly #records: TransactionalTable<EvidenceRecord>
  readonly #order: TimeIndex
  readonly #size: SizeBound
  readonly #pruner: Pruner
  readonly #waiting: EvidenceRecord[] = []
  #waitingBytes = 0
  /** In the write that is under way. */
  #underWay = 0
  #kept = 0
  #lost = 0
  #unreported = 0
  #nextLineMs = Number.NEGATIVE_INFINITY
  #timer: TimerHandle | undefined
  #writing: Promise<void> | undefined
  #isStopped = false

  constructor(options: EvidenceStoreOptions) {
    const { store, clock, logger, keepMs, maxBytes, pruneIntervalMs = 60_000 } = options
    this.#options = options
    this.#records = store.table('evidence', { validate: validateEvidence })
    this.#order = new TimeIndex(store, 'evidence-order')
    this.#size = new SizeBound({ tables: [this.#records, this.#order.table], maxBytes, clock })
    this.#pruner = new Pruner({
      store,
      index: this.#order,
      keepMs,
      intervalMs: pruneIntervalMs,
      lastWriteMs: (name) => this.#records.get(name)?.keptAtMs,
      removalsOf: (name) => [this.#records.toRemove(name)],
      onRemoved: (names) => {
        this.#kept -= names.length
      },
      clock,
      logger,
    })
  }

  get counts(): EvidenceCounts {
    return { kept: this.#kept, waiting: this.#waiting.length, lost: this.#lost }
  }

  async start(): Promise<void> {
    this.#kept = this.#order.table.count()
    this.#pruner.start()
  }

  /** Writes what waits. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#cancelTimer()
    await this.#writing
    await this.#write()
    await this.#pruner.stop()
  }

  keep(record: EvidenceRecord): void {
    try {
      const reason = this.#refusalOf(evidenceBytes(record))
      if (reason !== undefined) this.#lose(1, reason)
      else {
        this.#waiting.push(record)
        this.#waitingBytes += evidenceBytes(record)
        this.#schedule()
      }
    } catch (error) {
      this.#lose(1, 'the store cannot be asked for room', error)
    }
  }

  /** All that is kept of a key, oldest first; at most 100. Throws INTERNAL for a damaged record. */
  async find(key: string): Promise<EvidenceRecord[]> {
    await this.#writing
    await this.#write()
    const start = `${nameOf(key)}/`
    return this.#records.range({ start, end: `${start}g`, limit: MAX_FOUND }).map(({ value }) => value)
  }

  #refusalOf(bytes: number): string | undefined {
    const { maxWaiting, maxWaitingBytes = 67_108_864, maxRecords } = this.#options
    if (this.#isStopped) return 'LS is stopping'
    if (this.#kept + this.#underWay + this.#waiting.length >= maxRecords) return 'there is as much of it as may be'
    if (!this.#size.hasRoomFor(this.#waitingBytes + bytes)) return 'it is at its configured size'
    const isLate = this.#waiting.length >= maxWaiting || this.#waitingBytes + bytes > maxWaitingBytes
    return isLate ? 'the disk does not take it as fast as it comes' : undefined
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#writing !== undefined) return
    this.#timer = this.#options.clock.startTimer(GATHER_MS, () => {
      this.#timer = undefined
      void this.#write()
    })
  }

  /** One write at a time; what comes meanwhile goes into the next. */
  async #write(): Promise<void> {
    if (this.#waiting.length === 0) return
    this.#cancelTimer()
    const batch = this.#waiting.splice(0, MAX_BATCH)
    this.#waitingBytes -= batch.reduce((sum, record) => sum + evidenceBytes(record), 0)
    this.#underWay = batch.length
    this.#writing = this.#put(batch)
    await this.#writing
    this.#underWay = 0
    this.#writing = undefined
    if (this.#isStopped) await this.#write()
    else if (this.#waiting.length > 0) this.#schedule()
  }

  async #put(batch: readonly EvidenceRecord[]): Promise<void> {
    try {
      const changes: Change[] = batch.flatMap((record) => {
        const position = this.#order.next(record.keptAtMs)
        const name = `${nameOf(record.key)}/${position}`
        return [this.#records.toPut(name, record), this.#order.toAdd({ position, key: name })]
      })
      await this.#options.store.write(changes)
      this.#kept += batch.length
      this.#size.add(batch.reduce((sum, record) => sum + evidenceBytes(record), 0))
    } catch (error) {
      this.#lose(batch.length, 'the store did not take the evidence', error)
    }
  }

  #lose(count: number, reason: string, error?: unknown): void {
    this.#lost += count
    this.#unreported += count
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs < this.#nextLineMs) return
    this.#nextLineMs = nowMs + LOSS_LINE_INTERVAL_MS
    this.#options.logger.error(
      {
        audit: true,
        exchanges: this.#unreported,
        lost: this.#lost,
        ...(error === undefined ? {} : { error: describeError(error) }),
      },
      `evidence is lost: ${reason}`,
    )
    this.#unreported = 0
  }

  #cancelTimer(): void {
    if (this.#timer !== undefined) this.#options.clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }
}

/** Keys may hold any character; this has 64, all of them hexadecimal. */
function nameOf(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

/** @throws LsxError BAD_REQUEST where nothing is kept of the key */
export function requireEvidence(records: readonly EvidenceRecord[], key: string): readonly EvidenceRecord[] {
  if (records.length > 0) return records
  throw new LsxError('BAD_REQUEST', `no evidence is kept of the key ${JSON.stringify(key)}`)
}
