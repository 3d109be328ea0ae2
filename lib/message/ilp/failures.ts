import type { IlpFailureType } from './verdict.ts'

export interface IlpFailure {
  /** Unix ms. */
  readonly atMs: number
  readonly bankCode: string
  readonly method: string
  readonly idempotencyKey: string
  readonly type: IlpFailureType
}

export interface FailureQuery {
  /** Unix ms. */
  readonly sinceMs: number
  readonly bankCode?: string | undefined
  readonly limit: number
}

const MAX_KEPT = 10_000
const KEEP_MS = 24 * 3_600_000

/** The latest failures, in memory; the counts are of all since the start. A restart forgets both, the log does not. */
export class IlpFailures {
  readonly #kept: IlpFailure[] = []
  readonly #counts = new Map<string, Partial<Record<IlpFailureType, number>>>()
  /** Where the next one goes, once the table is full. */
  #next = 0

  record(failure: IlpFailure): void {
    if (this.#kept.length < MAX_KEPT) this.#kept.push(failure)
    else {
      this.#kept[this.#next] = failure
      this.#next = (this.#next + 1) % MAX_KEPT
    }
    const counts = this.#counts.get(failure.bankCode) ?? {}
    counts[failure.type] = (counts[failure.type] ?? 0) + 1
    this.#counts.set(failure.bankCode, counts)
  }

  /** By type, since the start. All banks where none is named. */
  counts(bankCode?: string): Partial<Record<IlpFailureType, number>> {
    const total: Partial<Record<IlpFailureType, number>> = {}
    for (const [code, counts] of this.#counts) {
      if (bankCode !== undefined && code !== bankCode) continue
      for (const [type, count] of Object.entries(counts) as [IlpFailureType, number][]) {
        total[type] = (total[type] ?? 0) + count
      }
    }
    return total
  }

  /** Newest first, and how many there are beyond the limit. */
  list({ sinceMs, bankCode, limit }: FailureQuery, nowMs: number): { failures: IlpFailure[]; total: number } {
    const fromMs = Math.max(sinceMs, nowMs - KEEP_MS)
    const failures: IlpFailure[] = []
    let total = 0
    const { length } = this.#kept
    for (let index = 0; index < length; index++) {
      const failure = this.#kept[(this.#next + length - 1 - index) % length] as IlpFailure
      if (failure.atMs < fromMs || (bankCode ?? failure.bankCode) !== failure.bankCode) continue
      total++
      if (failures.length < limit) failures.push(failure)
    }
    return { failures, total }
  }
}
