import type { Attempt, ExecutionEvent } from './history.ts'
import { CHECKS, type KeyHistory, type Posting } from './ledger-rules.ts'
import { verdictOf } from './verdict.ts'
import type { Content } from './workload.ts'

/** What LS's journal says of a key. */
export interface JournalView {
  readonly state: 'open' | 'in-doubt' | 'settled'
  readonly outcome: string | undefined
  readonly receipt: string | undefined
}

/** What a node's once-only table says of a key. */
export interface OnceOnlyView {
  readonly kind: 'done' | 'begun' | 'never'
  readonly receipt: string | undefined
}

/** A time in which a bank's node may have lost what it had begun: its process ended, or its disk failed. */
export interface Interruption {
  readonly bankCode: string
  readonly cause: 'end' | 'disk'
  readonly fromMs: number
  readonly toMs: number
}

export interface Evidence {
  readonly attempts: readonly Attempt[]
  readonly executions: ReadonlyMap<string, readonly ExecutionEvent[]>
  readonly interruptions: readonly Interruption[]
  readonly contentOf: (key: string) => Content
  /** By key; undefined where there is no journal to look at. */
  readonly journal?: ReadonlyMap<string, JournalView> | undefined
  readonly onceOnly?: ReadonlyMap<string, OnceOnlyView> | undefined
}

/** `lost`: an outcome, or the effect it tells of. `duplicated`: an effect, or an answer. `disagreed`: the books differ. */
export type ViolationClass = 'lost' | 'duplicated' | 'disagreed'

export interface Violation {
  readonly class: ViolationClass
  /** Names the rule. */
  readonly rule: string
  readonly key: string
  readonly detail: string
}

export interface LedgerResult {
  readonly accepted: number
  readonly answered: number
  readonly refused: number
  readonly notSent: number
  readonly inDoubt: number
  /** Effects, which is more than keys when something was done twice. */
  readonly executed: number
  readonly violations: readonly Violation[]
}

/** Holds the three books against each other: what the apps were told, what the banks did, what the stores remember. */
export function checkLedger(evidence: Evidence): LedgerResult {
  const violations: Violation[] = []
  const counts = { answered: 0, refused: 0, 'not-sent': 0, 'in-doubt': 0 }
  let accepted = 0
  let executed = 0
  for (const history of historiesOf(evidence)) {
    executed += history.ends.length
    const verdict = verdictOf(history.attempts)
    if (verdict !== 'never-accepted') accepted++
    if (verdict !== 'never-accepted' && verdict !== 'unknown') counts[verdict]++
    for (const check of CHECKS) {
      for (const found of check(history)) violations.push({ ...found, key: history.key })
    }
  }
  const { answered, refused, 'not-sent': notSent, 'in-doubt': inDoubt } = counts
  return { accepted, answered, refused, notSent, inDoubt, executed, violations }
}

function historiesOf(evidence: Evidence): KeyHistory[] {
  const attempts = new Map<string, Attempt[]>()
  for (const key of evidence.executions.keys()) attempts.set(key, [])
  for (const attempt of evidence.attempts) {
    const ofKey = attempts.get(attempt.key)
    if (ofKey === undefined) attempts.set(attempt.key, [attempt])
    else ofKey.push(attempt)
  }
  return [...attempts].map(([key, all]) => {
    const sorted = all.toSorted((one, other) => one.submittedAtMs - other.submittedAtMs)
    const events = evidence.executions.get(key) ?? []
    const content = evidence.contentOf(key)
    return {
      key,
      content,
      attempts: sorted.filter(({ altered }) => !altered),
      altered: sorted.filter(({ altered }) => altered),
      events,
      begins: events.filter((event): event is Posting => event.e === 'begin'),
      ends: events.filter((event): event is Posting => event.e === 'end'),
      interruptions: evidence.interruptions.filter(({ bankCode }) => bankCode === content.bankCode),
      journal: evidence.journal?.get(key),
      hasJournal: evidence.journal !== undefined,
      onceOnly: evidence.onceOnly?.get(key),
      hasOnceOnly: evidence.onceOnly !== undefined,
    }
  })
}
