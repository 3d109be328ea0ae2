import type { RequestBook } from '../../lib/ls/durable-requests.ts'
import { type JournalRecord, journalDigest } from '../../lib/ls/journal/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'

/** A journal without a disk: `hold` makes every write wait until `release`, as a slow disk would. */
export class MemoryJournal implements RequestBook {
  readonly records = new Map<string, JournalRecord>()
  /** `accept KEY`, `settle KEY OUTCOME` in the order in which they were asked for. */
  readonly log: string[] = []
  failNext: LsxError | undefined
  #sequence = 0
  #gate: Promise<void> | undefined
  #release: () => void = () => {}

  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#release = resolve
    })
  }

  release(): void {
    this.#gate = undefined
    this.#release()
  }

  async accept(request: Parameters<RequestBook['accept']>[0]): Promise<{ known: JournalRecord | undefined }> {
    this.log.push(`accept ${request.key}`)
    await this.#disk()
    const digest = journalDigest(request)
    const known = this.records.get(request.key)
    if (known === undefined) {
      const sequence = String(++this.#sequence).padStart(16, '0')
      this.records.set(request.key, { ...request, digest, sequence, state: 'accepted' })
    } else if (!known.digest.equals(digest))
      throw new LsxError('DUPLICATE_MISMATCH', 'another request was made with this key')
    return { known }
  }

  markSent(key: string, bootId: string): void {
    const record = this.records.get(key)
    if (record !== undefined) this.records.set(key, { ...record, state: 'sent', bootId })
  }

  async settle(key: string, settlement: Parameters<RequestBook['settle']>[1]): Promise<void> {
    this.log.push(`settle ${key} ${settlement.outcome}`)
    await this.#disk()
    const record = this.records.get(key)
    if (record === undefined) throw new LsxError('INTERNAL', 'no request was accepted with this key')
    if (record.state === 'settled') return
    const { outcome, code, response, type, fulfilment } = settlement
    const state = outcome === 'in-doubt' ? 'sent' : 'settled'
    this.records.set(key, { ...record, state, outcome, code, response, type, fulfilment })
  }

  open(bankCode: string, page: { after?: string | undefined } = {}): JournalRecord[] {
    return [...this.records.values()].filter(
      (record) => record.bankCode === bankCode && record.state !== 'settled' && record.sequence > (page.after ?? ''),
    )
  }

  get(key: string): JournalRecord | undefined {
    return this.records.get(key)
  }

  async list(query: Parameters<RequestBook['list']>[0]): Promise<JournalRecord[]> {
    return [...this.records.values()].filter((record) => {
      const isOpen = record.state !== 'settled'
      if (query.state === 'open' && !isOpen) return false
      if (query.state === 'settled' && isOpen) return false
      if (query.state === 'in-doubt' && !(isOpen && record.outcome === 'in-doubt')) return false
      return query.bankCode === undefined || record.bankCode === query.bankCode
    })
  }

  get counts(): RequestBook['counts'] {
    const open = [...this.records.values()].filter((record) => record.state !== 'settled')
    const inDoubt = open.filter((record) => record.outcome === 'in-doubt').length
    return { open: open.length, inDoubt, settled: this.records.size - open.length, bytes: 0 }
  }

  get damagedCount(): number {
    return 0
  }

  async #disk(): Promise<void> {
    await this.#gate
    const failure = this.failNext
    this.failNext = undefined
    if (failure !== undefined) throw failure
  }
}
