import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ResponseStatus } from '../frames/index.ts'
import { type Clock, describeError, type Logger, LsxError, type Service } from '../runtime/index.ts'
import { Pruner, SizeBound, type TransactionalStore, type TransactionalTable } from '../store/index.ts'
import { type KeyHash, KeyIndex, type Place } from './key-index.ts'
import { type KeyGroup, KeyLog } from './key-log.ts'
import { type KeyMemory, type KeyRecord, MEMORY_ID_BYTES, validateKeyMemory } from './key-record.ts'
import {
  type BeginResult,
  inDoubtOf,
  isSameRequest,
  type KnownKey,
  type OnceOnlyTable,
  type StoredResponse,
} from './once-only.ts'
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

/** A key that runs, and where the log has it: begun, or in doubt from before. */
interface RunningKey extends KeyRecord {
  readonly hash: KeyHash
  readonly place: Place
}

/** A key that the log knows, and where. */
interface FoundKey {
  readonly record: KeyRecord
  readonly place: Place
}

/** Of what is on disk of a key beside the response, generously. */
const RECORD_OVERHEAD_BYTES = 192
/** More than this is not one bad page: the store must be restored. */
const MAX_LOST = 10_000
const MEMORY_START = 'memory'

const NEW = { kind: 'new' } as const
const RUNNING = { kind: 'running' } as const
const MISMATCH = { kind: 'mismatch' } as const
const BEGUN = { kind: 'begun' } as const
const NEVER = { kind: 'never' } as const

/**
 * The table on disk: no key is executed twice, also through a crash at any moment. A key that an earlier process began
 * and did not finish is in doubt; so is one whose end is lost to damage. One of which nothing but its name is left is
 * neither executed nor answered. On disk is a log of groups (`KeyLog`), in memory an index of where each key is in it.
 */
export class DurableOnceOnlyTable implements OnceOnlyTable, Service {
  readonly name = 'once-only table'
  readonly #store: TransactionalStore
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #maxEntries: number
  readonly #keepMs: number
  readonly #log: KeyLog
  readonly #memory: TransactionalTable<KeyMemory>
  readonly #index = new KeyIndex()
  readonly #size: SizeBound
  readonly #pruner: Pruner
  readonly #running = new Map<string, RunningKey>()
  readonly #unkept: UnkeptResponses
  /** By the position of the group that named them. */
  readonly #lost = new Map<string, readonly string[]>()
  readonly #lostKeys = new Set<string>()
  /** Of the groups whose removal is being written. */
  readonly #leaving = new Map<string, readonly string[]>()
  /** What becomes of those that begin with the open group. */
  #beginning: { readonly group: KeyGroup; readonly keys: string[]; readonly begun: Promise<BeginResult> } | undefined
  #keyMemory: KeyMemory = { startMs: Number.POSITIVE_INFINITY, id: Buffer.alloc(MEMORY_ID_BYTES) }
  #phase: 'new' | 'serving' | 'stopped' = 'new'

