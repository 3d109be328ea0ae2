import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Database, open, type RootDatabase } from 'lmdb'
import { type Clock, LsxError, sleep, systemClock } from '../runtime/index.ts'
import type { Change, WritePurpose } from './change.ts'
import { CommitWatch } from './commit-watch.ts'
import { checksumEnvelope, type Envelope, keysOnlyEnvelope } from './envelope.ts'
import { checkEnvelope, notedNames, noteNames, tableNames } from './envelope-check.ts'
import { checkFileHead } from './file-head.ts'
import { checkMetaPages } from './meta-pages.ts'
import { SealedEnvelope, storeKeyNames } from './sealed-envelope.ts'
import { SpaceBound } from './space.ts'
import { LmdbTable, type Table, type TransactionalTable, type VerifyReport } from './table.ts'
import { WriteGroup } from './write-group.ts'
import { WriterWatch } from './writer-watch.ts'

export interface StoreOptions {
  /** Directory of the store; made with mode 0700, or tightened to it. */
  readonly path: string
  /** Address space to map at first; the map grows by itself. Default: LMDB's own choice. */
  readonly mapBytes?: number
  /** Live data may grow to this. Default 4 GiB. */
  readonly maxBytes?: number
  /** Nothing is added while the disk has less free than this. Default 64 MiB. */
  readonly minFreeBytes?: number
  /** A write that is not on disk after this long means that the store has stopped. Default 5,000. */
  readonly commitTimeoutMs?: number
  /** Writes that may wait for the disk. Default 65,536. */
  readonly maxPendingWrites?: number
  /** Default: a checksum over table, key and value. A store opens with the envelope, and key, that it was made with. */
  readonly envelope?: Envelope
  readonly clock?: Clock
  /** Called once when the store stops committing. End the process by SIGKILL: an orderly exit would wait for LMDB. */
  readonly onStall?: (error: LsxError) => void
}

export interface Store {
  readonly path: string
  /** Why the store no longer commits; undefined while it does. Reads go on. */
  readonly stall: LsxError | undefined
  /** Opens a table, once each. `validate` gives the value its type again, and throws when the form is not the expected one. */
  table<T>(name: string, options: { validate: (value: unknown) => T }): Table<T>
  /** Checks every record of the tables opened so far; for the daemon's start, before it serves. */
  verify(signal?: AbortSignal): Promise<VerifyReport>
  /** Waits for what is being written, as long as the commit time-out. Safe to call twice. */
  close(): Promise<void>
}

/** A store that can make changes of several tables as one. */
export interface TransactionalStore extends Store {
  table<T>(name: string, options: TableOptions<T>): TransactionalTable<T>
  /**
   * All of these changes or none, on disk when it resolves; writes of one tick are one commit. Writes take effect in the
   * order of the calls. Rejects like `put`; one that only removes is allowed in a full store.
   */
  write(changes: readonly Change[], purpose?: WritePurpose): Promise<void>
  /** Throws what a write that begins something would be rejected with before it is tried. */
  checkRoom(): void
  /**
   * From here on records are sealed with the first of these keys, and opened with any. For a store that was opened with a
   * sealed envelope.
   */
  takeKeys(storeKeys: readonly Buffer[]): void
  /**
   * Seals anew, a few records at a time and with pauses, what other keys than the first sealed. Resolves with the number
   * when that is done, or stopped by the signal; rejects with what the disk says.
   */
  reseal(signal: AbortSignal): Promise<number>
  /** Ids of the store keys, its own first, that records may still be sealed with. */
  readonly storeKeyIds: readonly string[]
  /** Commits since the store was made; several writes share one. */
  readonly commits: number
}

export interface TableOptions<T> {
  readonly validate: (value: unknown) => T
  /** For an index, which says all in its keys: values are kept without an envelope, which would cost more than the rest. */
  readonly keysOnly?: boolean
}

/** Records that are sealed anew in one transaction, which stops the process for one commit; then a pause. */
const RESEAL_PAGE = 64
const RESEAL_PAUSE_MS = 20
/** The second finds nothing, as a rule. */
const RESEAL_PASSES = 4
const MAX_TABLES = 64
/** After a commit of so many writes the next one waits for a turn of the event loop, so that more of them share it. */
const BUSY_WRITES = 8
/** No name of a table: see `TABLE_NAME`. */
const NO_TABLE = '-'
const TABLE_NAME = /^[a-z][a-z0-9-]{0,63}$/

const DEFAULTS = {
  maxBytes: 4 * 1024 ** 3,
  minFreeBytes: 64 * 1024 ** 2,
  commitTimeoutMs: 5_000,
  maxPendingWrites: 65_536,
} as const

/**
 * Opens the durable store in `path`. Throws INTERNAL when it cannot, REFUSED when it was made with another envelope.
 *
 * A record's checksum or seal finds flipped bits, and bytes of another table or key. It cannot tell a record from its
 * own earlier version, which only a damaged page pointer could bring back.
 */
