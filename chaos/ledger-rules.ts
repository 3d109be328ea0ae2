import type { Attempt, ExecutionEvent } from './history.ts'
import type { Interruption, JournalView, OnceOnlyView, Violation } from './ledger-check.ts'
import { mayHaveRun, verdictOf } from './verdict.ts'
import type { Content } from './workload.ts'

export type Posting = Extract<ExecutionEvent, { e: 'begin' | 'end' }>

/** All that is known of one key. */
export interface KeyHistory {
  readonly key: string
  readonly content: Content
  /** In the order in which they were made. */
  readonly attempts: readonly Attempt[]
  /** Attempts at another request under the same key. */
  readonly altered: readonly Attempt[]
  readonly events: readonly ExecutionEvent[]
  readonly begins: readonly Posting[]
  readonly ends: readonly Posting[]
  /** Of the node of this key's bank. */
  readonly interruptions: readonly Interruption[]
  readonly journal: JournalView | undefined
  readonly hasJournal: boolean
  readonly onceOnly: OnceOnlyView | undefined
  readonly hasOnceOnly: boolean
}

type Found = Omit<Violation, 'key'>
type Check = (history: KeyHistory) => Iterable<Found>

/** Writing down that an effect took place may take this long before its node is killed and leaves it in doubt. */
const FINISH_WITHIN_MS = 10_000

export const CHECKS: readonly Check[] = [
  everyKeyEnds,
  answersWereExecuted,
  answersAreTheSame,
  denialsWereNotExecuted,
  doubtIsExplained,
  effectsAreSingle,
  effectsWereAsked,
  alteredRequestsAreRefused,
  journalAgrees,
  onceOnlyTableAgrees,
]

function* everyKeyEnds({ attempts }: KeyHistory): Iterable<Found> {
  if (verdictOf(attempts) === 'unknown') {
    yield { class: 'lost', rule: 'no-outcome', detail: 'nobody was told how the request ended' }
  }
}

function* answersWereExecuted({ attempts, ends }: KeyHistory): Iterable<Found> {
  if (ends.length === 0 && verdictOf(attempts) === 'answered') {
    yield { class: 'lost', rule: 'answered-not-executed', detail: 'an answer was given and nothing was done' }
  }
}

function* answersAreTheSame({ key, attempts, ends }: KeyHistory): Iterable<Found> {
  const answers = attempts.filter(({ outcome }) => outcome === 'answered')
  const receipts = new Set(answers.map(({ receipt }) => receipt))
  if (receipts.size > 1) {
    yield { class: 'duplicated', rule: 'two-answers', detail: `receipts ${[...receipts].join(', ')}` }
  }
  for (const { receipt, echo } of answers) {
    if (echo !== key) yield { class: 'disagreed', rule: 'answer-of-another-key', detail: `the answer is for ${echo}` }
    if (ends.length > 0 && !ends.some((end) => end.receipt === receipt)) {
      yield { class: 'disagreed', rule: 'answer-of-no-execution', detail: `no execution gave the receipt ${receipt}` }
    }
  }
}

function* denialsWereNotExecuted(history: KeyHistory): Iterable<Found> {
  const verdict = verdictOf(history.attempts)
  if (verdict !== 'refused' && verdict !== 'not-sent') return
  if (history.ends.length + standingBegins(history).length > 0) {
    yield { class: 'lost', rule: 'executed-though-denied', detail: `told ${verdict}, and it was begun or done` }
  }
}

/** Beginnings without those that died with their process and of which the handler said later that nothing happened. */
function standingBegins({ events, begins }: KeyHistory): readonly Posting[] {
  const takenBackAt = events.findLastIndex((event) => event.e === 'inquiry' && !event.done)
  return begins.filter((begin) => events.indexOf(begin) > takenBackAt)
}

/** The only excuse is a node that ended inside the handler and whose handler cannot be asked. */
function* doubtIsExplained(history: KeyHistory): Iterable<Found> {
  const { attempts, content } = history
  if (verdictOf(attempts) !== 'in-doubt') return
  if (content.method === 'post') {
    yield { class: 'lost', rule: 'unexplained-doubt', detail: 'in doubt at the end, and the handler can be asked' }
  } else if (!history.interruptions.some((interruption) => mayHaveInterrupted(interruption, history))) {
    yield {
      class: 'lost',
      rule: 'unexplained-doubt',
      detail: 'in doubt at the end, and the node did not end inside it',
    }
  }
}

function mayHaveInterrupted({ fromMs, toMs }: Interruption, { attempts, begins, ends }: KeyHistory): boolean {
  const lastMs = Math.max(...attempts.map(({ submittedAtMs, endedAtMs }) => endedAtMs ?? submittedAtMs))
  const firstMs = begins[0]?.t ?? attempts[0]?.submittedAtMs ?? 0
  const latestMs = ends[0] === undefined ? lastMs : Math.min(lastMs, ends[0].t + FINISH_WITHIN_MS)
  return fromMs <= latestMs && toMs >= firstMs
}

