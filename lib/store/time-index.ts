import type { Change } from './change.ts'
import type { TransactionalStore } from './store.ts'
import type { TransactionalTable } from './table.ts'

const TIME_DIGITS = 12
const COUNT_DIGITS = 4
const POSITION_DIGITS = TIME_DIGITS + COUNT_DIGITS
const MAX_COUNT = 16 ** COUNT_DIGITS - 1
const MAX_TIME_MS = 16 ** TIME_DIGITS - 1
/** A position further ahead than this comes from a clock that was wrong, and is not followed. */
const MAX_LEAD_MS = 3_600_000

const POSITION = /^[0-9a-f]{16}$/

export interface TimeIndexEntry {
  /** 16 hexadecimal digits: a u64 of 48 bits of Unix ms and a 16-bit count within it. */
  readonly position: string
  readonly key: string
}

/**
 * Keys in order of time, as records `<position>/<key>`, each with a short note. Positions grow from call to call also
 * where the wall clock stands still or is set back a little, so that they tell an order as well as a time.
 */
export class TimeIndex {
  readonly table: TransactionalTable<string>
  #lastMs = 0
  #lastCount = 0

  constructor(store: TransactionalStore, name: string) {
    this.table = store.table(name, { validate: validateNote, keysOnly: true })
    const [last] = this.newest(1)
    if (last === undefined) return
    this.#lastMs = Number.parseInt(last.position.slice(0, TIME_DIGITS), 16)
    this.#lastCount = Number.parseInt(last.position.slice(TIME_DIGITS), 16)
  }

  /** The position of something that happens at `atMs` (wall), after all others. */
  next(atMs: number): string {
    const ms = bounded(atMs)
    if (ms > this.#lastMs || this.#lastMs - ms > MAX_LEAD_MS) {
      this.#lastMs = ms
      this.#lastCount = 0
    } else if (this.#lastCount < MAX_COUNT) {
      this.#lastCount++
    } else {
      this.#lastMs++
      this.#lastCount = 0
    }
    return hex(this.#lastMs, TIME_DIGITS) + hex(this.#lastCount, COUNT_DIGITS)
  }

  /** Also changes the note of an entry that is there. */
  toAdd({ position, key }: TimeIndexEntry, note = ''): Change {
    return this.table.toPut(`${position}/${key}`, note)
  }

  toRemove({ position, key }: TimeIndexEntry): Change {
    return this.table.toRemove(`${position}/${key}`)
  }

  /** Throws INTERNAL when it is damaged. */
  note({ position, key }: TimeIndexEntry): string | undefined {
    return this.table.get(`${position}/${key}`)
  }

  /** Up to `limit` from the oldest, or after another entry, on; none at the end only. */
  oldest(limit: number, range: { after?: TimeIndexEntry | undefined; beforeMs?: number } = {}): TimeIndexEntry[] {
    const { after, beforeMs } = range
    let start = after === undefined ? '' : `${after.position}/${after.key}\u0000`
    const end = beforeMs === undefined ? {} : { end: positionAt(beforeMs) }
    return firstPage((last) => {
      if (last !== undefined) start = `${last}\u0000`
      return this.table.keys({ limit, ...end, ...(start === '' ? {} : { start }) })
    })
  }

  /** Up to `limit` from the newest, or before another entry, down; none at the end only. */
  newest(limit: number, before?: TimeIndexEntry): TimeIndexEntry[] {
    let end = before === undefined ? '' : `${before.position}/${before.key}`
    return firstPage((last) => {
      if (last !== undefined) end = last
      return this.table.keys({ limit, reverse: true, ...(end === '' ? {} : { end }) })
    })
  }
}

/** Skips pages without an entry: what is of another form comes from damage, and names no key. */
function firstPage(readPage: (last: string | undefined) => string[]): TimeIndexEntry[] {
  let last: string | undefined
  for (;;) {
    const keys = readPage(last)
    last = keys.at(-1)
    const entries = keys.map(parse).filter((entry) => entry !== undefined)
    if (entries.length > 0 || last === undefined) return entries
  }
}

/** The first position of a moment. */
export function positionAt(atMs: number): string {
  return hex(bounded(atMs), TIME_DIGITS) + '0'.repeat(COUNT_DIGITS)
}

function parse(recordKey: string): TimeIndexEntry | undefined {
  const position = recordKey.slice(0, POSITION_DIGITS)
  const key = recordKey.slice(POSITION_DIGITS + 1)
  const isEntry = POSITION.test(position) && recordKey[POSITION_DIGITS] === '/' && key !== ''
  return isEntry ? { position, key } : undefined
}

function validateNote(value: unknown): string {
  if (typeof value === 'string') return value
  throw new TypeError('not a note')
}

function bounded(ms: number): number {
  return Math.min(Math.max(0, Math.floor(ms)), MAX_TIME_MS)
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
