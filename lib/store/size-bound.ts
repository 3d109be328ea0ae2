import type { Clock } from '../runtime/index.ts'

const MEASURE_INTERVAL_MS = 1_000

interface MeasuredTable {
  readonly liveBytes: number
}

/**
 * A bound on what some tables take on disk. Their pages are measured at most once a second; what is added in between
 * counts by its own size, so the bound can be passed by little more than what is being written.
 */
export class SizeBound {
  readonly #tables: readonly MeasuredTable[]
  readonly #maxBytes: number
  readonly #clock: Clock
  #measuredAtMs = Number.NEGATIVE_INFINITY
  #bytes = 0

  constructor(options: { tables: readonly MeasuredTable[]; maxBytes: number; clock: Clock }) {
    this.#tables = options.tables
    this.#maxBytes = options.maxBytes
    this.#clock = options.clock
  }

  get bytes(): number {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#measuredAtMs >= MEASURE_INTERVAL_MS) {
      this.#measuredAtMs = nowMs
      this.#bytes = this.#tables.reduce((sum, { liveBytes }) => sum + liveBytes, 0)
    }
    return this.#bytes
  }

  hasRoomFor(bytes: number): boolean {
    return this.bytes + bytes <= this.#maxBytes
  }

  add(bytes: number): void {
    this.#bytes += bytes
  }
}
