import { setImmediate as nextTurn } from 'node:timers/promises'
import { z } from 'zod'
import type { LsxError } from '../../runtime/index.ts'
import type { Store, Table } from '../../store/index.ts'
import { newestFirst, type Source } from './newest-first.ts'
import { isUp, type Transition, validateTransition } from './transition.ts'

const PAGE = 256
/** With many banks a query takes few records of each. */
const SMALL_PAGE = 32
const PRUNE_BATCH = 500
const TIME_DIGITS = 16
const SEQUENCE_DIGITS = 6
const SEQUENCES = 10 ** SEQUENCE_DIGITS
/** Follows '/' in the order of bytes, so `<bank>0` ends the keys of `<bank>/`. */
const AFTER_SLASH = '0'

const aliveSchema = z.object({ atMs: z.number().min(0) })

/**
 * Transitions in the store, keyed `<bank>/<time>/<sequence>`. Those into and out of `connected` are in a table of
 * their own: a bank that is away for weeks makes thousands of attempts a day, and these must not crowd out its ups and downs.
 */
export class TransitionRecords {
  readonly #changes: Table<Transition>
  readonly #attempts: Table<Transition>
  readonly #state: Table<{ atMs: number }>
  readonly #onDamage: (error: LsxError) => void
  #sequence = 0

  constructor(store: Store, options: { onDamage: (error: LsxError) => void }) {
    this.#changes = store.table('uptime-changes', { validate: validateTransition })
    this.#attempts = store.table('uptime-attempts', { validate: validateTransition })
    this.#state = store.table('uptime-state', { validate: (value) => aliveSchema.parse(value) })
    this.#onDamage = options.onDamage
  }

  async put(transition: Transition): Promise<void> {
    const table = isUp(transition.from) || isUp(transition.to) ? this.#changes : this.#attempts
    this.#sequence = (this.#sequence + 1) % SEQUENCES
    await table.put(`${transition.bankCode}/${timeKey(transition.atMs)}/${sequenceKey(this.#sequence)}`, transition)
  }

  /** When the process that wrote the store was last known to live. */
  get aliveAtMs(): number | undefined {
    try {
      return this.#state.get('alive')?.atMs
    } catch (error) {
      this.#onDamage(error as LsxError)
      return undefined
    }
  }

  async putAliveAt(atMs: number): Promise<void> {
    await this.#state.put('alive', { atMs })
  }

  /** Every bank with a record, in order. */
  async banks(signal: AbortSignal): Promise<string[]> {
    const found = new Set<string>()
    for (const table of this.#tables()) {
      let start: string | undefined
      for (;;) {
        signal.throwIfAborted()
        const [key] = table.keys({ ...(start === undefined ? {} : { start }), limit: 1 })
        if (key === undefined) break
        const bankCode = key.slice(0, Math.max(0, key.indexOf('/')))
        if (bankCode !== '') found.add(bankCode)
        start = bankCode === '' ? `${key}\u0000` : `${bankCode}${AFTER_SLASH}`
        if (found.size % PAGE === 0) await nextTurn()
      }
    }
    return [...found].sort()
  }

  /** All transitions of a bank, oldest first. */
  async *oldestFirst(bankCode: string, signal: AbortSignal): AsyncGenerator<Transition> {
    const [changes, attempts] = this.#tables().map((table) => this.#pagesForward(table, bankCode, signal))
    if (changes === undefined || attempts === undefined) return
    let change = await changes.next()
    let attempt = await attempts.next()
    while (!change.done || !attempt.done) {
      if (attempt.done || (!change.done && change.value.key < attempt.value.key)) {
        yield change.value.value
        change = await changes.next()
      } else {
        yield attempt.value.value
        attempt = await attempts.next()
      }
    }
  }

