import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Database } from 'lmdb'
import { Packr } from 'msgpackr'
import { LsxError } from '../runtime/index.ts'
import { Change } from './change.ts'
import type { CommitWatch } from './commit-watch.ts'
import { type Envelope, recordPlace } from './envelope.ts'
import type { SpaceBound } from './space.ts'

/** LMDB's bound is 1,978 bytes; a longer key than this is a defect of the caller. */
export const MAX_KEY_BYTES = 512
export const MAX_VALUE_BYTES = 16 * 1024 * 1024
export const MAX_RANGE_LIMIT = 10_000
const VERIFY_PAGE = 512
const MAX_LISTED_DAMAGE = 100

export interface KeyRange {
  /** First key, included. */
  readonly start?: string
  /** End of the keys, not included. `start` is below `end` in either direction. */
  readonly end?: string
  /** At most this many, 1 to 10,000. */
  readonly limit: number
  /** From the highest key down. */
  readonly reverse?: boolean
}

export interface ReadRange extends KeyRange {
  /** Called for each record that cannot be served, which is then left out. Without it the range throws. */
  readonly onDamage?: (error: LsxError) => void
}

export interface Entry<T> {
  readonly key: string
  readonly value: T
}

export interface VerifyReport {
  readonly records: number
  readonly damaged: number
  /** The first hundred, for the log. */
  readonly errors: readonly LsxError[]
}

/**
 * Records of one kind, ordered by key (UTF-8 bytes). Reads are immediate and see what is on disk: a write shows when
 * its promise resolves. Writes of one table settle in order and share commits, so start many before awaiting.
 */
export interface Table<T> {
  readonly name: string
  /** Throws INTERNAL, naming table and key, when the record's bytes are damaged or fail `validate`. */
  get(key: string): T | undefined
  /**
   * Resolves after fdatasync. Rejects: STORE_FULL (disk, configured size, or too many waiting), TOO_LARGE, INTERNAL.
   * After the time-out it may still be committed: treat it as not known.
   */
  put(key: string, value: T): Promise<void>
  /**
   * The same, on disk when it returns: stops the whole process meanwhile. For rare records that must precede what follows.
   */
  putSync(key: string, value: T): void
  /** Resolves after fdatasync, also when there was no such record. Allowed in a full store. */
  remove(key: string): Promise<void>
  range(range: ReadRange): Entry<T>[]
  /** Keys alone: reads no value, so damaged records are listed too and can be removed. */
  keys(range: KeyRange): string[]
  count(range?: { start?: string; end?: string }): number
  /** Reads every record as a caller would. Gives way to other work between pages. */
  verify(signal?: AbortSignal): Promise<VerifyReport>
}

/** A table whose changes can be made as one with those of other tables. */
export interface TransactionalTable<T> extends Table<T> {
  /** Changes for `TransactionalStore.write`. Encodes at once; throws TOO_LARGE, INTERNAL. */
  toPut(key: string, value: T): Change
  toRemove(key: string): Change
  /** Is there a record, damaged or not? */
  has(key: string): boolean
  /** Bytes of the pages in use, as of the last commit. */
  readonly liveBytes: number
}

/** What `resealPage` has done. */
export interface ResealedPage {
  readonly last: Buffer | undefined
  readonly resealed: number
}

export class LmdbTable<T> implements TransactionalTable<T> {
  readonly name: string
  readonly #nameBytes: Buffer
  readonly #database: Database<Buffer, Buffer>
  readonly #validate: (value: unknown) => T
  readonly #envelope: Envelope
  readonly #commits: CommitWatch
  readonly #space: SpaceBound
  readonly #sendGathered: () => void
  readonly #checkOpen: () => void
  readonly #packr = new Packr({ useRecords: false, mapsAsObjects: true })

  constructor(options: {
    name: string
    database: Database<Buffer, Buffer>
    validate: (value: unknown) => T
    envelope: Envelope
    commits: CommitWatch
    space: SpaceBound
    /** Hands what the store has gathered to LMDB, so that writes keep the order of the calls. */
    sendGathered: () => void
    /** Throws once the store is closed: lmdb itself would end the process. */
    checkOpen: () => void
  }) {
    this.name = options.name
    this.#nameBytes = Buffer.from(options.name)
    this.#database = options.database
    this.#validate = options.validate
    this.#envelope = options.envelope
    this.#commits = options.commits
    this.#space = options.space
    this.#sendGathered = options.sendGathered
    this.#checkOpen = options.checkOpen
  }

  get(key: string): T | undefined {
    this.#checkOpen()
    const keyBytes = this.#encodeKey(key)
    const bytes = this.#reading(() => this.#database.getBinary(keyBytes))
    return bytes === undefined ? undefined : this.#decode(keyBytes, bytes)
  }

  async put(key: string, value: T): Promise<void> {
    const { keyBytes, record } = this.#encode(key, value)
    this.#space.check('begins')
    this.#commits.check('begins')
    await this.#follow(() => this.#database.put(keyBytes, record))
  }

