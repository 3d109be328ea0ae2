import { type Clock, LsxError, toLsxError } from '../runtime/index.ts'
import {
  isPosition,
  Positions,
  positionAt,
  type TransactionalStore,
  type TransactionalTable,
  timeOf,
} from '../store/index.ts'
import { changesOf, type KeyChange, KeyGroupWriter, keysOf, recordIn } from './key-group.ts'
import type { Place } from './key-index.ts'
import { type KeyRecord, validateBytes } from './key-record.ts'
import type { StoredResponse } from './once-only.ts'

/** A group leaves at this size even within a tick. */
const MAX_GROUP_BYTES = 262_144
const MAX_GROUP_CHANGES = 1_024
const PAGE = 64
/** Below every position. */
const LOWEST = '0'

/** What happens to keys in one moment: on disk as one, when `written` resolves. */
export interface KeyGroup {
  readonly place: Place
  readonly written: Promise<void>
  begun(key: string, record: KeyRecord): void
  finished(key: string, record: KeyRecord, response: StoredResponse, from: Place): void
  released(key: string, from: Place): void
}

/**
 * The log of what happened to keys. The changes of one moment are one record: one seal and one write for all of them, where
 * one for each key would cost ten times as much. The names of the keys that a group begins stand in a table of their own
 * as well, so that no damaged record takes the knowledge with it that a key was ever used.
 */
export class KeyLog {
  readonly #store: TransactionalStore
  readonly #clock: Clock
  readonly #groups: TransactionalTable<Buffer>
  readonly #names: TransactionalTable<Buffer>
  readonly #positions: Positions
  readonly #writer = new KeyGroupWriter()
  #open: OpenGroup | undefined
  #underWay = 0

  constructor(store: TransactionalStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
    this.#groups = store.table('once-only', { validate: validateBytes })
    this.#names = store.table('once-only-names', { validate: validateBytes })
    const [group] = this.#groups.keys({ limit: 1, reverse: true })
    const [name] = this.#names.keys({ limit: 1, reverse: true })
    const [last] = [group, name]
      .filter((position) => position !== undefined && isPosition(position))
      .sort()
      .reverse()
    this.#positions = new Positions(last)
  }

