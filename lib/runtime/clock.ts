/** A started timer; opaque to all but the clock that made it. */
export type TimerHandle = object

/**
 * Time and timers, handed in wherever they are needed, so that tests drive them.
 * `nowMs` is wall time (Unix ms): for records and validity windows. `monotonicMs` never jumps: for deadlines.
 */
export interface Clock {
  nowMs(): number
  monotonicMs(): number
  /** Calls `fire` once after `delayMs`, or after 24 days if that is longer. A timer does not keep the process alive. */
  startTimer(delayMs: number, fire: () => void): TimerHandle
  cancelTimer(timer: TimerHandle): void
}

/** Node counts a timer in 31 bits, and fires a longer one at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  startTimer: (delayMs, fire) => setTimeout(fire, Math.min(Math.max(0, delayMs), LONGEST_TIMER_MS)).unref(),
  cancelTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
}

/**
 * Keeps the process running until the returned function is called: timers do not, so that a daemon that waits for its next
 * attempt, with no socket open, would end.
 */
export function holdProcess(): () => void {
  const longestMs = 2 ** 31 - 1
  const timer = setInterval(() => {}, longestMs)
  return () => clearInterval(timer)
}

/** Resolves after `delayMs`; rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    const onAbort = () => {
      clock.cancelTimer(timer)
      reject(signal?.reason)
    }
    const timer = clock.startTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
