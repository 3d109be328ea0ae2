import { type Clock, describeError, type Logger, LsxError, type Service } from '../../runtime/index.ts'
import { Pruner, SizeBound, type TransactionalStore } from '../../store/index.ts'
import { type DamagedRecord, JournalDamage } from './damage.ts'
import { type JournalQuery, JournalReader, type OpenPage } from './journal-reader.ts'
import { type JournalRecord, type JournalSettlement, journalDigest, type NewRequest } from './journal-record.ts'
import { JournalTables, SETTLED, type StoredOutcome } from './journal-tables.ts'
import { type OpenRequest, OpenRequests } from './open-requests.ts'
import { rebuildOpenRequests, verifyRecords } from './rebuild.ts'
import { progressOf, SentMarks } from './sent-marks.ts'

export interface RequestJournalOptions {
  /** The journal opens tables of its own in it; whoever opened the store closes it, after the journal. */
  readonly store: TransactionalStore
  readonly clock: Clock
  readonly logger: Logger
  /** Requests kept, open and settled. Default 1,000,000. */
  readonly maxRecords?: number
  /** Bytes on disk. Default 4 GiB; the store's own bound must be above it. */
  readonly maxBytes?: number
  /** How long a request is kept after it was settled. Default 24 h. */
  readonly keepSettledMs?: number
  /** How long after it was sent a request that is still open is noted so on disk. Default 250 ms. */
  readonly sentMarkDelayMs?: number
  /** Between two looks for settled requests that are due to be removed. Default 10 s. */
  readonly pruneIntervalMs?: number
}

export interface JournalCounts {
  readonly open: number
  /** Of the open ones. */
  readonly inDoubt: number
  readonly settled: number
  /** On disk, pages in use. */
  readonly bytes: number
}

const HOUR_MS = 3_600_000
/** Of a record beside payload and response, generously. */
const RECORD_OVERHEAD_BYTES = 512

/**
 * Durable record of every request that LS took on, until its one outcome and a while longer. What `accept` and `settle`
 * promise is on disk; calls of one moment share a commit. In memory are the open requests only, without payloads.
 */
export class RequestJournal implements Service {
  readonly name = 'request journal'
  readonly #store: TransactionalStore
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #maxRecords: number
  readonly #tables: JournalTables
  readonly #open = new OpenRequests()
  readonly #sentMarks: SentMarks
  readonly #size: SizeBound
  readonly #damage: JournalDamage
  readonly #reader: JournalReader
  readonly #pruner: Pruner
  readonly #stopping = new AbortController()
  #phase: 'new' | 'serving' | 'stopped' = 'new'
  #settled = 0
  #verification: Promise<void> = Promise.resolve()