function* effectsAreSingle({ events, begins, ends }: KeyHistory): Iterable<Found> {
  if (ends.length > 1) {
    yield { class: 'duplicated', rule: 'executed-twice', detail: `${ends.length} effects` }
  }
  // A promise that nothing happened allows one more beginning.
  const promises = events.filter((event) => event.e === 'inquiry' && !event.done).length
  if (begins.length > 1 + promises) {
    yield { class: 'duplicated', rule: 'begun-twice', detail: `${begins.length} beginnings, ${promises} inquiries` }
  }
  const firstEnd = ends[0]
  if (firstEnd !== undefined && begins.some(({ t }) => t > firstEnd.t)) {
    yield { class: 'duplicated', rule: 'begun-after-its-end', detail: 'begun again when it had taken effect' }
  }
}

function* effectsWereAsked(history: KeyHistory): Iterable<Found> {
  const { content, attempts, begins } = history
  const [first] = standingBegins(history)
  if (begins.length > 0 && attempts.length === 0) {
    yield { class: 'duplicated', rule: 'executed-unasked', detail: 'no app asked for it' }
  } else if (
    first !== undefined &&
    !attempts.some((attempt) => mayHaveRun(attempt) && attempt.submittedAtMs <= first.t)
  ) {
    const detail = 'begun before any attempt that was not refused or not sent'
    yield { class: 'lost', rule: 'executed-though-denied', detail }
  }
  if (begins.some(({ amountMinor }) => amountMinor !== content.amountMinor)) {
    yield { class: 'duplicated', rule: 'altered-executed', detail: 'another request was executed under this key' }
  }
}

function* alteredRequestsAreRefused({ altered }: KeyHistory): Iterable<Found> {
  if (altered.some(({ outcome }) => outcome === 'answered')) {
    const detail = 'another request under this key got the answer of the first'
    yield { class: 'disagreed', rule: 'altered-answered', detail }
  }
}

function* journalAgrees({ content, attempts, journal, hasJournal }: KeyHistory): Iterable<Found> {
  if (!hasJournal || !content.durable) return
  const verdict = verdictOf(attempts)
  if (verdict === 'unknown' || verdict === 'never-accepted') return
  if (journal === undefined) {
    // Refused at the door, it never was in the journal.
    if (verdict === 'refused') return
    yield { class: 'disagreed', rule: 'journal', detail: `told ${verdict}, and the journal does not know the key` }
    return
  }
  const told = journal.state === 'settled' ? journal.outcome : journal.state
  if (told !== verdict) {
    // A refusal at the door, of a key that had been given up as not sent or was refused by the node.
    yield { class: 'disagreed', rule: 'journal', detail: `told ${verdict}, and the journal says ${told}` }
  } else if (verdict === 'answered' && !attempts.some(({ receipt }) => receipt === journal.receipt)) {
    yield { class: 'disagreed', rule: 'journal', detail: `the journal has the receipt ${journal.receipt}` }
  }
}

function* onceOnlyTableAgrees(history: KeyHistory): Iterable<Found> {
  const { attempts, ends, onceOnly, hasOnceOnly } = history
  if (!hasOnceOnly) return
  const kind = onceOnly?.kind ?? 'never'
  const verdict = verdictOf(attempts)
  const expected = { answered: 'done', refused: 'never', 'not-sent': 'never', 'in-doubt': 'begun' } as const
  if (verdict === 'unknown' || verdict === 'never-accepted') return
  if (verdict === 'answered' && kind === 'begun' && diedBeforeItsDiskWasWell(history)) return
  if (kind !== expected[verdict]) {
    yield { class: 'disagreed', rule: 'once-only', detail: `told ${verdict}, and the node's table says ${kind}` }
  } else if (kind === 'done' && !ends.some(({ receipt }) => receipt === onceOnly?.receipt)) {
    yield { class: 'disagreed', rule: 'once-only', detail: `the node's table has the receipt ${onceOnly?.receipt}` }
  }
}

/** An answer leaves also when the disk cannot take it: the node tries again, and may end before that succeeds. */
function diedBeforeItsDiskWasWell({ ends, interruptions }: KeyHistory): boolean {
  const doneMs = ends[0]?.t ?? 0
  const failing = interruptions.find(
    ({ cause, fromMs, toMs }) => cause === 'disk' && fromMs <= doneMs && doneMs <= toMs,
  )
  if (failing === undefined) return false
  return interruptions.some(({ cause, fromMs }) => cause === 'end' && fromMs >= doneMs && fromMs <= failing.toMs)
}
