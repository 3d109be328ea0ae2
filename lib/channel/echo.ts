/**
 * The echo of one side of one channel, as data. Every interval an ECHO goes out; its reply is due within the time-out,
 * and in any case before the next one goes out. `missed` counts misses and mismatches in a row.
 */
export interface EchoState {
  readonly nextNumber: number
  readonly nextAtMs: number
  readonly awaited: { readonly number: number; readonly sentAtMs: number; readonly dueAtMs: number } | undefined
  readonly missed: number
}

export interface EchoTerms {
  readonly echoIntervalMs: number
  readonly echoTimeoutMs: number
}

/** An echo that is sent at `firstAtMs` for the first time. */
export function startEcho(firstAtMs: number): EchoState {
  return { nextNumber: 0, nextAtMs: firstAtMs, awaited: undefined, missed: 0 }
}

/** When the echo next wants to be looked at. */
export function echoDeadlineMs(echo: EchoState): number {
  return echo.awaited === undefined ? echo.nextAtMs : Math.min(echo.awaited.dueAtMs, echo.nextAtMs)
}

/** Time has passed: counts a miss where a reply is overdue, and says the number to send where the interval is over. */
export function advanceEcho(echo: EchoState, terms: EchoTerms, nowMs: number): { echo: EchoState; send?: number } {
  let current = echo
  if (current.awaited !== undefined && nowMs >= current.awaited.dueAtMs) {
    current = { ...current, awaited: undefined, missed: current.missed + 1 }
  }
  if (nowMs < current.nextAtMs) return { echo: current }
  const number = current.nextNumber
  return {
    echo: {
      nextNumber: (number + 1) >>> 0,
      nextAtMs: nowMs + terms.echoIntervalMs,
      awaited: { number, sentAtMs: nowMs, dueAtMs: nowMs + Math.min(terms.echoTimeoutMs, terms.echoIntervalMs) },
      missed: current.missed,
    },
    send: number,
  }
}

/** A reply came. One that answers the awaited echo and names the right session clears the misses; any other is a mismatch. */
export function echoAnswered(
  echo: EchoState,
  reply: { number: number; sessionMatches: boolean },
  nowMs: number,
): { echo: EchoState; roundTripMs?: number } {
  const awaited = echo.awaited
  if (awaited === undefined || awaited.number !== reply.number) {
    // A reply to an echo that was already counted as missed changes nothing.
    return { echo }
  }
  if (!reply.sessionMatches) return { echo: { ...echo, awaited: undefined, missed: echo.missed + 1 } }
  return { echo: { ...echo, awaited: undefined, missed: 0 }, roundTripMs: nowMs - awaited.sentAtMs }
}

/** Body of ECHO and ECHO_REPLY alike. */
export function echoBody(
  session: { readonly sessionId: Buffer; readonly bankCode: string },
  n: number,
): Record<string, unknown> {
  return { sessionId: session.sessionId, bankCode: session.bankCode, n }
}