  get tables(): readonly TransactionalTable<unknown>[] {
    return [this.#groups, this.#names] as readonly TransactionalTable<unknown>[]
  }

  /** The group of this moment: it is written at the end of it, or when the one before is on disk. */
  group(): KeyGroup {
    const full = this.#writer.changes >= MAX_GROUP_CHANGES || this.#writer.byteLength >= MAX_GROUP_BYTES
    if (this.#open !== undefined && !full) return this.#open
    this.#flush()
    const position = this.#positions.next(this.#clock.nowMs())
    const open = new OpenGroup(this.#writer, position, placeOf(position))
    this.#open = open
    if (this.#underWay === 0) {
      queueMicrotask(() => {
        if (this.#open === open) this.#flush()
      })
    }
    return open
  }

  /** Throws INTERNAL when the group is damaged; undefined when it is gone, or does not hold the key. */
  recordAt(place: Place, key: string): KeyRecord | undefined {
    const group = this.#groups.get(positionOf(place))
    return group === undefined ? undefined : recordIn(group, key)
  }

  /** The keys of which a group says something. Throws INTERNAL when it is damaged. */
  keysIn(position: string): readonly string[] {
    const group = this.#groups.get(position)
    return group === undefined ? [] : Array.from(changesOf(group), ({ key }) => key)
  }

  /** All that can be read, in order; what cannot is reported. */
  *read(onDamage: (error: LsxError) => void): Generator<readonly { place: Place; changes: readonly KeyChange[] }[]> {
    let after = LOWEST
    for (;;) {
      const positions = this.#groups.keys({ start: after, limit: PAGE })
      const last = positions.at(-1)
      if (last === undefined) return
      after = `${last}\u0000`
      const page: { place: Place; changes: readonly KeyChange[] }[] = []
      for (const position of positions) {
        try {
          const group = this.#groups.get(position)
          if (group !== undefined && isPosition(position))
            page.push({ place: placeOf(position), changes: [...changesOf(group)] })
        } catch (error) {
          onDamage(toLsxError(error))
        }
      }
      yield page
    }
  }

  /** The names of keys whose groups are damaged or gone. Throws INTERNAL when they cannot be read either. */
  *unreadable(): Generator<readonly { position: string; keys: readonly string[] }[]> {
    let after = LOWEST
    for (;;) {
      const positions = this.#names.keys({ start: after, limit: PAGE })
      const last = positions.at(-1)
      if (last === undefined) return
      after = `${last}\u0000`
      yield positions.filter((position) => !this.#isReadable(position)).map((position) => this.#namesAt(position))
    }
  }

  // ---- what the pruner asks: groups are in order of time, so that their positions are an index of it

  oldest(limit: number, range: { after?: { position: string } | undefined; beforeMs?: number } = {}) {
    const start = range.after === undefined ? LOWEST : `${range.after.position}\u0000`
    const end = range.beforeMs === undefined ? {} : { end: positionAt(range.beforeMs) }
    const positions = new Set([
      ...this.#groups.keys({ start, ...end, limit }),
      ...this.#names.keys({ start, ...end, limit }),
    ])
    return [...positions]
      .sort()
      .slice(0, limit)
      .map((position) => ({ position, key: position }))
  }

  toRemove({ position }: { position: string }) {
    return this.#groups.toRemove(position)
  }

  /** Nothing is written into a group later, so none is ever moved. */
  toAdd(): never {
    throw new LsxError('INTERNAL', 'a group of keys does not move')
  }

  removalsOf(position: string) {
    return [this.#names.toRemove(position)]
  }

  timeOf(position: string): number {
    return timeOf(position)
  }

  placeOf(position: string): Place {
    return placeOf(position)
  }

  positionOf(place: Place): string {
    return positionOf(place)
  }

  #flush(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    const { group, names } = this.#writer.take()
    try {
      const changes = [this.#groups.toPut(open.position, group)]
      if (names !== undefined) changes.push(this.#names.toPut(open.position, names))
      // What begins a key has asked for room before; what shares its group finishes one.
      const written = this.#store.write(changes, 'finishes')
      this.#underWay++
      open.follow(written)
      written.then(this.#writeEnded, this.#writeEnded)
    } catch (error) {
      open.follow(Promise.reject(toLsxError(error)))
    }
  }

  readonly #writeEnded = (): void => {
    this.#underWay--
    if (this.#underWay === 0) this.#flush()
  }

  #isReadable(position: string): boolean {
    try {
      return this.#groups.get(position) !== undefined
    } catch {
      return false
    }
  }

  #namesAt(position: string): { position: string; keys: readonly string[] } {
    try {
      return { position, keys: keysOf(this.#names.get(position) ?? Buffer.alloc(0)) }
    } catch (cause) {
      const message = 'the once-only table has lost the names of keys: restore the store'
      throw new LsxError('INTERNAL', message, { cause, facts: { position } })
    }
  }
}

class OpenGroup implements KeyGroup {
  readonly position: string
  readonly place: Place
  readonly written: Promise<void>
  readonly #writer: KeyGroupWriter
  #follow: (written: Promise<void>) => void = () => {}

  constructor(writer: KeyGroupWriter, position: string, place: Place) {
    this.#writer = writer
    this.position = position
    this.place = place
    this.written = new Promise((resolve) => {
      this.#follow = resolve
    })
  }

  begun(key: string, record: KeyRecord): void {
    this.#writer.begun(key, record)
  }

  finished(key: string, record: KeyRecord, response: StoredResponse, from: Place): void {
    this.#writer.finished(key, record, response, from)
  }

  released(key: string, from: Place): void {
    this.#writer.released(key, from)
  }

  /** Settles as `written` does. */
  follow(written: Promise<void>): void {
    this.#follow(written)
  }
}

function placeOf(position: string): Place {
  return { high: Number.parseInt(position.slice(0, 8), 16), low: Number.parseInt(position.slice(8), 16) }
}

function positionOf({ high, low }: Place): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')
}
