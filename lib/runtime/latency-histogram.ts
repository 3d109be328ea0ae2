/** A quarter of a microsecond: the finest step that is told apart. */
const UNITS_PER_MS = 4_000
/** Below this each value has a bucket of its own; above, each octave has half as many. */
const EXACT = 128
const HALF = EXACT / 2
const EXACT_BITS = 7
/** About 18 minutes; what takes longer counts as that. */
const LARGEST = 2 ** 32 - 1
const BUCKETS = EXACT + (32 - EXACT_BITS) * HALF

/**
 * Counts durations in buckets that grow with the value, as HdrHistogram does: 14 KiB whatever is recorded, and a
 * percentile that is wrong by less than 1 %.
 */
export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS)
  #count = 0
  #sumMs = 0
  #maxMs = 0

  get count(): number {
    return this.#count
  }

  get maxMs(): number {
    return this.#maxMs
  }

  /** 0 where nothing was recorded. */
  get meanMs(): number {
    return this.#count === 0 ? 0 : this.#sumMs / this.#count
  }

  record(ms: number): void {
    const units = Math.min(Math.max(0, ms) * UNITS_PER_MS, LARGEST) >>> 0
    const bucket = bucketOf(units)
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    this.#count++
    this.#sumMs += ms
    if (ms > this.#maxMs) this.#maxMs = ms
  }

  /** The duration that this share of all, 0 to 1, did not exceed; 0 where nothing was recorded. */
  quantileMs(share: number): number {
    const rank = Math.max(1, Math.ceil(Math.min(1, share) * this.#count))
    let seen = 0
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket] ?? 0
      if (seen >= rank) return Math.min(middleOf(bucket) / UNITS_PER_MS, this.#maxMs)
    }
    return 0
  }

  clear(): void {
    this.#counts.fill(0)
    this.#count = 0
    this.#sumMs = 0
    this.#maxMs = 0
  }
}

function bucketOf(units: number): number {
  if (units < EXACT) return units
  // The number of low bits that this octave does not tell apart.
  const coarse = 32 - EXACT_BITS - Math.clz32(units)
  return EXACT + (coarse - 1) * HALF + ((units >>> coarse) - HALF)
}

function middleOf(bucket: number): number {
  if (bucket < EXACT) return bucket + 0.5
  const coarse = Math.floor((bucket - EXACT) / HALF) + 1
  return (((bucket - EXACT) % HALF) + HALF + 0.5) * 2 ** coarse
}
