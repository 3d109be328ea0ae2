import type { Change } from './change.ts'
import { isPosition, POSITION_DIGITS, Positions, positionAt } from './positions.ts'
import type { TransactionalStore } from './store.ts'
import type { TransactionalTable } from './table.ts'

export interface TimeIndexEntry {
  /** As `Positions` gives them out. */
  readonly position: string
  readonly key: string
}

/**
 * Keys in order of time, as records `<position>/<key>`, each with a short note. Positions grow from call to call also
 * where the wall clock stands still or is set back a little, so that they tell an order as well as a time.
 */
export class TimeIndex {
  readonly table: TransactionalTable<string>
  readonly #positions: Positions

  constructor(store: TransactionalStore, name: string) {
    this.table = store.table(name, { validate: validateNote, keysOnly: true })
    this.#positions = new Positions(this.newest(1)[0]?.position)
  }

  /** The position of something that happens at `atMs` (wall), after all others. */
  next(atMs: number): string {
    return this.#positions.next(atMs)
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

function parse(recordKey: string): TimeIndexEntry | undefined {
  const position = recordKey.slice(0, POSITION_DIGITS)
  const key = recordKey.slice(POSITION_DIGITS + 1)
  const isEntry = isPosition(position) && recordKey[POSITION_DIGITS] === '/' && key !== ''
  return isEntry ? { position, key } : undefined
}

function validateNote(value: unknown): string {
  if (typeof value === 'string') return value
  throw new TypeError('not a note')
}
