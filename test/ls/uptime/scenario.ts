import type { Transition } from '../../../lib/ls/uptime/index.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS
/** A full hour, and midnight UTC. */
export const START_MS = 1_800_057_600_000

/** Writes a link's life as a list of times and states; durations and `from` follow by themselves. */
export function lifeOf(
  bankCode: string,
  steps: readonly (readonly [atMs: number, to: string, facts?: Partial<Transition>])[],
): Transition[] {
  let from = 'idle'
  let sinceMs = steps[0]?.[0] ?? 0
  return steps.map(([atMs, to, facts]) => {
    const transition = { atMs, bankCode, from, to, durationMs: atMs - sinceMs, ...facts }
    from = to
    sinceMs = atMs
    return transition
  })
}
