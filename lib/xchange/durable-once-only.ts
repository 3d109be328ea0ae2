import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ResponseStatus } from '../frames/index.ts'
import { type Clock, describeError, type Logger, LsxError, type Service } from '../runtime/index.ts'
import {
  Pruner,
  positionAt,
  SizeBound,
  TimeIndex,
  type TimeIndexEntry,
  type TransactionalStore,
  type TransactionalTable,
} from '../store/index.ts'
import { type KeyMemory, type KeyRecord, MEMORY_ID_BYTES, validateKeyMemory, validateKeyRecord } from './key-record.ts'
import type { BeginResult, KnownKey, OnceOnlyTable, StoredResponse } from './once-only.ts'
import { UnkeptResponses } from './unkept-responses.ts'

export interface DurableOnceOnlyOptions {
  /** The table opens tables of its own in it; whoever opened the store closes it, after the table is stopped. */
  readonly store: TransactionalStore
  readonly clock: Clock
  readonly logger: Logger
  /** Keys kept. Default 1,000,000. */
  readonly maxEntries?: number
  /** Bytes on disk. Default 1 GiB; the store's own bound must be above it. */
  readonly maxBytes?: number
  /** How long a key is kept after its last write. Default 24 h. */
  readonly keepMs?: number
  /** Between two looks for keys that are due to be removed. Default 10 s. */
  readonly pruneIntervalMs?: number
}

/** What is known of a key, whatever its request was. */
export type LookupResult =
  | { readonly kind: 'done'; readonly response: StoredResponse }
  | { readonly kind: 'begun' }
  /** Not begun since `rememberedSinceMs`. */
  | { readonly kind: 'never' }

/** A key that runs, as its record on disk says: begun, or in doubt from before. */
interface RunningKey extends KeyRecord {
  /** The pruner moves the entry of a key that does not run to the time of its last write. */
  readonly entryMayBeMoved: boolean
}

const PAGE = 512
/** Of a record beside the response, generously. */
const RECORD_OVERHEAD_BYTES = 256
/** More than this is not one bad page: the store must be restored. */
const MAX_LOST = 10_000
const MEMORY_START = 'memory'

const NEW = { kind: 'new' } as const
const RUNNING = { kind: 'running' } as const
const IN_DOUBT = { kind: 'inDoubt' } as const
const MISMATCH = { kind: 'mismatch' } as const
const BEGUN = { kind: 'begun' } as const
const NEVER = { kind: 'never' } as const

/**
 * The table on disk: no key is executed twice, also through a crash at any moment. A key that an earlier process began
 * and did not finish is in doubt; one whose record is damaged or lost is neither executed nor answered.
 */
export class DurableOnceOnlyTable implements OnceOnlyTable, Service {
  readonly name = 'once-only table'
  readonly #store: TransactionalStore
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #maxEntries: number
  readonly #keepMs: number
  readonly #records: TransactionalTable<KeyRecord>
  readonly #memory: TransactionalTable<KeyMemory>
  readonly #index: TimeIndex
  readonly #size: SizeBound
  readonly #pruner: Pruner
  readonly #running = new Map<string, RunningKey>()
  readonly #unkept: UnkeptResponses
  readonly #lost = new Set<string>()
  #keyMemory: KeyMemory = { startMs: Number.POSITIVE_INFINITY, id: Buffer.alloc(MEMORY_ID_BYTES) }
  #entries = 0
  #phase: 'new' | 'serving' | 'stopped' = 'new'

