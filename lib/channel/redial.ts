import pRetry from 'p-retry'
import { type Clock, LsxError, sleep, toLsxError } from '../runtime/index.ts'
import { Backoff, type BackoffTerms } from './backoff.ts'
import type { DialSlots } from './dial-slots.ts'

/** One attempt to have a channel, in two phases: up to keyed, and from there to its end. */
export interface ChannelAttempt {
  /** Resolves when the channel is keyed; rejects when the dial or the kx failed. Holds a dial slot meanwhile. */
  connect(signal: AbortSignal): Promise<void>
  /** Resolves when the channel that `connect` made has ended. */
  ended(signal: AbortSignal): Promise<void>
}

export interface RedialOptions {
  readonly attempt: ChannelAttempt
  readonly backoff: BackoffTerms
  readonly slots: DialSlots
  readonly clock: Clock
  readonly random: () => number
  readonly signal: AbortSignal
  readonly onWaiting: (delayMs: number) => void
}

/**
 * Keeps a channel up until the signal aborts, and resolves then. p-retry runs the loop without delays of its own: it
 * would draw its jitter before the cap. Each failure is wrapped, since it gives up on a TypeError.
 */
export async function keepConnected(options: RedialOptions): Promise<void> {
  const { attempt, slots, clock, signal } = options
  const backoff = new Backoff(options.backoff, options.random)
  const once = async (): Promise<void> => {
    try {
      const release = await slots.acquire(signal)
      try {
        await attempt.connect(signal)
      } finally {
        release()
      }
      const upSinceMs = clock.monotonicMs()
      await attempt.ended(signal)
      backoff.connectionEnded({ upSinceMs, nowMs: clock.monotonicMs() })
    } catch (error) {
      throw toLsxError(error)
    }
    throw new LsxError('CHANNEL_DOWN', 'the channel ended')
  }
  try {
    await pRetry(once, {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 0,
      factor: 1,
      signal,
      onFailedAttempt: async () => {
        const delayMs = backoff.nextDelayMs(clock.monotonicMs())
        options.onWaiting(delayMs)
        await sleep(clock, delayMs, signal)
      },
    })
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