  putSync(key: string, value: T): void {
    const { keyBytes, record } = this.#encode(key, value)
    this.#space.check('begins')
    this.#sendGathered()
    this.#reading(() => this.#database.putSync(keyBytes, record))
  }

  toPut(key: string, value: T): Change {
    const { keyBytes, record } = this.#encode(key, value)
    return new Change(this.#database, keyBytes, record)
  }

  toRemove(key: string): Change {
    this.#checkOpen()
    return new Change(this.#database, this.#encodeKey(key))
  }

  has(key: string): boolean {
    this.#checkOpen()
    const keyBytes = this.#encodeKey(key)
    return this.#reading(() => this.#database.doesExist(keyBytes))
  }

  get liveBytes(): number {
    this.#checkOpen()
    const statistics = this.#reading(() => this.#database.getStats()) as PageStatistics
    const pages = statistics.treeBranchPageCount + statistics.treeLeafPageCount + statistics.overflowPages
    return pages * statistics.pageSize
  }

  async remove(key: string): Promise<void> {
    this.#checkOpen()
    const keyBytes = this.#encodeKey(key)
    this.#commits.check('begins')
    await this.#follow(() => this.#database.remove(keyBytes))
  }

  range(range: ReadRange): Entry<T>[] {
    const entries: Entry<T>[] = []
    for (const { key, value } of this.#readRange(range)) {
      try {
        entries.push({ key: key.toString(), value: this.#decode(key, value) })
      } catch (error) {
        if (range.onDamage === undefined || !(error instanceof LsxError)) throw error
        range.onDamage(error)
      }
    }
    return entries
  }

  keys(range: KeyRange): string[] {
    this.#checkOpen()
    const options = { ...this.#rangeOptions(range), limit: checkedLimit(range.limit) }
    return this.#reading(() => Array.from(this.#database.getKeys(options), (key) => asBuffer(key).toString()))
  }

  count(range: { start?: string; end?: string } = {}): number {
    this.#checkOpen()
    return this.#reading(() => this.#database.getKeysCount(this.#rangeOptions(range)))
  }

  /**
   * Seals anew what the envelope would seal otherwise now, of the next `limit` records behind `after`. Returns the last
   * key looked at, or undefined at the end. Reads and writes are one transaction: a write that is under way is neither
   * missed nor undone. Stops the process meanwhile: keep `limit` small.
   */
  resealPage(after: Buffer | undefined, limit: number, transact: (work: () => void) => void): ResealedPage {
    this.#checkOpen()
    const { isCurrent } = this.#envelope
    if (isCurrent === undefined) return { last: undefined, resealed: 0 }
    const start = after === undefined ? {} : { start: after, exclusiveStart: true }
    const page = this.#reading(() => this.#entries({ ...start, limit }))
    const isStale = (key: Buffer, value: Buffer) =>
      !isCurrent.call(this.#envelope, recordPlace(this.#nameBytes, key), value)
    const stale = page.filter(({ key, value }) => isStale(key, value)).map(({ key }) => key)
    let resealed = 0
    if (stale.length > 0) {
      this.#sendGathered()
      transact(() => {
        for (const key of stale) {
          const place = recordPlace(this.#nameBytes, key)
          const bytes = this.#database.getBinary(key)
          if (bytes === undefined || isCurrent.call(this.#envelope, place, bytes)) continue
          const body = this.#envelope.open(place, bytes)
          // Damaged: no key opens it, and somebody may have to look at it as it is.
          if (body === undefined) continue
          this.#database.putSync(key, this.#envelope.enclose(place, body))
          resealed++
        }
      })
    }
    return { last: page.length < limit ? undefined : page.at(-1)?.key, resealed }
  }

  async verify(signal?: AbortSignal): Promise<VerifyReport> {
    const errors: LsxError[] = []
    let records = 0
    let damaged = 0
    const report = (error: LsxError) => {
      damaged++
      if (errors.length < MAX_LISTED_DAMAGE) errors.push(error)
    }
    let last: Buffer | undefined
    const before = this.#statistics()
    for (;;) {
      signal?.throwIfAborted()
      const page = this.#readPage(last)
      for (const { key, value } of page) {
        if (last !== undefined && key.compare(last) <= 0) {
          report(this.#damage(key, 'is out of order'))
          return { records, damaged, errors }
        }
        last = key
        records++
        try {
          this.#decode(key, value)
          // A damaged branch page can hide a record from `get` that a walk over the leaves still finds.
          if (!this.#reading(() => this.#database.doesExist(key))) report(this.#damage(key, 'cannot be looked up'))
        } catch (error) {
          report(error as LsxError)
        }
      }
      if (page.length < VERIFY_PAGE) break
      await nextTurn()
    }
    const after = this.#statistics()
    if (before.lastTransaction === after.lastTransaction && after.entries !== records) {
      const facts = { table: this.name, found: records, expected: after.entries }
      report(new LsxError('INTERNAL', `table ${this.name} has lost records or gained foreign ones`, { facts }))
    }
    return { records, damaged, errors }
  }

  #encode(key: string, value: T): { keyBytes: Buffer; record: Buffer } {
    this.#checkOpen()
    const keyBytes = this.#encodeKey(key)
    const body = this.#packr.pack(value)
    if (body.length > MAX_VALUE_BYTES) {
      const facts = { table: this.name, valueBytes: body.length, maxValueBytes: MAX_VALUE_BYTES }
      throw new LsxError('TOO_LARGE', `a record for table ${this.name} is too large`, { facts, party: 'self' })
    }
    return { keyBytes, record: this.#envelope.enclose(recordPlace(this.#nameBytes, keyBytes), body) }
  }

  #follow(write: () => Promise<unknown>): Promise<void> {
    this.#sendGathered()
    return this.#commits.follow(write)
  }

  #readPage(after: Buffer | undefined): { key: Buffer; value: Buffer }[] {
    this.#checkOpen()
    const start = after === undefined ? {} : { start: after, exclusiveStart: true }
    return this.#reading(() => this.#entries({ ...start, limit: VERIFY_PAGE }))
  }

  #readRange(range: KeyRange): { key: Buffer; value: Buffer }[] {
    this.#checkOpen()
    const options = { ...this.#rangeOptions(range), limit: checkedLimit(range.limit) }
    return this.#reading(() => this.#entries(options))
  }

  #entries(options: RangeBytes & { limit: number; exclusiveStart?: boolean }): { key: Buffer; value: Buffer }[] {
    return Array.from(this.#database.getRange(options), ({ key, value }) => ({
      key: asBuffer(key),
      value: asBuffer(value),
    }))
  }

  #statistics(): { lastTransaction: number; entries: number } {
    this.#checkOpen()
    const statistics = this.#reading(() => this.#database.getStats()) as { lastTxnId: number; entryCount: number }
    return { lastTransaction: statistics.lastTxnId, entries: statistics.entryCount }
  }

  /** lmdb starts a reverse walk at `start`, takes `start` in and leaves `end` out whichever the direction. */
  #rangeOptions(range: { start?: string; end?: string; reverse?: boolean }): RangeBytes {
    const low = range.start === undefined ? undefined : this.#encodeKey(range.start)
    const high = range.end === undefined ? undefined : this.#encodeKey(range.end)
    const options: RangeBytes = {}
    if (range.reverse === true) {
      options.reverse = true
      if (high !== undefined) {
        options.start = high
        options.exclusiveStart = true
      }
      if (low !== undefined) {
        options.end = low
        options.inclusiveEnd = true
      }
      return options
    }
    if (low !== undefined) options.start = low
    if (high !== undefined) options.end = high
    return options
  }

  #encodeKey(key: string): Buffer {
    const bytes = Buffer.from(key)
    if (bytes.length === 0 || bytes.length > MAX_KEY_BYTES) {
      const facts = { table: this.name, keyBytes: bytes.length, maxKeyBytes: MAX_KEY_BYTES }
      throw new LsxError('INTERNAL', `a key for table ${this.name} must have 1 to ${MAX_KEY_BYTES} bytes`, { facts })
    }
    // Lone surrogates all become the same three bytes: two keys would be one record.
    if (bytes.includes(REPLACEMENT) && bytes.toString() !== key) {
      throw new LsxError('INTERNAL', `a key for table ${this.name} is not valid Unicode`, {
        facts: { table: this.name },
      })
    }
    return bytes
  }

  #decode(keyBytes: Buffer, bytes: Buffer): T {
    const body = this.#envelope.open(recordPlace(this.#nameBytes, keyBytes), bytes)
    if (body === undefined) throw this.#damage(keyBytes, 'is damaged')
    try {
      return this.#validate(this.#packr.unpack(body))
    } catch (cause) {
      throw this.#damage(keyBytes, 'does not have the expected form', cause)
    }
  }

  #damage(keyBytes: Buffer, what: string, cause?: unknown): LsxError {
    const recordKey = keyBytes.toString()
    return new LsxError('INTERNAL', `record ${JSON.stringify(recordKey)} of table ${this.name} ${what}`, {
      facts: { table: this.name, recordKey },
      cause,
    })
  }

  #reading<R>(read: () => R): R {
    try {
      return read()
    } catch (cause) {
      throw new LsxError('INTERNAL', `table ${this.name} cannot be read`, { facts: { table: this.name }, cause })
    }
  }
}

interface PageStatistics {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

interface RangeBytes {
  start?: Buffer
  end?: Buffer
  reverse?: boolean
  exclusiveStart?: boolean
  inclusiveEnd?: boolean
}

const REPLACEMENT = Buffer.from('\ufffd')

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function checkedLimit(limit: number): number {
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= MAX_RANGE_LIMIT) return limit
  throw new LsxError('INTERNAL', `a range reads 1 to ${MAX_RANGE_LIMIT} records at a time`, { facts: { limit } })
}