export function openStore(options: StoreOptions): TransactionalStore {
  const { path } = options
  try {
    makePrivateDirectory(path)
    checkFileHead(path)
    checkMetaPages(path)
    const envelope = options.envelope ?? checksumEnvelope
    const root = open<Buffer, Buffer>({
      path,
      noSubdir: false,
      encoding: 'binary',
      maxDbs: MAX_TABLES,
      // With batching by turn, lmdb makes a promise of its own that nobody can handle: one failed commit would end
      // the process as an unhandled rejection.
      eventTurnBatching: false,
      ...(options.mapBytes === undefined ? {} : { mapSize: options.mapBytes }),
    })
    try {
      checkEnvelope(root, path, envelope)
      return new LmdbStore(root, envelope, options)
    } catch (error) {
      root.close()
      throw error
    }
  } catch (cause) {
    if (cause instanceof LsxError) throw cause
    throw new LsxError('INTERNAL', `cannot open the store ${path}`, { cause, facts: { path } })
  }
}

class LmdbStore implements TransactionalStore {
  readonly path: string
  readonly #root: RootDatabase<Buffer, Buffer>
  readonly #tables = new Map<string, LmdbTable<unknown>>()
  readonly #clock: Clock
  readonly #envelope: Envelope
  readonly #commitTimeoutMs: number
  readonly #commits: CommitWatch
  readonly #writers: WriterWatch
  readonly #space: SpaceBound
  #gathered: WriteGroup | undefined
  #groupsUnderWay = 0
  #closing: Promise<void> | undefined

