const WINDOW = 64
/** Fewer tell nothing about the slowest tenth. */
const MIN_SAMPLES = 20
const RECOMPUTE_EVERY = 8
/**
 * What was learned is forgotten when nothing has run for so long: a method that is refused for being slow gets no
 * samples that could show that it is fast again.
 */
const STALE_AFTER_MS = 30_000

/**
 * Learns how long a method takes: the 90th percentile of its last 64 runs. A refusal is safe to retry and an answer
 * that is late leaves a payment in doubt, so the bar is what nine in ten runs keep, and not the mean.
 */
export class ExpectedDuration {
  readonly #samples = new Float64Array(WINDOW)
  #count = 0
  #lastSampleMs = 0
  #percentileMs = 0

  /** Adds one run. Both in ms, `nowMs` monotonic. */
  add(durationMs: number, nowMs: number): void {
    if (this.#isStale(nowMs)) this.#count = 0
    this.#samples[this.#count % WINDOW] = durationMs
    this.#count += 1
    this.#lastSampleMs = nowMs
    if (this.#count === MIN_SAMPLES || (this.#count > MIN_SAMPLES && this.#count % RECOMPUTE_EVERY === 0)) {
      this.#percentileMs = percentile90(this.#samples, Math.min(this.#count, WINDOW))
    }
  }

  /** Ms, or 0 while too little is known. */
  expectedMs(nowMs: number): number {
    return this.#count < MIN_SAMPLES || this.#isStale(nowMs) ? 0 : this.#percentileMs
  }

  #isStale(nowMs: number): boolean {
    return this.#count > 0 && nowMs - this.#lastSampleMs > STALE_AFTER_MS
  }
}

/** Of the first `count` samples. The few largest are kept in order, which takes a tenth of the time of a sort. */
function percentile90(samples: Float64Array, count: number): number {
  const kept = count - Math.floor((count - 1) * 0.9)
  for (let index = 0; index < count; index++) {
    const sample = samples[index] as number
    let place = Math.min(index, kept)
    if (place === kept && sample <= (largest[kept - 1] as number)) continue
    if (place === kept) place--
    for (; place > 0 && (largest[place - 1] as number) < sample; place--) largest[place] = largest[place - 1] as number
    largest[place] = sample
  }
  return largest[kept - 1] as number
}

/** In descending order. */
const largest = new Float64Array(WINDOW)
