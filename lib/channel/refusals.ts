import type { Clock, ErrorCode, Logger, LsxError } from '../runtime/index.ts'

/** Lines a second for each code, and for each bank where one is named: a hostile peer must not fill the disk, nor hide what another does. */
const LINES_PER_SECOND = 10

/** What else wants to hear of each refusal; it thins out by itself. */
export type OnRefusal = (error: LsxError, facts: Readonly<Record<string, unknown>>) => void

/** Writes each refusal of a peer to the log, marked for the audit, and counts those over the limit. */
export class RefusalLog {
  readonly counts: Partial<Record<ErrorCode, number>> = {}
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #onRefusal: OnRefusal
  readonly #windows = new Map<string, { sinceMs: number; lines: number }>()

  constructor(logger: Logger, clock: Clock, onRefusal: OnRefusal = () => {}) {
    this.#logger = logger
    this.#clock = clock
    this.#onRefusal = onRefusal
  }

  record(error: LsxError, facts: Record<string, unknown> = {}): void {
    this.counts[error.code] = (this.counts[error.code] ?? 0) + 1
    this.#onRefusal(error, facts)
    const nowMs = this.#clock.monotonicMs()
    const source = facts.bankCode === undefined ? {} : { bankCode: facts.bankCode }
    const windowName = `${error.code} ${facts.bankCode ?? ''}`
    let window = this.#windows.get(windowName)
    if (window === undefined || nowMs - window.sinceMs >= 1_000) {
      const unwritten = window === undefined ? 0 : window.lines - LINES_PER_SECOND
      if (unwritten > 0)
        this.#logger.warn({ audit: true, code: error.code, ...source, unwritten }, 'more refusals than the log takes')
      window = { sinceMs: nowMs, lines: 0 }
      this.#windows.set(windowName, window)
    }
    window.lines++
    if (window.lines > LINES_PER_SECOND) return
    this.#logger.warn({ audit: true, code: error.code, party: error.party, ...error.facts, ...facts }, error.message)
  }
}
