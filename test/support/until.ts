import { setImmediate as nextTurn } from 'node:timers/promises'

const STALL_MS = 20_000

/** Lets real events happen until `condition` holds. Rejects when it does not for 20 s. */
export async function until(condition: () => boolean): Promise<void> {
  const giveUpMs = performance.now() + STALL_MS
  while (!condition()) {
    if (performance.now() > giveUpMs) throw new Error(`not within ${STALL_MS} ms: ${condition}`)
    await nextTurn()
  }
}
