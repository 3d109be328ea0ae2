import type { SkippedFault } from './capabilities.ts'
import type { Attempt, ExecutionEvent } from './history.ts'
import type { LedgerResult, Violation } from './ledger-check.ts'
import type { FaultKind } from './schedule.ts'

/** What a run found, as `--json` prints it. */
export interface Figures {
  /** Requests, by key, that LS was asked for; each is one of the next four, or lost. */
  readonly accepted: number
  readonly answered: number
  readonly refused: number
  readonly notSent: number
  readonly inDoubt: number
  /** Effects at the banks. */
  readonly executed: number
  /** Keys. */
  readonly lost: number
  readonly duplicated: number
  /** Keys of which the books of app, LS, node and bank differ. */
  readonly disagreed: number
  /** Each asking, repetitions included. */
  readonly attempts: number
  /** SIGKILLs of daemons, at random times and at failpoints. */
  readonly kills: number
  readonly reconnects: number
  readonly recoveryMsP50: number
  readonly recoveryMsP99: number
  readonly seed: string
  readonly seconds: number
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>
  /** Failpoints at which a daemon ended, with how often. */
  readonly failpoints: Readonly<Record<string, number>>
  readonly skipped: readonly SkippedFault[]
  /** What went wrong beside the ledger. Empty in a good run. */
  readonly problems: readonly string[]
}

/** An offending key with all that is known of it. */
export interface Offence {
  readonly key: string
  readonly violations: readonly Violation[]
  readonly content: unknown
  readonly attempts: readonly Attempt[]
  readonly executions: readonly ExecutionEvent[]
  readonly journal: unknown
  readonly onceOnly: unknown
}

/** Keys with a violation of each class. */
export function violatedKeys({ violations }: LedgerResult): { lost: number; duplicated: number; disagreed: number } {
  const count = (name: Violation['class']) =>
    new Set(violations.filter((violation) => violation.class === name).map(({ key }) => key)).size
  return { lost: count('lost'), duplicated: count('duplicated'), disagreed: count('disagreed') }
}

export function isGood(figures: Figures): boolean {
  return figures.lost + figures.duplicated + figures.disagreed + figures.problems.length === 0
}

export function formatFigures(figures: Figures): string {
  const { faults, failpoints, skipped, problems, ...numbers } = figures
  const lines = Object.entries(numbers).map(([name, value]) => `${name.padEnd(16)}${value}`)
  lines.push(`${'faults'.padEnd(16)}${formatCounts(faults)}`)
  lines.push(`${'failpoints'.padEnd(16)}${formatCounts(failpoints)}`)
  for (const { kind, reason } of skipped) lines.push(`skipped         ${kind}: ${reason}`)
  for (const problem of problems) lines.push(`problem         ${problem}`)
  return `${lines.join('\n')}\n`
}

function formatCounts(counts: Readonly<Record<string, number | undefined>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')
}

/** Times relative to the key's first attempt. */
export function formatOffence(offence: Offence): string {
  const { key, violations, content, attempts, executions, journal, onceOnly } = offence
  const startMs = attempts[0]?.submittedAtMs ?? executions[0]?.t ?? 0
  const at = (ms: number | undefined) => (ms === undefined ? '?' : `${(ms - startMs).toFixed(1)} ms`)
  return [
    `key ${key}`,
    ...violations.map(({ class: kind, rule, detail }) => `  ${kind}: ${rule}: ${detail}`),
    `  request  ${JSON.stringify(content)}`,
    ...attempts.map(({ app, n, submittedAtMs, endedAtMs, outcome, code = '', receipt = '', altered }) => {
      const what = altered ? 'altered' : 'asked'
      return `  ${what}    ${app} #${n} ${at(submittedAtMs)} -> ${at(endedAtMs)} ${outcome} ${code} ${receipt}`
    }),
    ...executions.map((event) => `  bank     ${at(event.t)} ${JSON.stringify(event)}`),
    `  journal  ${JSON.stringify(journal) ?? 'nothing'}`,
    `  node     ${JSON.stringify(onceOnly) ?? 'nothing'}`,
    '',
  ].join('\n')
}
