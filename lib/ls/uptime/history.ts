import type { DropCause } from '../../channel/index.ts'
import type { ErrorCode } from '../../runtime/index.ts'
import { foldByHour, noEvents, type Span, type SpanEvents } from './span.ts'
import { isUp, type Transition } from './transition.ts'

const DEFAULT_MAX_SPANS = 4_096
/** A wall clock set back by less is waited for; by more, the history starts anew. */
const MAX_CLOCK_STEP_MS = 300_000
const ATTEMPT_STATES = ['dialing', 'securing']

export interface LastDrop {
  readonly atMs: number
  readonly cause: DropCause
  readonly code?: ErrorCode | undefined
  readonly detail?: string | undefined
  readonly sessionId?: string | undefined
}

interface OpenSpan {
  readonly startMs: number
  readonly up: boolean
  readonly events: SpanEvents
}

/** The ups and downs of one link, from its transitions. Pure: no clock, no IO. */
export class LinkHistory {
  readonly #maxSpans: number
  #closed: Span[] = []
  #open: OpenSpan | undefined
  #sinceMs = 0
  #lastAtMs = 0
  /** When the outage that lasts began; undefined while up and before the first connect. */
  #outageSinceMs: number | undefined
  #lastDrop: LastDrop | undefined

  constructor(maxSpans = DEFAULT_MAX_SPANS) {
    this.#maxSpans = maxSpans
  }

  /** The link's own states are known from here on: the first transition tells how long its `from` had lasted. */
  get knownSinceMs(): number | undefined {
    return this.#closed[0]?.startMs ?? this.#open?.startMs
  }

  get up(): boolean {
    return this.#open?.up ?? false
  }

  /** When it last went up or down. */
  get sinceMs(): number {
    return this.#sinceMs
  }

  get lastAtMs(): number {
    return this.#lastAtMs
  }

  get lastDrop(): LastDrop | undefined {
    return this.#lastDrop
  }

  /** Oldest first, the lasting one cut off at `nowMs`. */
  spans(nowMs: number): Span[] {
    if (this.#open === undefined) return []
    const endMs = Math.max(nowMs, this.#open.startMs)
    return [...this.#closed, closeAt(this.#open, endMs)]
  }

  /**
   * Adds a transition and returns it with the time it counts at: never before the one before it. False in `continues`
   * says that the wall clock was set back so far that the history began anew.
   */
  append(transition: Transition): { transition: Transition; continues: boolean } {
    const continues = transition.atMs >= this.#lastAtMs - MAX_CLOCK_STEP_MS
    if (!continues) this.#forget()
    const atMs = Math.max(transition.atMs, this.#lastAtMs)
    const wasUp = isUp(transition.from)
    this.#open ??= this.#begin(atMs - transition.durationMs, wasUp)
    // A transition was lost, which a full disk or a damaged record can do: `from` tells what had become of the link.
    if (this.#open.up !== wasUp) {
      this.#change(Math.max(this.#open.startMs, atMs - transition.durationMs), wasUp, { cause: 'local' })
    }
    if (isUp(transition.to) !== wasUp) this.#change(atMs, isUp(transition.to), transition)
    else if (!wasUp && transition.cause !== undefined && ATTEMPT_STATES.includes(transition.from)) {
      this.#next(atMs, false, { ...noEvents(), failedAttempts: { [transition.cause]: 1 } })
    }
    this.#lastAtMs = atMs
    return { transition: atMs === transition.atMs ? transition : { ...transition, atMs }, continues }
  }

  /** Lets go of what ended before `beforeMs`. */
  prune(beforeMs: number): void {
    const keepFrom = this.#closed.findIndex((span) => span.endMs > beforeMs)
    this.#closed = keepFrom === -1 ? [] : this.#closed.slice(keepFrom)
  }

  #begin(startMs: number, up: boolean): OpenSpan {
    this.#sinceMs = startMs
    return { startMs, up, events: noEvents() }
  }

  #change(atMs: number, up: boolean, facts: Partial<Transition>): void {
    const events = noEvents()
    if (up) {
      events.connects = 1
      if (this.#outageSinceMs !== undefined) {
        events.restores = 1
        events.restoredMs = atMs - this.#outageSinceMs
      }
      this.#outageSinceMs = undefined
    } else {
      const cause = facts.cause ?? 'local'
      events.drops = { [cause]: 1 }
      this.#outageSinceMs = atMs
      this.#lastDrop = { atMs, cause, code: facts.code, detail: facts.detail, sessionId: facts.sessionId }
    }
    this.#sinceMs = atMs
    this.#next(atMs, up, events)
  }

  #next(atMs: number, up: boolean, events: SpanEvents): void {
    if (this.#open !== undefined) this.#closed.push(closeAt(this.#open, atMs))
    this.#open = { startMs: atMs, up, events }
    if (this.#closed.length <= this.#maxSpans) return
    const half = this.#closed.length >> 1
    this.#closed = [...foldByHour(this.#closed.slice(0, half)), ...this.#closed.slice(half)]
  }

  #forget(): void {
    this.#closed = []
    this.#open = undefined
    this.#lastAtMs = 0
    this.#outageSinceMs = undefined
  }
}

function closeAt(open: OpenSpan, endMs: number): Span {
  return { startMs: open.startMs, endMs, upMs: open.up ? endMs - open.startMs : 0, events: open.events }
}
