import type { Clock, TimerHandle } from '../../lib/runtime/index.ts'

/** What keeps this process alive: sockets, servers, pipes, timers, child processes, by kind. */
export function openHandles(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo().sort()) {
    if (TRANSIENT.has(kind)) continue
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

/** Work under way that ends by itself, and timers: a `CountingClock` counts those of the product. */
const TRANSIENT: ReadonlySet<string> = new Set([
  'FSReqCallback',
  'FSReqPromise',
  'Immediate',
  'ShutdownWrap',
  'TickObject',
  'Timeout',
  'WriteWrap',
])

const POLL_MS = 5

/**
 * Resolves when `condition` holds. For what has no event to wait for, such as the number of open handles; rejects with
 * `describe()` after `withinMs`.
 */
export async function eventually(
  condition: () => boolean,
  describe: () => string,
  withinMs: number = 10_000,
): Promise<void> {
  const untilMs = performance.now() + withinMs
  while (!condition()) {
    if (performance.now() > untilMs) throw new Error(`still not after ${withinMs} ms: ${describe()}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** Resolves when no more handles are open than in `base`. */
export async function untilHandles(base: Readonly<Record<string, number>>, withinMs?: number): Promise<void> {
  const surplus = () => Object.entries(openHandles()).filter(([kind, count]) => count > (base[kind] ?? 0))
  await eventually(
    () => surplus().length === 0,
    () => `open handles ${JSON.stringify(openHandles())}, at first ${JSON.stringify(base)}`,
    withinMs,
  )
}

/** A clock that counts the timers that were started and have neither fired nor been cancelled. */
export class CountingClock implements Clock {
  readonly #clock: Clock
  readonly #pending = new Set<TimerHandle>()
  #aheadMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get pendingTimers(): number {
    return this.#pending.size
  }

  /** From here on both times are so much later. Timers that were started before keep their moment. */
  jump(aheadMs: number): void {
    this.#aheadMs += aheadMs
  }

  nowMs(): number {
    return this.#clock.nowMs() + this.#aheadMs
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs() + this.#aheadMs
  }

  startTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = this.#clock.startTimer(delayMs, () => {
      this.#pending.delete(timer)
      fire()
    })
    this.#pending.add(timer)
    return timer
  }

  cancelTimer(timer: TimerHandle): void {
    this.#pending.delete(timer)
    this.#clock.cancelTimer(timer)
  }
}