  constructor(options: DurableOnceOnlyOptions) {
    const { store, clock, logger } = options
    this.#store = store
    this.#clock = clock
    this.#logger = logger
    this.#maxEntries = options.maxEntries ?? 1_000_000
    this.#keepMs = options.keepMs ?? 24 * 3_600_000
    this.#log = new KeyLog(store, clock)
    this.#memory = store.table('once-only-memory', { validate: validateKeyMemory })
    this.#size = new SizeBound({ tables: this.#log.tables, maxBytes: options.maxBytes ?? 1024 ** 3, clock })
    this.#unkept = new UnkeptResponses({ clock, logger })
    this.#pruner = new Pruner({
      store,
      index: this.#log,
      keepMs: this.#keepMs,
      intervalMs: options.pruneIntervalMs ?? 10_000,
      lastWriteMs: (position) => this.#lastWriteMs(position),
      removalsOf: (position) => this.#log.removalsOf(position),
      onRemoved: (positions) => this.#forget(positions),
      clock,
      logger,
    })
  }

  /** Keys kept, with those that run. */
  get size(): number {
    return this.#index.size
  }

  /** On disk, pages in use. */
  get bytes(): number {
    return this.#size.bytes
  }

  /** Keys of which damage left nothing but the name. */
  get lostKeys(): readonly string[] {
    return [...this.#lostKeys]
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

  /** Reads the log, and looks for what damage took. Rejects INTERNAL when the store must be restored. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#readLog(signal)
    await this.#findLost(signal)
    await this.#readMemoryStart()
    this.#logger.info({ keys: this.size, lost: this.#lostKeys.size }, 'the once-only table is read')
    this.#phase = 'serving'
    this.#pruner.start()
  }

  /** Begins nothing more; what runs can still be finished until the store closes. */
  async stop(): Promise<void> {
    this.#phase = 'stopped'
    await Promise.all([this.#pruner.stop(), this.#unkept.stop()])
  }

  mayKnow(key: string): boolean {
    return this.#running.has(key) || this.#lostKeys.has(key) || this.#index.placesOf(this.#index.hashOf(key)).length > 0
  }

  begin(key: string, digest: Buffer): BeginResult | Promise<BeginResult> {
    this.#checkServing()
    const running = this.#running.get(key)
    if (running !== undefined) return runningKey(running, digest)
    const hash = this.#index.hashOf(key)
    const found = this.#find(key, hash)
    if (found === undefined) return this.#beginNew(key, hash, digest)
    const known = knownKey(found.record, digest)
    // The log says so already, and goes on to should this process end.
    if (known.kind === 'inDoubt') this.#running.set(key, { ...found.record, hash, place: found.place })
    return known
  }

  find(key: string, digest: Buffer): KnownKey | undefined {
    const running = this.#running.get(key)
    if (running !== undefined) return runningKey(running, digest)
    const found = this.#find(key, this.#index.hashOf(key))
    return found === undefined ? undefined : knownKey(found.record, digest)
  }

  /** By the key alone, for an LS that asks what became of it. Throws INTERNAL when the record is damaged or lost. */
  lookup(key: string): LookupResult {
    if (this.#running.has(key)) return BEGUN
    const found = this.#find(key, this.#index.hashOf(key))
    if (found === undefined) return NEVER
    return isDone(found.record) ? { kind: 'done', response: found.record.response } : BEGUN
  }

  async finish(key: string, response: StoredResponse): Promise<void> {
    const running = this.#running.get(key)
    // A late answer finds its key given up.
    const hash = running?.hash ?? this.#index.hashOf(key)
    const found = running === undefined ? this.#find(key, hash) : undefined
    const digest = running?.digest ?? found?.record.digest
    const place = running?.place ?? found?.place
    if (digest === undefined || place === undefined) return
    const record = { digest, atMs: this.#clock.nowMs(), response }
    const write = async () => {
      const group = this.#log.group()
      group.finished(key, record, response, place)
      await group.written
      if (!this.#index.move(hash, place, group.place)) this.#index.add(hash, group.place)
    }
    this.#size.add(response.payload.length + (response.meta?.length ?? 0))
    try {
      await write()
      this.#unkept.delete(key)
    } catch (error) {
      // A doubt is what the log says anyway.
      if (isDone(record)) this.#unkept.add(key, record, place, write)
      throw error
    } finally {
      if (this.#running.get(key) === running) this.#running.delete(key)
    }
  }

  async release(key: string): Promise<void> {
    const running = this.#running.get(key)
    if (running === undefined) return
    try {
      const group = this.#log.group()
      group.released(key, running.place)
      await group.written
      this.#index.remove(running.hash, running.place)
    } finally {
      this.#running.delete(key)
    }
  }

  #beginNew(key: string, hash: KeyHash, digest: Buffer): Promise<BeginResult> {
    this.#checkRoom()
    const record = { digest, atMs: this.#clock.nowMs() }
    const group = this.#log.group()
    group.begun(key, record)
    this.#running.set(key, { ...record, hash, place: group.place })
    this.#index.add(hash, group.place)
    this.#size.add(RECORD_OVERHEAD_BYTES)
    if (this.#beginning?.group !== group) {
      const keys: string[] = []
      const begun = group.written.then(
        () => NEW,
        async (error) => {
          await Promise.all(keys.map((each) => this.#withdraw(each)))
          throw error
        },
      )
      this.#beginning = { group, keys, begun }
    }
    this.#beginning.keys.push(key)
    return this.#beginning.begun
  }

  /** A write that failed may still have reached the disk; nothing was executed under this key. */
  async #withdraw(key: string): Promise<void> {
    const running = this.#running.get(key)
    try {
      await this.release(key)
    } catch (error) {
      if (running !== undefined) this.#index.remove(running.hash, running.place)
      this.#logger.error(
        { idempotencyKey: key, error: describeError(error) },
        'a key that could not be recorded may be on disk all the same, and is then in doubt',
      )
    }
  }

  #find(key: string, hash: KeyHash): FoundKey | undefined {
    if (this.#lostKeys.size > 0 && this.#lostKeys.has(key)) {
      throw new LsxError('INTERNAL', 'what was known of a key is lost to damage of the store', {
        facts: { idempotencyKey: key },
      })
    }
    const unkept = this.#unkept.get(key)
    if (unkept !== undefined) return unkept
    for (const place of this.#index.placesOf(hash)) {
      const record = this.#log.recordAt(place, key)
      if (record !== undefined) return { record, place }
    }
    return undefined
  }

  /** Of a group: `held` while one of its keys runs, or has an answer that is not on disk. */
  #lastWriteMs(position: string): number | 'held' | undefined {
    const keys = this.#lost.get(position) ?? this.#log.keysIn(position)
    if (keys.some((key) => this.#isHeldBy(position, key))) return 'held'
    this.#leaving.set(position, keys)
    return this.#log.timeOf(position)
  }

  #isHeldBy(position: string, key: string): boolean {
    const place = this.#running.get(key)?.place ?? this.#unkept.get(key)?.place
    return place !== undefined && this.#log.positionOf(place) === position
  }

  #forget(positions: readonly string[]): void {
    for (const position of positions) {
      const place = this.#log.placeOf(position)
      for (const key of this.#leaving.get(position) ?? []) this.#index.remove(this.#index.hashOf(key), place)
      for (const key of this.#lost.get(position) ?? []) this.#lostKeys.delete(key)
      this.#lost.delete(position)
    }
    this.#leaving.clear()
  }

  #checkServing(): void {
    if (this.#phase === 'serving') return
    if (this.#phase === 'new') throw new LsxError('INTERNAL', 'the once-only table was not started')
    throw new LsxError('SHUTTING_DOWN', 'the once-only table is stopped')
  }

  #checkRoom(): void {
    this.#store.checkRoom()
    const full =
      this.size >= this.#maxEntries
        ? 'the once-only table holds as many keys as it may'
        : this.#size.hasRoomFor(RECORD_OVERHEAD_BYTES)
          ? undefined
          : 'the once-only table is at its configured size'
    if (full === undefined) return
    throw new LsxError('STORE_FULL', full, { facts: { keys: this.size, bytes: this.#size.bytes } })
  }

  async #readLog(signal: AbortSignal): Promise<void> {
    for (const page of this.#log.read((error) => this.#logger.error({ error: describeError(error) }, DAMAGED))) {
      signal.throwIfAborted()
      for (const { place, changes } of page) {
        for (const change of changes) {
          const hash = this.#index.hashOf(change.key)
          if (change.kind === 'begun') this.#index.add(hash, place)
          else if (change.kind === 'released') this.#index.remove(hash, change.from)
          else if (!this.#index.move(hash, change.from, place)) this.#index.add(hash, place)
        }
      }
      await nextTurn()
    }
    signal.throwIfAborted()
  }

  /** Keys whose beginning cannot be read, and of whose end nothing is known. */
  async #findLost(signal: AbortSignal): Promise<void> {
    for (const page of this.#log.unreadable()) {
      signal.throwIfAborted()
      for (const { position, keys } of page) {
        const lost = keys.filter((key) => this.#index.placesOf(this.#index.hashOf(key)).length === 0)
        if (lost.length > 0) this.#lost.set(position, lost)
        for (const key of lost) this.#noteLost(key)
      }
      await nextTurn()
    }
  }

  #noteLost(key: string): void {
    this.#lostKeys.add(key)
    if (this.#lostKeys.size > MAX_LOST) {
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

const DAMAGED = 'a group of keys is damaged: those that ended in it are in doubt'

function runningKey(running: RunningKey, digest: Buffer): KnownKey {
  return isSameRequest(running.digest, digest) ? RUNNING : MISMATCH
}

function knownKey(record: KeyRecord, digest: Buffer): KnownKey {
  if (!isSameRequest(record.digest, digest)) return MISMATCH
  return isDone(record) ? { kind: 'done', response: record.response } : inDoubtOf(record.digest, digest)
}

function isDone(record: KeyRecord): record is KeyRecord & { readonly response: StoredResponse } {
  return record.response !== undefined && record.response.status !== ResponseStatus.inDoubt
}
