/** What was asked, told and done, as the apps and the banks wrote it down themselves. Times are `monotonicMs`. */

export type Outcome = 'answered' | 'refused' | 'not-sent' | 'in-doubt'

/**
 * How one attempt ended for the app. `lost`: the connection to lsd was lost first, so that only asking again can tell.
 * `unsent`: the client library did not take it.
 */
export type AttemptEnd = Outcome | 'lost' | 'unsent'

/** A line of an app's file. */
export type AppEvent =
  | {
      readonly e: 'submit'
      readonly t: number
      readonly key: string
      /** Counts the attempts of this app. */
      readonly n: number
      readonly timeoutMs: number
      /** The same key with another amount: to be refused. */
      readonly altered?: true
    }
  | {
      readonly e: 'end'
      readonly t: number
      readonly key: string
      readonly n: number
      readonly outcome: AttemptEnd
      readonly code?: string
      /** Of the answer: names the execution. */
      readonly receipt?: string
      /** Of the answer: the key that the handler was called with. */
      readonly echo?: string
    }

/** A line of a bank's execution log. The effect takes place with the line `end`. */
export type ExecutionEvent =
  | {
      readonly e: 'begin' | 'end'
      readonly t: number
      readonly key: string
      readonly amountMinor: number
      readonly receipt: string
      /** The process. */
      readonly boot: string
      readonly declined: boolean
    }
  | { readonly e: 'inquiry'; readonly t: number; readonly key: string; readonly boot: string; readonly done: boolean }

/** An attempt as it is checked. */
export interface Attempt {
  readonly app: string
  readonly key: string
  readonly n: number
  readonly submittedAtMs: number
  /** Undefined when the app was killed before it knew. */
  readonly endedAtMs: number | undefined
  readonly outcome: AttemptEnd
  readonly code: string | undefined
  readonly receipt: string | undefined
  readonly echo: string | undefined
  readonly altered: boolean
}

/** Puts the lines of one app together. An attempt without an end is lost: its app was killed. */
export function attemptsOf(app: string, events: readonly AppEvent[]): Attempt[] {
  const attempts = new Map<number, Attempt>()
  for (const event of events) {
    if (event.e === 'submit') {
      const { key, n, t, altered = false } = event
      const open = {
        outcome: 'lost',
        endedAtMs: undefined,
        code: undefined,
        receipt: undefined,
        echo: undefined,
      } as const
      attempts.set(n, { app, key, n, submittedAtMs: t, altered, ...open })
      continue
    }
    const attempt = attempts.get(event.n)
    if (attempt === undefined) continue
    const { t, outcome, code, receipt, echo } = event
    attempts.set(event.n, { ...attempt, endedAtMs: t, outcome, code, receipt, echo })
  }
  return [...attempts.values()]
}
