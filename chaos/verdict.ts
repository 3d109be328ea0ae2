import type { Attempt, Outcome } from './history.ts'

/** The one outcome of a key, or that nobody knows it, or that LS never had it. */
export type Verdict = Outcome | 'unknown' | 'never-accepted'

/**
 * The last view of those who asked for a key. An answer stands whatever came later: an attempt that was not carried says
 * nothing of the others.
 */
export function verdictOf(attempts: readonly Attempt[]): Verdict {
  if (attempts.some(({ outcome }) => outcome === 'answered')) return 'answered'
  const heard = attempts.filter(({ outcome }) => outcome !== 'unsent')
  if (heard.length === 0) return 'never-accepted'
  const last = heard.reduce((one, other) => (endOf(other) >= endOf(one) ? other : one))
  return last.outcome === 'lost' || last.outcome === 'unsent' ? 'unknown' : last.outcome
}

/** An app that was killed never knew: whoever asked later knows better. */
function endOf(attempt: Attempt): number {
  return attempt.endedAtMs ?? attempt.submittedAtMs
}

/** May this attempt have carried its request to the handler? */
export function mayHaveRun({ outcome }: Attempt): boolean {
  return outcome === 'answered' || outcome === 'in-doubt' || outcome === 'lost'
}