  constructor(options: DurableOnceOnlyOptions) {
    const { store, clock, logger } = options
    this.#store = store
    this.#clock = clock
    this.#logger = logger
    this.#maxEntries = options.maxEntries ?? 1_000_000
    this.#keepMs = options.keepMs ?? 24 * 3_600_000
    this.#records = store.table('once-only', { validate: validateKeyRecord })
    this.#memory = store.table('once-only-memory', { validate: validateKeyMemory })
    this.#index = new TimeIndex(store, 'once-only-order')
    this.#size = new SizeBound({
      tables: [this.#records, this.#index.table],
      maxBytes: options.maxBytes ?? 1024 ** 3,
      clock,
    })
    this.#unkept = new UnkeptResponses({ clock, logger })
    this.#pruner = new Pruner({
      store,
      index: this.#index,
      keepMs: this.#keepMs,
      intervalMs: options.pruneIntervalMs ?? 10_000,
      lastWriteMs: (key) => this.#lastWriteMs(key),
      removalsOf: (key) => [this.#records.toRemove(key)],
      onRemoved: (keys) => {
        this.#entries -= keys.length
      },
      clock,
      logger,
    })
  }

  /** Keys kept, with those that run. */
  get size(): number {
    return this.#entries
  }

  /** On disk, pages in use. */
  get bytes(): number {
    return this.#size.bytes
  }

  /** Keys of which damage left nothing but the name. */
  get lostKeys(): readonly string[] {
    return [...this.#lost]
  }

  /** Names this memory, 8 bytes, also over restarts. What another memory does not know says nothing of this one. */
  get memoryId(): Buffer {
    return this.#keyMemory.id
  }

  /**
   * Wall time, Unix ms: the table knows every key that was begun since. That a key is not in it says nothing of a time
   * before, from which it was removed, or in which there was another store.
   */
  get rememberedSinceMs(): number {
    return Math.max(this.#keyMemory.startMs, this.#clock.nowMs() - this.#keepMs)
  }

  /** Counts the keys and looks for lost ones. Rejects INTERNAL when the store must be restored. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#readIndex(signal)
    await this.#readMemoryStart()
    this.#logger.info({ keys: this.#entries, lost: this.#lost.size }, 'the once-only table is read')
    this.#phase = 'serving'
    this.#pruner.start()
  }

  /** Begins nothing more; what runs can still be finished until the store closes. */
  async stop(): Promise<void> {
    this.#phase = 'stopped'
    await Promise.all([this.#pruner.stop(), this.#unkept.stop()])
  }

  begin(key: string, digest: Buffer): BeginResult | Promise<BeginResult> {
    this.#checkServing()
    const removal = this.#pruner.removalOf(key)
    if (removal !== undefined) return removal.then(() => this.begin(key, digest))
    const running = this.#running.get(key)
    if (running !== undefined) return runningKey(running, digest)
    const record = this.#read(key)
    if (record === undefined) return this.#beginNew(key, digest)
    const known = knownKey(record, digest)
    // The record on disk says so already, and goes on to should this process end.
    if (known.kind === 'inDoubt') this.#running.set(key, { ...record, entryMayBeMoved: true })
    return known
  }

  find(key: string, digest: Buffer): KnownKey | undefined {
    const running = this.#running.get(key)
    if (running !== undefined) return runningKey(running, digest)
    const record = this.#read(key)
    return record === undefined ? undefined : knownKey(record, digest)
  }

  /** By the key alone, for an LS that asks what became of it. Throws INTERNAL when the record is damaged or lost. */
  lookup(key: string): LookupResult {
    if (this.#running.has(key)) return BEGUN
    const record = this.#read(key)
    if (record === undefined) return NEVER
    return isDone(record) ? { kind: 'done', response: record.response } : BEGUN
  }

  async finish(key: string, response: StoredResponse): Promise<void> {
    const running = this.#running.get(key)
    // A late answer finds its key given up.
    const before = running ?? this.#read(key)
    if (before === undefined) return
    const { digest, position } = before
    const { status, payload, meta } = response
    const record = { digest, position, atMs: this.#clock.nowMs(), response: { status, payload, meta } }
    const write = () => {
      const changes = [this.#records.toPut(key, record)]
      if (running?.entryMayBeMoved ?? true) {
        changes.push(this.#index.toRemove({ position: positionAt(before.atMs), key }))
        changes.push(this.#index.toAdd({ position, key }))
      }
      return this.#store.write(changes, 'finishes')
    }
    this.#size.add(payload.length + (meta?.length ?? 0))
    try {
      await write()
      this.#unkept.delete(key)
    } catch (error) {
      // A doubt is what the record on disk says anyway.
      if (isDone(record)) this.#unkept.add(key, record, write)
      throw error
    } finally {
      if (this.#running.get(key) === running) this.#running.delete(key)
    }
  }

  async release(key: string): Promise<void> {
    const running = this.#running.get(key)
    if (running === undefined) return
    try {
      const { position, atMs } = running
      const changes = [this.#records.toRemove(key), this.#index.toRemove({ position, key })]
      if (running.entryMayBeMoved) changes.push(this.#index.toRemove({ position: positionAt(atMs), key }))
      await this.#store.write(changes, 'finishes')
      this.#entries--
    } finally {
      this.#running.delete(key)
    }
  }

  async #beginNew(key: string, digest: Buffer): Promise<BeginResult> {
    this.#checkRoom()
    const atMs = this.#clock.nowMs()
    const record = { digest, position: this.#index.next(atMs), atMs }
    const changes = [this.#records.toPut(key, record), this.#index.toAdd({ ...record, key })]
    this.#running.set(key, { ...record, entryMayBeMoved: false })
    this.#entries++
    this.#size.add(RECORD_OVERHEAD_BYTES)
    try {
      await this.#store.write(changes)
    } catch (error) {
      await this.#withdraw(key)
      throw error
    }
    return NEW
  }

  /** A write that failed may still have reached the disk; nothing was executed under this key. */
  async #withdraw(key: string): Promise<void> {
    try {
      await this.release(key)
    } catch (error) {
      this.#logger.error(
        { idempotencyKey: key, error: describeError(error) },
        'a key that could not be recorded may be on disk all the same, and is then in doubt',
      )
    }
  }

  #read(key: string): KeyRecord | undefined {
    if (this.#lost.has(key)) {
      throw new LsxError('INTERNAL', 'what was known of a key is lost to damage of the store', {
        facts: { idempotencyKey: key },
      })
    }
    return this.#unkept.get(key) ?? this.#records.get(key)
  }

  #lastWriteMs(key: string): number | 'held' | undefined {
    if (this.#running.has(key) || this.#unkept.has(key)) return 'held'
    const record = this.#records.get(key)
    if (record === undefined) this.#lost.delete(key)
    return record?.atMs
  }

  #checkServing(): void {
    if (this.#phase === 'serving') return
    if (this.#phase === 'new') throw new LsxError('INTERNAL', 'the once-only table was not started')
    throw new LsxError('SHUTTING_DOWN', 'the once-only table is stopped')
  }

  #checkRoom(): void {
    this.#store.checkRoom()
    const facts = { keys: this.#entries, bytes: this.#size.bytes }
    if (this.#entries >= this.#maxEntries) {
      throw new LsxError('STORE_FULL', 'the once-only table holds as many keys as it may', { facts })
    }
    if (!this.#size.hasRoomFor(RECORD_OVERHEAD_BYTES)) {
      throw new LsxError('STORE_FULL', 'the once-only table is at its configured size', { facts })
    }
  }

  async #readIndex(signal: AbortSignal): Promise<void> {
    let after: TimeIndexEntry | undefined
    for (;;) {
      signal.throwIfAborted()
      const entries = this.#index.oldest(PAGE, { after })
      after = entries.at(-1)
      if (after === undefined) return
      for (const { key } of entries) {
        if (this.#records.has(key)) this.#entries++
        else this.#noteLost(key)
      }
      await nextTurn()
    }
  }

  #noteLost(key: string): void {
    this.#lost.add(key)
    if (this.#lost.size > MAX_LOST) {
      throw new LsxError('INTERNAL', `the once-only table has lost more than ${MAX_LOST} keys: restore the store`)
    }
    this.#logger.error({ idempotencyKey: key }, 'what was known of a key is lost to damage; it is not executed again')
  }

  async #readMemoryStart(): Promise<void> {
    const stored = this.#memory.get(MEMORY_START)
    this.#keyMemory = stored ?? { startMs: this.#clock.nowMs(), id: randomBytes(MEMORY_ID_BYTES) }
    if (stored === undefined) await this.#memory.put(MEMORY_START, this.#keyMemory)
  }
}

function runningKey(running: RunningKey, digest: Buffer): KnownKey {
  return running.digest.equals(digest) ? RUNNING : MISMATCH
}

function knownKey(record: KeyRecord, digest: Buffer): KnownKey {
  if (!record.digest.equals(digest)) return MISMATCH
  return isDone(record) ? { kind: 'done', response: record.response } : IN_DOUBT
}

function isDone(record: KeyRecord): record is KeyRecord & { readonly response: StoredResponse } {
  return record.response !== undefined && record.response.status !== ResponseStatus.inDoubt
}
