const TIME_DIGITS = 12
const COUNT_DIGITS = 4
export const POSITION_DIGITS = TIME_DIGITS + COUNT_DIGITS
const MAX_COUNT = 16 ** COUNT_DIGITS - 1
const MAX_TIME_MS = 16 ** TIME_DIGITS - 1
/** A position further ahead than this comes from a clock that was wrong, and is not followed. */
const MAX_LEAD_MS = 3_600_000
const POSITION = /^[0-9a-f]{16}$/

/**
 * Gives out positions: 16 hexadecimal digits, a u64 of 48 bits of Unix ms and a 16-bit count within it. They grow from call
 * to call also where the wall clock stands still or is set back a little, so that they tell an order as well as a time.
 */
export class Positions {
  #lastMs = 0
  #lastCount = 0

  /** `last` is the newest position that was given out before. */
  constructor(last?: string) {
    if (last === undefined) return
    this.#lastMs = timeOf(last)
    this.#lastCount = Number.parseInt(last.slice(TIME_DIGITS), 16)
  }

  /** The position of something that happens at `atMs` (wall), after all others. */
  next(atMs: number): string {
    const ms = bounded(atMs)
    if (ms > this.#lastMs || this.#lastMs - ms > MAX_LEAD_MS) {
      this.#lastMs = ms
      this.#lastCount = 0
    } else if (this.#lastCount < MAX_COUNT) {
      this.#lastCount++
    } else {
      this.#lastMs++
      this.#lastCount = 0
    }
    return hex(this.#lastMs, TIME_DIGITS) + hex(this.#lastCount, COUNT_DIGITS)
  }
}

export function isPosition(text: string): boolean {
  return POSITION.test(text)
}

/** The first position of a moment. */
export function positionAt(atMs: number): string {
  return hex(bounded(atMs), TIME_DIGITS) + '0'.repeat(COUNT_DIGITS)
}

/** Unix ms of a position. */
export function timeOf(position: string): number {
  return Number.parseInt(position.slice(0, TIME_DIGITS), 16)
}

function bounded(ms: number): number {
  return Math.min(Math.max(0, Math.floor(ms)), MAX_TIME_MS)
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