  constructor(root: RootDatabase<Buffer, Buffer>, envelope: Envelope, options: StoreOptions) {
    this.path = options.path
    this.#root = root
    this.#writers = new WriterWatch(root)
    this.#clock = options.clock ?? systemClock
    this.#envelope = envelope
    this.#commitTimeoutMs = options.commitTimeoutMs ?? DEFAULTS.commitTimeoutMs
    this.#commits = new CommitWatch({
      timeoutMs: this.#commitTimeoutMs,
      maxPending: options.maxPendingWrites ?? DEFAULTS.maxPendingWrites,
      clock: this.#clock,
      onStall: (error) => options.onStall?.(error),
    })
    this.#space = new SpaceBound({
      path: this.path,
      maxBytes: options.maxBytes ?? DEFAULTS.maxBytes,
      minFreeBytes: options.minFreeBytes ?? DEFAULTS.minFreeBytes,
      usedBytes: () => this.#usedBytes(),
      clock: this.#clock,
    })
  }

  get stall(): LsxError | undefined {
    return this.#commits.stall
  }

  table<T>(name: string, options: TableOptions<T>): TransactionalTable<T> {
    this.#checkOpen()
    const facts = { path: this.path, table: name }
    if (!TABLE_NAME.test(name)) throw new LsxError('INTERNAL', 'a table name has 1 to 64 of a-z, 0-9 and -', { facts })
    if (this.#tables.has(name)) throw new LsxError('INTERNAL', `table ${name} is open already`, { facts })
    if (this.#tables.size >= MAX_TABLES) throw new LsxError('INTERNAL', 'too many tables', { facts })
    const table = new LmdbTable<T>({
      name,
      database: this.#openDatabase(name),
      validate: options.validate,
      envelope: options.keysOnly === true ? keysOnlyEnvelope : this.#envelope,
      commits: this.#commits,
      space: this.#space,
      sendGathered: () => this.#sendGathered(),
      checkOpen: () => this.#checkOpen(),
    })
    this.#tables.set(name, table as LmdbTable<unknown>)
    return table
  }

  get commits(): number {
    this.#checkOpen()
    return (this.#root.getStats() as { lastTxnId: number }).lastTxnId
  }

  async write(changes: readonly Change[], purpose: WritePurpose = 'begins'): Promise<void> {
    this.#checkOpen()
    if (changes.length === 0) return
    if (changes.some(({ adds }) => adds)) this.#space.check(purpose)
    this.#commits.check(purpose, this.#gathered?.writes)
    await this.#gather(changes)
  }

  checkRoom(): void {
    this.#checkOpen()
    this.#space.check('begins')
    this.#commits.check('begins', this.#gathered?.writes)
  }

  #gather(changes: readonly Change[]): Promise<void> {
    if (this.#gathered === undefined) {
      const group = new WriteGroup()
      this.#gathered = group
      // While a commit is under way this gathers: LMDB would begin the next one only after it anyway, and a commit costs the
      // same whatever is in it.
      if (this.#groupsUnderWay === 0) {
        queueMicrotask(() => {
          if (this.#gathered === group) this.#sendGathered()
        })
      }
    }
    return this.#gathered.add(changes)
  }

  #sendGathered(): void {
    const group = this.#gathered
    if (group === undefined) return
    this.#gathered = undefined
    this.#groupsUnderWay++
    const committed = this.#commits.follow(() => this.#apply(group.changes), group.writes)
    group.follow(committed)
    const next = () => {
      this.#groupsUnderWay--
      if (this.#groupsUnderWay === 0) this.#sendGathered()
    }
    // Who is busy gathers for a turn longer: each commit costs as much as the writes of some dozen requests.
    const isBusy = group.writes >= BUSY_WRITES
    committed.then(isBusy ? () => setImmediate(next) : next, next)
  }

  #apply(changes: readonly Change[]): Promise<unknown> {
    const [first] = changes
    if (changes.length === 1 && first !== undefined) return first.apply()
    return this.#root.batch(() => {
      for (const change of changes) change.apply()
    })
  }

  async verify(signal?: AbortSignal): Promise<VerifyReport> {
    let records = 0
    let damaged = 0
    const errors: LsxError[] = []
    for (const table of this.#tables.values()) {
      const report = await table.verify(signal)
      records += report.records
      damaged += report.damaged
      errors.push(...report.errors)
    }
    return { records, damaged, errors }
  }

  get storeKeyIds(): readonly string[] {
    this.#checkOpen()
    return notedNames(this.#root, this.path).map((name) => name.slice('sealed '.length))
  }

  takeKeys(storeKeys: readonly Buffer[]): void {
    this.#checkOpen()
    const envelope = this.#envelope
    if (!(envelope instanceof SealedEnvelope)) throw new LsxError('INTERNAL', 'this store has no store key')
    this.#sendGathered()
    const noted = notedNames(this.#root, this.path)
    const [name = '', ...others] = storeKeyNames(storeKeys)
    const lacking = noted.find((known) => known !== name && !others.includes(known))
    if (lacking !== undefined)
      throw new LsxError('REFUSED', `records of this store are sealed with the key ${lacking}, which is missing`, {
        party: 'self',
        facts: { path: this.path },
      })
    // Before the first record is sealed with it: whoever opens the store with the old key alone must be told.
    if (noted[0] !== name) noteNames(this.#root, [name, ...noted.filter((known) => known !== name)])
    envelope.takeKeys(storeKeys)
  }

  async reseal(signal: AbortSignal): Promise<number> {
    this.#checkOpen()
    const { name } = this.#envelope
    let resealed = 0
    for (let pass = 0; pass < RESEAL_PASSES; pass++) {
      // Records that were sealed with the old key just before may still be on their way to the disk. This comes after them.
      await this.#commits.follow(() => this.#root.remove(Buffer.from(NO_TABLE)))
      const found = await this.#resealPass(signal)
      resealed += found
      if (signal.aborted || this.#closing !== undefined) return resealed
      if (found === 0) break
    }
    // A table that nobody opened may hold records of an old key; another rotation may have begun meanwhile.
    const isWhole = tableNames(this.#root).every((table) => this.#tables.has(table))
    if (isWhole && this.#envelope.name === name && notedNames(this.#root, this.path).length > 1)
      noteNames(this.#root, [name])
    return resealed
  }

  async #resealPass(signal: AbortSignal): Promise<number> {
    let resealed = 0
    for (const table of this.#tables.values()) {
      let after: Buffer | undefined
      do {
        if (signal.aborted || this.#closing !== undefined) return resealed
        const page = table.resealPage(after, RESEAL_PAGE, (work) => this.#root.transactionSync(work))
        after = page.last
        resealed += page.resealed
        if (page.resealed > 0) await sleep(this.#clock, RESEAL_PAUSE_MS, signal).catch(() => {})
        else await nextTurn()
      } while (after !== undefined)
    }
    return resealed
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#sendGathered()
    await this.#commits.idle()
    // lmdb waits without end for a commit that failed or hangs; what is lost by not waiting is only the tidy end.
    const timeout = new AbortController()
    try {
      await Promise.race([
        this.#closeQuietWriter(),
        sleep(this.#clock, this.#commitTimeoutMs, timeout.signal).catch(() => undefined),
      ])
    } finally {
      timeout.abort()
    }
  }

  async #closeQuietWriter(): Promise<void> {
    await this.#writers.idle()
    // The callback that told so is still on the stack of lmdb's binding.
    await nextTurn()
    await this.#root.close()
  }

  #openDatabase(name: string): Database<Buffer, Buffer> {
    try {
      return this.#root.openDB<Buffer, Buffer>(name, { encoding: 'binary', keyEncoding: 'binary' })
    } catch (cause) {
      const facts = { path: this.path, table: name }
      throw new LsxError('INTERNAL', `cannot open table ${name} of the store ${this.path}`, { cause, facts })
    }
  }

  #usedBytes(): number {
    let bytes = 0
    for (const table of this.#tables.values()) bytes += table.liveBytes
    return bytes
  }

  #checkOpen(): void {
    if (this.#closing === undefined) return
    throw new LsxError('SHUTTING_DOWN', `the store ${this.path} is closed`, { facts: { path: this.path } })
  }
}

function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const mode = statSync(path).mode
  if ((mode & 0o077) !== 0) chmodSync(path, 0o700)
}
