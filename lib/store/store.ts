import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { type Clock, LsxError, sleep, systemClock } from '../runtime/index.ts'
import { CommitWatch } from './commit-watch.ts'
import { checksumEnvelope, type Envelope } from './envelope.ts'
import { checkFileHead } from './file-head.ts'
import { SpaceBound } from './space.ts'
import { LmdbTable, type Table, type VerifyReport } from './table.ts'

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
  /** Default: a checksum over table, key and value. */
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

const MAX_TABLES = 64
const TABLE_NAME = /^[a-z][a-z0-9-]{0,63}$/

const DEFAULTS = {
  maxBytes: 4 * 1024 ** 3,
  minFreeBytes: 64 * 1024 ** 2,
  commitTimeoutMs: 5_000,
  maxPendingWrites: 65_536,
} as const

/**
 * Opens the durable store in `path`. Throws INTERNAL when it cannot.
 *
 * A record's checksum finds flipped bits, and bytes of another table or key. It cannot tell a record from its own
 * earlier version, which only a damaged page pointer could bring back.
 */
export function openStore(options: StoreOptions): Store {
  const { path } = options
  try {
    makePrivateDirectory(path)
    checkFileHead(path)
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
    return new LmdbStore(root, options)
  } catch (cause) {
    if (cause instanceof LsxError) throw cause
    throw new LsxError('INTERNAL', `cannot open the store ${path}`, { cause, facts: { path } })
  }
}

class LmdbStore implements Store {
  readonly path: string
  readonly #root: RootDatabase<Buffer, Buffer>
  readonly #tables = new Map<string, { table: LmdbTable<unknown>; database: Database<Buffer, Buffer> }>()
  readonly #clock: Clock
  readonly #envelope: Envelope
  readonly #commitTimeoutMs: number
  readonly #commits: CommitWatch
  readonly #space: SpaceBound
  #closing: Promise<void> | undefined

  constructor(root: RootDatabase<Buffer, Buffer>, options: StoreOptions) {
    this.path = options.path
    this.#root = root
    this.#clock = options.clock ?? systemClock
    this.#envelope = options.envelope ?? checksumEnvelope
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

  table<T>(name: string, options: { validate: (value: unknown) => T }): Table<T> {
    this.#checkOpen()
    const facts = { path: this.path, table: name }
    if (!TABLE_NAME.test(name)) throw new LsxError('INTERNAL', 'a table name has 1 to 64 of a-z, 0-9 and -', { facts })
    if (this.#tables.has(name)) throw new LsxError('INTERNAL', `table ${name} is open already`, { facts })
    if (this.#tables.size >= MAX_TABLES) throw new LsxError('INTERNAL', 'too many tables', { facts })
    const database = this.#openDatabase(name)
    const table = new LmdbTable<T>({
      name,
      database,
      validate: options.validate,
      envelope: this.#envelope,
      commits: this.#commits,
      space: this.#space,
      checkOpen: () => this.#checkOpen(),
    })
    this.#tables.set(name, { table: table as LmdbTable<unknown>, database })
    return table
  }

  async verify(signal?: AbortSignal): Promise<VerifyReport> {
    let records = 0
    let damaged = 0
    const errors: LsxError[] = []
    for (const { table } of this.#tables.values()) {
      const report = await table.verify(signal)
      records += report.records
      damaged += report.damaged
      errors.push(...report.errors)
    }
    return { records, damaged, errors }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#commits.idle()
    // lmdb waits without end for a commit that failed or hangs; what is lost by not waiting is only the tidy end.
    const timeout = new AbortController()
    try {
      await Promise.race([
        this.#root.close(),
        sleep(this.#clock, this.#commitTimeoutMs, timeout.signal).catch(() => undefined),
      ])
    } finally {
      timeout.abort()
    }
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
    let pages = 0
    let pageBytes = 0
    for (const { database } of this.#tables.values()) {
      const statistics = database.getStats() as PageStatistics
      pages += statistics.treeBranchPageCount + statistics.treeLeafPageCount + statistics.overflowPages
      pageBytes = statistics.pageSize
    }
    return pages * pageBytes
  }

  #checkOpen(): void {
    if (this.#closing === undefined) return
    throw new LsxError('SHUTTING_DOWN', `the store ${this.path} is closed`, { facts: { path: this.path } })
  }
}

interface PageStatistics {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const mode = statSync(path).mode
  if ((mode & 0o077) !== 0) chmodSync(path, 0o700)
}
