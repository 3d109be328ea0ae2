export interface ThinningLimits {
  /** Events of one kind that are written one by one in a window. */
  readonly perKind: number
  /** Of all kinds together. */
  readonly total: number
  readonly windowMs: number
}

/** Kinds that are counted by name; what else comes is counted together. */
const MAX_KINDS = 256
const OTHERS = 'others'

/**
 * Decides which events of peers are written and which are only counted, so that a hostile peer cannot fill the disk.
 * Pure: times (monotonic ms) are handed in.
 */
export class Thinning {
  readonly #limits: ThinningLimits
  #windowEndMs = Number.NEGATIVE_INFINITY
  #written = 0
  readonly #seen = new Map<string, number>()
  readonly #thinned = new Map<string, number>()

  constructor(limits: ThinningLimits) {
    this.#limits = limits
  }

  /** When the counts are due; undefined while nothing was thinned. */
  get dueAtMs(): number | undefined {
    return this.#thinned.size === 0 ? undefined : this.#windowEndMs
  }

  /** True when this event is to be written. Take what is due before. */
  admits(kind: string, nowMs: number): boolean {
    if (nowMs >= this.#windowEndMs && this.#thinned.size === 0) {
      this.#windowEndMs = nowMs + this.#limits.windowMs
      this.#written = 0
      this.#seen.clear()
    }
    const name = this.#seen.has(kind) || this.#seen.size < MAX_KINDS ? kind : OTHERS
    const seen = (this.#seen.get(name) ?? 0) + 1
    this.#seen.set(name, seen)
    if (seen <= this.#limits.perKind && this.#written < this.#limits.total) {
      this.#written++
      return true
    }
    this.#thinned.set(name, (this.#thinned.get(name) ?? 0) + 1)
    return false
  }

  /** The counts by kind of a window that is over, or of the one that is open with `atOnce`; undefined when there are none. */
  takeCounts(nowMs: number, { atOnce = false } = {}): Record<string, number> | undefined {
    if (this.#thinned.size === 0 || (!atOnce && nowMs < this.#windowEndMs)) return undefined
    const counts = Object.fromEntries(this.#thinned)
    this.#thinned.clear()
    return counts
  }
}
