import { constants } from 'node:os'
import { type Clock, LsxError, type TimerHandle } from '../runtime/index.ts'
import type { WritePurpose } from './change.ts'

const { errno } = constants

interface Waiter {
  readonly startedMs: number
  readonly writes: number
  readonly reject: (error: LsxError) => void
}

/**
 * Follows every write until it is on disk. LMDB on a full disk can stop with writes that never settle: after
 * `timeoutMs` all that wait are rejected, and so is every later one, because only a fresh process recovers.
 * Commits settle in order, so one timer for the oldest is enough.
 */
export class CommitWatch {
  readonly #timeoutMs: number
  readonly #maxPending: number
  readonly #clock: Clock
  readonly #onStall: (error: LsxError) => void
  readonly #waiting = new Set<Waiter>()
  #pending = 0
  #timer: TimerHandle | undefined
  #stall: LsxError | undefined
  #idleListeners: (() => void)[] = []

  constructor(options: {
    timeoutMs: number
    maxPending: number
    clock: Clock
    onStall: (error: LsxError) => void
  }) {
    this.#timeoutMs = options.timeoutMs
    this.#maxPending = options.maxPending
    this.#clock = options.clock
    this.#onStall = options.onStall
  }

  /** Why the store no longer commits; undefined while it does. */
  get stall(): LsxError | undefined {
    return this.#stall
  }

  get pending(): number {
    return this.#pending
  }

  /**
   * Throws why no write can be started: the stall, or STORE_FULL when too many wait, with those that are `gathered` and
   * not followed yet. What finishes something is not held back: no more of that can come than was begun.
   */
  check(purpose: WritePurpose, gathered = 0): void {
    if (this.#stall !== undefined) throw this.#stall
    const pending = this.#pending + gathered
    if (pending < this.#maxPending || purpose === 'finishes') return
    throw new LsxError('STORE_FULL', 'too many writes wait for the disk', { facts: { pending } })
  }

  /** Starts some writes that are one to LMDB, and resolves when they are on disk. INTERNAL after the time-out. */
  follow(write: () => Promise<unknown>, writes = 1): Promise<void> {
    if (this.#stall !== undefined) return Promise.reject(this.#stall)
    return new Promise((resolve, reject) => {
      const waiter = { startedMs: this.#clock.monotonicMs(), writes, reject }
      let committed: Promise<unknown>
      try {
        committed = write()
      } catch (thrown) {
        reject(commitError(thrown))
        return
      }
      this.#waiting.add(waiter)
      this.#pending += writes
      this.#timer ??= this.#clock.startTimer(this.#timeoutMs, () => this.#oldestIsDue())
      committed.then(
        () => {
          this.#settled(waiter)
          resolve()
        },
        (thrown) => {
          commitCause(thrown).then((cause) => {
            this.#settled(waiter)
            reject(commitError(cause))
          })
        },
      )
    })
  }

  /** Resolves when nothing waits, which the time-out bounds. */
  idle(): Promise<void> {
    if (this.#waiting.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idleListeners.push(resolve))
  }

  #settled(waiter: Waiter): void {
    // A write that was given up at the time-out may still come.
    if (!this.#waiting.delete(waiter)) return
    this.#pending -= waiter.writes
    if (this.#waiting.size > 0) return
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
    this.#timer = undefined
    const listeners = this.#idleListeners
    this.#idleListeners = []
    for (const listener of listeners) listener()
  }

  #oldestIsDue(): void {
    this.#timer = undefined
    const oldest = this.#waiting.values().next().value
    if (oldest === undefined) return
    const waitedMs = this.#clock.monotonicMs() - oldest.startedMs
    if (waitedMs < this.#timeoutMs) {
      this.#timer = this.#clock.startTimer(this.#timeoutMs - waitedMs, () => this.#oldestIsDue())
      return
    }
    const stall = new LsxError('INTERNAL', 'the store stopped committing; the daemon must be restarted', {
      facts: { waitedMs, pending: this.#pending },
    })
    this.#stall = stall
    const waiters = [...this.#waiting]
    for (const waiter of waiters) {
      waiter.reject(stall)
      this.#settled(waiter)
    }
    this.#onStall(stall)
  }
}

/** lmdb rejects a write with an error whose reason is itself a promise, and nobody else handles that one. */
async function commitCause(thrown: unknown): Promise<unknown> {
  if (thrown instanceof Error && 'commitError' in thrown) {
    try {
      await thrown.commitError
    } catch (cause) {
      return cause
    }
  }
  return thrown
}

const MDB_MAP_FULL = -30_792
/** No room: LMDB's map, the disk, the user's quota, the process's limit on file size. */
const FULL_ERRORS: readonly unknown[] = [MDB_MAP_FULL, errno.ENOSPC, errno.EDQUOT, errno.EFBIG]

function commitError(thrown: unknown): LsxError {
  if (thrown instanceof LsxError) return thrown
  const reason = thrown instanceof Error ? thrown.message : String(thrown)
  const isFull = thrown instanceof Error && 'code' in thrown && FULL_ERRORS.includes(thrown.code)
  return new LsxError(isFull ? 'STORE_FULL' : 'INTERNAL', `the store could not commit: ${reason}`, { cause: thrown })
}
