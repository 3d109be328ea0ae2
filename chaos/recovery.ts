import type { Attempt } from './history.ts'

/** The end of a daemon's process, and the banks that had no route then. */
export interface Outage {
  readonly atMs: number
  readonly bankCodes: readonly string[]
}

/**
 * For each outage and bank: from the end of the process to the first answer to a request that was asked after it. What
 * else was broken at the time counts too. Sorted; an outage without any later answer is left out.
 */
export function recoveryTimesMs(
  outages: readonly Outage[],
  attempts: readonly Attempt[],
  bankOf: (key: string) => string,
): number[] {
  const answered = new Map<string, Attempt[]>()
  for (const attempt of attempts) {
    if (attempt.outcome !== 'answered') continue
    const bankCode = bankOf(attempt.key)
    const ofBank = answered.get(bankCode)
    if (ofBank === undefined) answered.set(bankCode, [attempt])
    else ofBank.push(attempt)
  }
  const times: number[] = []
  for (const { atMs, bankCodes } of outages) {
    for (const bankCode of bankCodes) {
      let firstMs = Number.POSITIVE_INFINITY
      for (const { submittedAtMs, endedAtMs = Number.POSITIVE_INFINITY } of answered.get(bankCode) ?? []) {
        if (submittedAtMs > atMs && endedAtMs < firstMs) firstMs = endedAtMs
      }
      if (Number.isFinite(firstMs)) times.push(firstMs - atMs)
    }
  }
  return times.sort((one, other) => one - other)
}

/** Of sorted numbers; 0 where there are none. */
export function percentile(sorted: readonly number[], share: number): number {
  const index = Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)
  return sorted[Math.max(0, index)] ?? 0
}
