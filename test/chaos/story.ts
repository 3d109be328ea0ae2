import type { Attempt, AttemptEnd, ExecutionEvent } from '../../chaos/history.ts'
import { checkLedger, type Interruption, type JournalView, type OnceOnlyView } from '../../chaos/ledger-check.ts'
import type { Content } from '../../chaos/workload.ts'

const AMOUNT_MINOR = 100

/** A history of one key, made by hand: times in ms, in the order of the calls. */
export class Story {
  readonly #content: Content
  readonly #attempts: Attempt[] = []
  readonly #events: ExecutionEvent[] = []
  readonly #interruptions: Interruption[] = []
  #journal: JournalView | 'none' | undefined
  #onceOnly: OnceOnlyView | undefined

  constructor(content: Partial<Content> = {}) {
    this.#content = {
      key: 'k',
      bankCode: '044',
      method: 'post',
      durable: false,
      amountMinor: AMOUNT_MINOR,
      workMs: 0,
      declines: false,
      paddingBytes: 0,
      ...content,
    }
  }

  /** An attempt; an answer has the receipt `r1` unless another is named. */
  asked(fromMs: number, toMs: number, outcome: AttemptEnd, more: Partial<Attempt> = {}): this {
    const answer = outcome === 'answered' ? { receipt: 'r1', echo: 'k' } : { receipt: undefined, echo: undefined }
    const n = this.#attempts.length + 1
    const times = { submittedAtMs: fromMs, endedAtMs: toMs }
    this.#attempts.push({
      app: 'app0',
      key: 'k',
      n,
      ...times,
      outcome,
      code: undefined,
      altered: false,
      ...answer,
      ...more,
    })
    return this
  }

  begun(t: number, { receipt = 'r1', boot = 'b1', amountMinor = AMOUNT_MINOR } = {}): this {
    this.#events.push({ e: 'begin', t, key: 'k', amountMinor, receipt, boot, declined: false })
    return this
  }

  ended(t: number, { receipt = 'r1', boot = 'b1', amountMinor = AMOUNT_MINOR } = {}): this {
    this.#events.push({ e: 'end', t, key: 'k', amountMinor, receipt, boot, declined: false })
    return this
  }

  executed(t: number, of: { receipt?: string; boot?: string } = {}): this {
    return this.begun(t, of).ended(t + 1, of)
  }

  inquired(t: number, done: boolean): this {
    this.#events.push({ e: 'inquiry', t, key: 'k', boot: 'b2', done })
    return this
  }

  nodeKilled(t: number, bankCode = '044'): this {
    this.#interruptions.push({ bankCode, cause: 'end', fromMs: t, toMs: t })
    return this
  }

  nodeDiskFailed(fromMs: number, toMs: number): this {
    this.#interruptions.push({ bankCode: '044', cause: 'disk', fromMs, toMs })
    return this
  }

  /** `none`: there is a journal, and it does not know the key. */
  journal(view: JournalView | 'none'): this {
    this.#journal = view
    return this
  }

  onceOnly(kind: OnceOnlyView['kind'], receipt?: string): this {
    this.#onceOnly = { kind, receipt }
    return this
  }

  check() {
    const journal = this.#journal
    return checkLedger({
      attempts: this.#attempts,
      executions: new Map(this.#events.length === 0 ? [] : [['k', this.#events]]),
      interruptions: this.#interruptions,
      contentOf: () => this.#content,
      ...(journal === undefined ? {} : { journal: new Map(journal === 'none' ? [] : [['k', journal]]) }),
      ...(this.#onceOnly === undefined ? {} : { onceOnly: new Map([['k', this.#onceOnly]]) }),
    })
  }

  /** The class and name of each rule that was broken. */
  broken(): string[] {
    return this.check().violations.map((violation) => `${violation.class}: ${violation.rule}`)
  }
}