  constructor(options: RequestJournalOptions) {
    const { store, clock, logger } = options
    this.#store = store
    this.#clock = clock
    this.#logger = logger
    this.#maxRecords = options.maxRecords ?? 1_000_000
    this.#tables = new JournalTables(store)
    this.#size = new SizeBound({ tables: this.#tables.all, maxBytes: options.maxBytes ?? 4 * 1024 ** 3, clock })
    this.#damage = new JournalDamage(logger)
    this.#reader = new JournalReader(this.#parts)
    this.#sentMarks = new SentMarks({
      store,
      progress: this.#tables.progress,
      delayMs: options.sentMarkDelayMs ?? 250,
      clock,
      logger,
    })
    this.#pruner = new Pruner({
      store,
      index: this.#tables.order,
      keepMs: options.keepSettledMs ?? 24 * HOUR_MS,
      intervalMs: options.pruneIntervalMs ?? 10_000,
      lastWriteMs: (key) => this.#lastWriteMs(key),
      removalsOf: (key) => this.#tables.toForget(key),
      note: SETTLED,
      onRemoved: (keys) => {
        this.#settled -= keys.length
      },
      clock,
      logger,
    })
  }

  get counts(): JournalCounts {
    const { size: open, inDoubt } = this.#open
    return { open, inDoubt, settled: this.#settled, bytes: this.#size.bytes }
  }

  /** Records that cannot be served: open ones are known when `start` resolves, the others after `verification`. */
  get damaged(): readonly DamagedRecord[] {
    return this.#damage.records
  }

  get damagedCount(): number {
    return this.#damage.count
  }

  /** Resolves when every record was read once since the start, or at the stop. */
  get verification(): Promise<void> {
    return this.#verification
  }

  /**
   * Rebuilds the index of open requests. All that an earlier process left open is `sent` from now on. Rejects INTERNAL
   * when so much is lost that the store must be restored.
   */
  async start(signal: AbortSignal): Promise<void> {
    this.#settled = await rebuildOpenRequests(this.#parts, signal)
    this.#logger.info({ ...this.counts, damaged: this.damagedCount }, 'the request journal is read')
    this.#phase = 'serving'
    this.#pruner.start()
    this.#verification = verifyRecords(this.#parts, this.#stopping.signal).catch((error) => {
      if (!this.#stopping.signal.aborted)
        this.#logger.error({ error: describeError(error) }, 'the request journal cannot be verified')
    })
  }

  /** Takes no more requests; settlements go on until the store closes. */
  async stop(): Promise<void> {
    if (this.#phase !== 'serving') return
    this.#phase = 'stopped'
    this.#stopping.abort()
    await Promise.all([this.#verification, this.#pruner.stop(), this.#sentMarks.flush()])
  }

  /**
   * Takes a request on. `known` is there when the same request was accepted before, and tells how far it is; else the
   * request is on disk, and the caller settles it.
   *
   * Rejects STORE_FULL at a bound of the journal or the store, DUPLICATE_MISMATCH for another request under this key,
   * INTERNAL for a damaged one or a store that failed (then it is not known whether the request is on disk).
   */
  async accept(request: NewRequest): Promise<{ readonly known: JournalRecord | undefined }> {
    const digest = journalDigest(request)
    for (;;) {
      this.#checkServing()
      const open = this.#open.get(request.key)
      if (open?.writing !== 'acceptance') break
      await open.written.catch(() => {})
    }
    const known = this.#reader.get(request.key)
    if (known !== undefined) {
      if (known.digest.equals(digest)) return { known }
      throw new LsxError('DUPLICATE_MISMATCH', 'another request was made with this key', {
        facts: { idempotencyKey: request.key },
      })
    }
    this.#checkRoom(request)
    await this.#acceptNew(request, digest)
    return { known: undefined }
  }

  /** Notes that the request goes out now, to the xchange process with this boot id. On disk some time later. */
  markSent(key: string, bootId: string): void {
    const open = this.#open.get(key)
    if (open === undefined) return
    open.state = 'sent'
    open.sentAtMs = this.#clock.nowMs()
    open.bootId = bootId
    this.#sentMarks.add(open)
  }

  /**
   * Resolves when the outcome is on disk. `in-doubt` leaves the request open, to be settled later; of the others the
   * first stands. Rejects INTERNAL for a key that was never accepted; after any rejection the request is still open.
   */
  async settle(key: string, settlement: JournalSettlement): Promise<void> {
    let open = this.#open.get(key)
    while (open?.writing !== undefined) {
      await open.written.catch(() => {})
      open = this.#open.get(key)
    }
    if (open === undefined) {
      this.#settledBefore(key, settlement)
      return
    }
    open.writing = 'settlement'
    const { outcome } = settlement
    const written = outcome === 'in-doubt' ? this.#keepInDoubt(open, settlement) : this.#end(open, outcome, settlement)
    open.written = written
    try {
      await written
    } finally {
      open.writing = undefined
    }
  }

  /** Throws INTERNAL, with the key among its facts, when the record is damaged. */
  get(key: string): JournalRecord | undefined {
    return this.#reader.get(key)
  }

  /**
   * Open requests of a bank in order of acceptance, for their settlement after a reconnect or restart: a page of at most
   * 1,000. Damaged ones are left out.
   */
  open(bankCode: string, page: OpenPage = {}): JournalRecord[] {
    return this.#reader.open(bankCode, page)
  }

  /** Open requests oldest first, others newest first. Damaged ones are left out. */
  list(query: JournalQuery): Promise<JournalRecord[]> {
    return this.#reader.list(query)
  }

  get #parts() {
    return { tables: this.#tables, open: this.#open, damage: this.#damage }
  }

  async #acceptNew(request: NewRequest, digest: Buffer): Promise<void> {
    const { key, bankCode, method, payload, meta, condition, acceptedAtMs, deadlineAtMs } = request
    const sequence = this.#tables.order.next(acceptedAtMs)
    const stored = {
      sequence,
      bankCode,
      method,
      payload,
      ...(meta === undefined ? {} : { meta }),
      ...(condition === undefined ? {} : { condition }),
      digest,
      acceptedAtMs,
      deadlineAtMs,
    }
    // Encoded first: a request that cannot be leaves nothing behind.
    const changes = this.#tables.toAccept(key, stored)
    const open = this.#open.add({ key, bankCode, sequence, acceptedAtMs, deadlineAtMs })
    open.writing = 'acceptance'
    open.written = this.#store.write(changes).catch(async (error) => {
      await this.#withdraw(open)
      throw error
    })
    this.#size.add(payload.length + (meta?.length ?? 0) + RECORD_OVERHEAD_BYTES)
    await open.written
    open.writing = undefined
  }

  /** A write that failed may still have reached the disk; the key is free again only when that is undone. */
  async #withdraw(open: OpenRequest): Promise<void> {
    try {
      await this.#store.write(this.#tables.toWithdraw(open.key, open.sequence), 'finishes')
    } catch (error) {
      this.#logger.error(
        { idempotencyKey: open.key, error: describeError(error) },
        'a request that was not accepted may be in the journal all the same; the next start will settle it',
      )
    } finally {
      this.#open.delete(open)
    }
  }

  async #keepInDoubt(open: OpenRequest, { code }: JournalSettlement): Promise<void> {
    if (open.inDoubt && open.code === code) return
    const progress = progressOf({ ...open, inDoubt: true, code })
    open.hasProgress = true
    await this.#store.write([this.#tables.progress.toPut(open.key, progress)], 'finishes')
    this.#open.markInDoubt(open, code)
  }

  async #end(open: OpenRequest, outcome: StoredOutcome['outcome'], settlement: JournalSettlement): Promise<void> {
    const { key, sequence, sentAtMs, bootId } = open
    const { code, response, type, fulfilment } = settlement
    const stored: StoredOutcome = {
      sequence,
      outcome,
      settledAtMs: this.#clock.nowMs(),
      ...(code === undefined ? {} : { code }),
      ...(response === undefined ? {} : { response }),
      ...(type === undefined ? {} : { type }),
      ...(fulfilment === undefined ? {} : { fulfilment }),
      ...(sentAtMs === undefined ? {} : { sentAtMs }),
      ...(bootId === undefined ? {} : { bootId }),
    }
    const changes = this.#tables.toSettle(key, stored)
    if (open.hasProgress) changes.push(this.#tables.progress.toRemove(key))
    await this.#store.write(changes, 'finishes')
    this.#size.add((response?.length ?? 0) + RECORD_OVERHEAD_BYTES)
    this.#sentMarks.delete(open)
    this.#open.delete(open)
    this.#settled++
  }

  #settledBefore(key: string, { outcome }: JournalSettlement): void {
    const record = this.#reader.get(key)
    if (record === undefined) {
      throw new LsxError('INTERNAL', 'no request was accepted with this key', { facts: { idempotencyKey: key } })
    }
    if (outcome === 'in-doubt' || outcome === record.outcome) return
    this.#logger.warn(
      { idempotencyKey: key, bankCode: record.bankCode, outcome, settledAs: record.outcome },
      'another outcome came for a request that is settled; the first stands',
    )
  }

  #lastWriteMs(key: string): number | 'held' | undefined {
    if (this.#open.get(key) !== undefined) return 'held'
    if (!this.#tables.requests.has(key)) {
      this.#damage.forgetLost(key)
      return undefined
    }
    return this.#tables.outcomes.get(key)?.settledAtMs ?? 'held'
  }

  #checkServing(): void {
    if (this.#phase === 'serving') return
    if (this.#phase === 'new') throw new LsxError('INTERNAL', 'the request journal was not started')
    throw new LsxError('SHUTTING_DOWN', 'the request journal is stopped')
  }

  #checkRoom(request: NewRequest): void {
    this.#store.checkRoom()
    const records = this.#open.size + this.#settled
    if (records >= this.#maxRecords) {
      throw new LsxError('STORE_FULL', 'the request journal holds as many requests as it may', { facts: { records } })
    }
    if (this.#size.hasRoomFor(request.payload.length + (request.meta?.length ?? 0) + RECORD_OVERHEAD_BYTES)) return
    const { bytes } = this.#size
    throw new LsxError('STORE_FULL', 'the request journal is at its configured size', { facts: { bytes } })
  }
}
