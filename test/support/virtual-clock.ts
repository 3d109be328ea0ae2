import type { Clock, TimerHandle } from '../../lib/runtime/index.ts'

interface VirtualTimer {
  readonly atMs: number
  readonly order: number
  readonly fire: () => void
}

/** A clock that stands still until the test moves it. */
export class VirtualClock implements Clock {
  #monotonicMs = 0
  #order = 0
  readonly #epochMs: number
  readonly #timers = new Set<VirtualTimer>()

  constructor(epochMs = 1_800_000_000_000) {
    this.#epochMs = epochMs
  }

  nowMs(): number {
    return this.#epochMs + this.#monotonicMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  startTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = { atMs: this.#monotonicMs + Math.max(0, delayMs), order: this.#order++, fire }
    this.#timers.add(timer)
    return timer
  }

  cancelTimer(timer: TimerHandle): void {
    this.#timers.delete(timer as VirtualTimer)
  }

  get pendingTimers(): number {
    return this.#timers.size
  }

  /** Moves time on, firing what falls due in order; lets promise callbacks run between timers. */
  async advance(durationMs: number): Promise<void> {
    const untilMs = this.#monotonicMs + durationMs
    for (;;) {
      await settle()
      let due: VirtualTimer | undefined
      for (const timer of this.#timers) {
        if (timer.atMs > untilMs) continue
        if (due === undefined || timer.atMs < due.atMs || (timer.atMs === due.atMs && timer.order < due.order))
          due = timer
      }
      if (due === undefined) break
      this.#timers.delete(due)
      this.#monotonicMs = Math.max(this.#monotonicMs, due.atMs)
      due.fire()
    }
    this.#monotonicMs = untilMs
    await settle()
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
}