  /** The newest `limit` transitions of these banks from `sinceMs` until before `untilMs`, oldest first. */
  newest(options: {
    banks: readonly { bankCode: string; lastAtMs: number }[]
    sinceMs: number
    untilMs: number
    limit: number
  }): Transition[] {
    const pageRecords = options.banks.length > 8 ? SMALL_PAGE : PAGE
    const sources = options.banks.flatMap(({ bankCode, lastAtMs }) =>
      this.#tables().map((table): Source<Transition> => {
        const start = `${bankCode}/${timeKey(options.sinceMs)}`
        const end = `${bankCode}/${timeKey(options.untilMs)}`
        return {
          highestKey: `${timeKey(Math.min(lastAtMs, options.untilMs))}/${sequenceKey(SEQUENCES - 1)}`,
          readPage: (before) => this.#pageBackward(table, start, before ?? end, bankCode, pageRecords),
        }
      }),
    )
    return newestFirst(sources, options.limit).reverse()
  }

  /** Removes what is older than `beforeMs`, and a bank's oldest attempts above `maxAttempts`; a batch at a time. */
  async prune(options: { beforeMs: number; maxAttempts: number; signal: AbortSignal }): Promise<number> {
    const { maxAttempts, signal } = options
    let removed = 0
    for (const bankCode of await this.banks(signal)) {
      const start = `${bankCode}/`
      const end = `${bankCode}${AFTER_SLASH}`
      const before = `${start}${timeKey(options.beforeMs)}`
      const oldChanges = { start, end: this.#stateAt(bankCode, before) ?? before }
      removed += await this.#removeOldest(this.#changes, oldChanges, Number.POSITIVE_INFINITY, signal)
      removed += await this.#removeOldest(this.#attempts, { start, end: before }, Number.POSITIVE_INFINITY, signal)
      const above = this.#attempts.count({ start, end }) - maxAttempts
      removed += await this.#removeOldest(this.#attempts, { start, end }, above, signal)
      await nextTurn()
    }
    return removed
  }

  /**
   * The key of the change that tells how the link was at `before`. It stays, however old: a bank that has been up for
   * months would else be unknown after a restart. Of a bank that is down and silent nothing needs to stay.
   */
  #stateAt(bankCode: string, before: string): string | undefined {
    const [key] = this.#changes.keys({ start: `${bankCode}/`, end: before, limit: 1, reverse: true })
    if (key === undefined) return undefined
    const isFollowed = this.#changes.keys({ start: before, end: `${bankCode}${AFTER_SLASH}`, limit: 1 }).length > 0
    return isFollowed || isUp(this.#read(this.#changes, key)?.to ?? '') ? key : undefined
  }

  async #removeOldest(
    table: Table<Transition>,
    range: { start: string; end: string },
    atMost: number,
    signal: AbortSignal,
  ): Promise<number> {
    let removed = 0
    while (removed < atMost) {
      signal.throwIfAborted()
      const keys = table.keys({ ...range, limit: Math.min(PRUNE_BATCH, atMost - removed) })
      if (keys.length === 0) break
      await Promise.all(keys.map((key) => table.remove(key)))
      removed += keys.length
    }
    return removed
  }

  async *#pagesForward(
    table: Table<Transition>,
    bankCode: string,
    signal: AbortSignal,
  ): AsyncGenerator<{ key: string; value: Transition }> {
    let start = `${bankCode}/`
    for (;;) {
      signal.throwIfAborted()
      const keys = table.keys({ start, end: `${bankCode}${AFTER_SLASH}`, limit: PAGE })
      for (const key of keys) {
        const value = this.#read(table, key)
        if (value !== undefined) yield { key, value }
      }
      const last = keys.at(-1)
      if (last === undefined || keys.length < PAGE) return
      start = `${last}\u0000`
      await nextTurn()
    }
  }

  #pageBackward(
    table: Table<Transition>,
    start: string,
    end: string,
    bankCode: string,
    limit: number,
  ): { key: string; value: Transition }[] {
    const prefix = `${bankCode}/`
    let before = end.startsWith(prefix) ? end : `${prefix}${end}`
    // A page of nothing but damaged records is not the end.
    for (;;) {
      const keys = before <= start ? [] : table.keys({ start, end: before, limit, reverse: true })
      const page: { key: string; value: Transition }[] = []
      for (const key of keys) {
        const value = this.#read(table, key)
        if (value !== undefined) page.push({ key: key.slice(prefix.length), value })
      }
      const last = keys.at(-1)
      if (page.length > 0 || last === undefined) return page
      before = last
    }
  }

  #read(table: Table<Transition>, key: string): Transition | undefined {
    try {
      return table.get(key)
    } catch (error) {
      this.#onDamage(error as LsxError)
      return undefined
    }
  }

  #tables(): Table<Transition>[] {
    return [this.#changes, this.#attempts]
  }
}

function timeKey(atMs: number): string {
  const bounded = Math.min(Math.max(0, Math.floor(atMs)), Number.MAX_SAFE_INTEGER)
  return String(bounded).padStart(TIME_DIGITS, '0')
}

function sequenceKey(sequence: number): string {
  return String(sequence).padStart(SEQUENCE_DIGITS, '0')
}
