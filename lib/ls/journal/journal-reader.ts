import { setImmediate as nextTurn } from 'node:timers/promises'
import { LsxError } from '../../runtime/index.ts'
import type { TimeIndexEntry } from '../../store/index.ts'
import type { JournalDamage } from './damage.ts'
import type { JournalRecord } from './journal-record.ts'
import type { JournalTables } from './journal-tables.ts'
import type { OpenRequest, OpenRequests } from './open-requests.ts'

export interface JournalQuery {
  /** Default: all. `open` takes those in doubt in. */
  readonly state?: 'open' | 'in-doubt' | 'settled' | undefined
  readonly bankCode?: string | undefined
  /** 1 to 1,000. */
  readonly limit: number
}

export interface OpenPage {
  /** The sequence of the last record of the page before. */
  readonly after?: string | undefined
  /** Default and at most 1,000. */
  readonly limit?: number | undefined
}

const PAGE = 64
const MAX_LIMIT = 1_000
/** A query for a rare kind of request looks no further back than this many. */
const MAX_SCANNED = 20_000

/** Puts records together: what never changes from the disk, how far they are from memory while they are open. */
export class JournalReader {
  readonly #tables: JournalTables
  readonly #open: OpenRequests
  readonly #damage: JournalDamage

  constructor(parts: { tables: JournalTables; open: OpenRequests; damage: JournalDamage }) {
    this.#tables = parts.tables
    this.#open = parts.open
    this.#damage = parts.damage
  }

  /** Throws INTERNAL, with the key among its facts, when the record is damaged. */
  get(key: string): JournalRecord | undefined {
    const open = this.#open.get(key)
    if (open !== undefined) return open.writing === 'acceptance' ? undefined : this.#openRecord(open)
    this.#damage.checkNotLost(key)
    const stored = this.#tables.requests.get(key)
    if (stored === undefined) return undefined
    return { key, ...stored, ...this.#tables.outcomeOf(key, stored), state: 'settled' }
  }

  /** In order of acceptance. Damaged ones are left out. */
  open(bankCode: string, { after = '', limit }: OpenPage): JournalRecord[] {
    return this.#openRecords(bankCode, limit ?? MAX_LIMIT, ({ sequence }) => sequence > after)
  }

  /** Open requests oldest first, others newest first. Damaged ones are left out. */
  async list({ state, bankCode, limit }: JournalQuery): Promise<JournalRecord[]> {
    if (state === 'open' || state === 'in-doubt') {
      return this.#openRecords(bankCode, limit, ({ inDoubt }) => inDoubt || state === 'open')
    }
    const records: JournalRecord[] = []
    let before: TimeIndexEntry | undefined
    for (let scanned = 0; scanned < MAX_SCANNED; scanned += PAGE) {
      const entries = this.#tables.order.newest(PAGE, before)
      before = entries.at(-1)
      if (before === undefined) break
      for (const { key } of entries) {
        if (state === 'settled' && this.#open.get(key) !== undefined) continue
        const record = this.#damage.readable(() => this.get(key))
        if (record === undefined || (bankCode ?? record.bankCode) !== record.bankCode) continue
        records.push(record)
        if (records.length >= bounded(limit)) return records
      }
      await nextTurn()
    }
    return records
  }

  #openRecords(bankCode: string | undefined, limit: number, isWanted: (open: OpenRequest) => boolean): JournalRecord[] {
    const records: JournalRecord[] = []
    for (const open of this.#open.inOrder(bankCode)) {
      if (records.length >= bounded(limit)) break
      if (open.writing === 'acceptance' || !isWanted(open)) continue
      const record = this.#damage.readable(() => this.#openRecord(open))
      if (record !== undefined) records.push(record)
    }
    return records
  }

  #openRecord(open: OpenRequest): JournalRecord {
    const { key, state, sentAtMs, bootId, inDoubt, code } = open
    const stored = this.#tables.requests.get(key)
    if (stored?.sequence !== open.sequence) {
      throw new LsxError('INTERNAL', 'an open request of the journal is lost', {
        facts: { table: this.#tables.requests.name, recordKey: key },
      })
    }
    return { key, ...stored, state, sentAtMs, bootId, outcome: inDoubt ? 'in-doubt' : undefined, code }
  }
}

function bounded(limit: number): number {
  return Math.min(Math.max(1, Math.floor(limit)), MAX_LIMIT)
}
