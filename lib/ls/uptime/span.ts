import type { DropCause } from '../../channel/index.ts'

export type CauseCounts = { [cause in DropCause]?: number }

/** What happened at the start of a span. */
export interface SpanEvents {
  connects: number
  /** Outages that ended here, and how long they had lasted. */
  restores: number
  restoredMs: number
  drops: CauseCounts
  failedAttempts: CauseCounts
}

/** A stretch of time in which a link was up throughout or down throughout; folded ones hold a mixture of one hour. */
export interface Span {
  readonly startMs: number
  readonly endMs: number
  readonly upMs: number
  readonly events: SpanEvents
}

export function noEvents(): SpanEvents {
  return { connects: 0, restores: 0, restoredMs: 0, drops: {}, failedAttempts: {} }
}

export function addEvents(total: SpanEvents, events: SpanEvents): void {
  total.connects += events.connects
  total.restores += events.restores
  total.restoredMs += events.restoredMs
  addCauses(total.drops, events.drops)
  addCauses(total.failedAttempts, events.failedAttempts)
}

function addCauses(total: CauseCounts, counts: CauseCounts): void {
  for (const [cause, count] of Object.entries(counts) as [DropCause, number][]) {
    total[cause] = (total[cause] ?? 0) + count
  }
}

const HOUR_MS = 3_600_000

/**
 * Merges neighbours that lie within one clock hour, which bounds a link that flaps for weeks. Only an edge of a window
 * that cuts a merged span is then estimated, in proportion.
 */
export function foldByHour(spans: readonly Span[]): Span[] {
  const folded: Span[] = []
  for (const span of spans) {
    const last = folded.at(-1)
    if (last !== undefined && hourOf(span) !== undefined && hourOf(last) === hourOf(span)) {
      const events = noEvents()
      addEvents(events, last.events)
      addEvents(events, span.events)
      folded[folded.length - 1] = { startMs: last.startMs, endMs: span.endMs, upMs: last.upMs + span.upMs, events }
    } else folded.push(span)
  }
  return folded
}

/** The clock hour that holds the whole span, if one does. */
function hourOf(span: Span): number | undefined {
  const hour = Math.floor(span.startMs / HOUR_MS)
  return span.endMs <= (hour + 1) * HOUR_MS ? hour : undefined
}
