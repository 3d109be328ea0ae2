import { describeError, type Logger, LsxError } from '../../runtime/index.ts'

export interface DamagedRecord {
  readonly key: string
  readonly table: string
  readonly message: string
}

const MAX_LISTED = 1_000
/** More than this is not one bad page: the journal must be restored. */
const MAX_LOST = 10_000

/** What the journal found damaged, for the log and for operators. */
export class JournalDamage {
  readonly #logger: Logger
  readonly #listed = new Map<string, DamagedRecord>()
  readonly #lost = new Map<string, LsxError>()
  #unlisted = 0

  constructor(logger: Logger) {
    this.#logger = logger
  }

  get count(): number {
    return this.#listed.size + this.#unlisted
  }

  /** The first thousand. */
  get records(): readonly DamagedRecord[] {
    return [...this.#listed.values()]
  }

  /** Notes a record that cannot be read. Each is logged once. */
  note(error: LsxError): void {
    const { recordKey = '', table = '' } = error.facts
    const key = String(recordKey)
    const name = `${table}/${key}`
    if (this.#listed.has(name)) return
    if (this.#listed.size >= MAX_LISTED) {
      this.noteUnlisted(1)
      return
    }
    this.#listed.set(name, { key, table: String(table), message: error.message })
    this.#logger.error(
      { idempotencyKey: key, table, error: describeError(error) },
      'a record of the request journal is damaged; its key is answered with INTERNAL until it is repaired',
    )
  }

  noteUnlisted(count: number): void {
    this.#unlisted += count
  }

  /** What `read` gives, or undefined when it throws INTERNAL, which is noted. */
  readable<T>(read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof LsxError) || error.code !== 'INTERNAL') throw error
      this.note(error)
      return undefined
    }
  }

  /** Notes a key of which the request or the outcome is gone. Throws INTERNAL when there are too many of them. */
  noteLost(key: string, part: LostPart): void {
    const error = new LsxError('INTERNAL', `the ${part} of a key in the journal is lost to damage of the store`, {
      facts: { table: part === 'request' ? 'journal' : 'journal-outcomes', recordKey: key },
    })
    this.#lost.set(key, error)
    if (this.#lost.size > MAX_LOST) {
      throw new LsxError('INTERNAL', `the request journal has lost more than ${MAX_LOST} records: restore the store`)
    }
    this.note(error)
  }

  forgetLost(key: string): void {
    this.#lost.delete(key)
  }

  checkNotLost(key: string): void {
    const error = this.#lost.get(key)
    if (error !== undefined) throw error
  }
}

type LostPart = 'request' | 'outcome'
