import { type LastDrop, LinkHistory } from './history.ts'
import { addEvents, type CauseCounts, noEvents, type Span } from './span.ts'
import type { Transition } from './transition.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** The longest window: counts and means are over it too. */
export const LONGEST_WINDOW_MS = 30 * DAY_MS

export interface UptimeFigures {
  readonly up: boolean
  /** When it went up, or down; Unix ms. */
  readonly sinceMs: number
  readonly knownSinceMs: number
  /** Ratio 0 to 1 of the time up, over that part of the window in which the bank was known. */
  readonly uptime1h: number
  readonly uptime24h: number
  readonly uptime7d: number
  readonly uptime30d: number
  /** In the last 30 days, as are all that follow. */
  readonly connects: number
  /** Times that the link went down. */
  readonly dropCount: number
  readonly drops: CauseCounts
  /** Attempts to connect that failed; those of a bank that is long away are kept up to a bound. */
  readonly failedAttempts: CauseCounts
  /** Mean time between drops: time up, divided by drops. Undefined without a drop. */
  readonly mtbfMs?: number
  /** Mean time to restore, of the outages that ended. Undefined without one. */
  readonly mttrMs?: number
  readonly lastDrop?: LastDrop
}

/** The figures of one bank from its transitions, oldest first; undefined without any. */
export function figuresFrom(transitions: Iterable<Transition>, nowMs: number): UptimeFigures | undefined {
  const history = new LinkHistory()
  for (const transition of transitions) history.append(transition)
  return figuresOf(history, nowMs)
}

export function figuresOf(history: LinkHistory, nowMs: number): UptimeFigures | undefined {
  const { knownSinceMs } = history
  if (knownSinceMs === undefined) return undefined
  const spans = history.spans(nowMs)
  const endMs = spans.at(-1)?.endMs ?? nowMs
  const ratio = (windowMs: number): number => {
    const startMs = Math.max(endMs - windowMs, knownSinceMs)
    if (startMs >= endMs) return history.up ? 1 : 0
    return upMsSince(spans, startMs) / (endMs - startMs)
  }
  const counted = noEvents()
  for (const span of spans) if (span.startMs >= endMs - LONGEST_WINDOW_MS) addEvents(counted, span.events)
  const dropCount = Object.values(counted.drops).reduce((sum, count) => sum + count, 0)
  const upMs = upMsSince(spans, endMs - LONGEST_WINDOW_MS)
  return {
    up: history.up,
    sinceMs: history.sinceMs,
    knownSinceMs,
    uptime1h: ratio(HOUR_MS),
    uptime24h: ratio(DAY_MS),
    uptime7d: ratio(7 * DAY_MS),
    uptime30d: ratio(LONGEST_WINDOW_MS),
    connects: counted.connects,
    dropCount,
    drops: counted.drops,
    failedAttempts: counted.failedAttempts,
    ...(dropCount === 0 ? {} : { mtbfMs: upMs / dropCount }),
    ...(counted.restores === 0 ? {} : { mttrMs: counted.restoredMs / counted.restores }),
    ...(history.lastDrop === undefined ? {} : { lastDrop: history.lastDrop }),
  }
}

function upMsSince(spans: readonly Span[], startMs: number): number {
  let upMs = 0
  for (let index = spans.length - 1; index >= 0; index--) {
    const span = spans[index]
    if (span === undefined || span.endMs <= startMs) break
    const lengthMs = span.endMs - span.startMs
    upMs += span.startMs >= startMs ? span.upMs : (span.upMs * (span.endMs - startMs)) / lengthMs
  }
  return upMs
}
