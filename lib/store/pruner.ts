import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Clock, describeError, type Logger, type TimerHandle } from '../runtime/index.ts'
import type { Change } from './change.ts'
import { positionAt } from './positions.ts'
import type { TransactionalStore } from './store.ts'
import type { TimeIndex, TimeIndexEntry } from './time-index.ts'

/** Of keys; a key is a handful of changes, and what is one commit should stay well below a thousand. */
const BATCH = 128
/** How far the wall clock may run ahead of the monotonic one: what a time service corrects in a step on a healthy machine. */
const MAX_STEP_MS = 60_000

export interface PrunerOptions {
  readonly store: TransactionalStore
  readonly index: Pick<TimeIndex, 'oldest' | 'toRemove' | 'toAdd'>
  /** How long a key is kept after its last write. */
  readonly keepMs: number
  readonly intervalMs: number
  /** Wall time of the last write under a key; `held` while it must stay whatever its age; undefined where there is none. */
  readonly lastWriteMs: (key: string) => number | 'held' | undefined
  /** What else is removed with the index entry. */
  readonly removalsOf: (key: string) => readonly Change[]
  /** The note of an entry that is moved. Default: none. */
  readonly note?: string
  /** Called when these keys are gone from the disk. */
  readonly onRemoved: (keys: readonly string[]) => void
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * Removes what is older than its time, in bounded batches, found by a time index. An entry stands where its key was
 * begun; one that was written later than that is moved there when it would fall due, which spares a write for each.
 * A wall clock that jumps ahead makes nothing old: time passes as the monotonic clock says, from the start of the process.
 */
export class Pruner {
  readonly #options: PrunerOptions
  readonly #removing = new Set<string>()
  #removal: Promise<void> = Promise.resolve()
  #timer: TimerHandle | undefined
  #stop: AbortController | undefined
  #pass: Promise<void> = Promise.resolve()
  /** Wall time less monotonic time when this process began: what it is still believed to be, at most. */
  readonly #epochMs: number
  #saidJump = false

  constructor(options: PrunerOptions) {
    this.#options = options
    this.#epochMs = options.clock.nowMs() - options.clock.monotonicMs()
  }

  /** A promise while the key's removal is on its way to the disk. */
  removalOf(key: string): Promise<void> | undefined {
    return this.#removing.has(key) ? this.#removal : undefined
  }

  start(): void {
    if (this.#stop !== undefined) return
    this.#stop = new AbortController()
    this.#arm(this.#stop.signal)
  }

  /** Waits for the batch that is under way. */
  async stop(): Promise<void> {
    if (this.#timer !== undefined) this.#options.clock.cancelTimer(this.#timer)
    this.#timer = undefined
    this.#stop?.abort()
    await this.#pass
  }

  #arm(signal: AbortSignal): void {
    const { clock, intervalMs, logger } = this.#options
    this.#timer = clock.startTimer(intervalMs, () => {
      this.#timer = undefined
      this.#pass = this.#prune(signal)
        .catch((error) => {
          logger.warn({ error: describeError(error) }, 'old records cannot be removed now; trying again')
        })
        .then(() => {
          if (!signal.aborted) this.#arm(signal)
        })
    })
  }

  async #prune(signal: AbortSignal): Promise<void> {
    const { index, keepMs } = this.#options
    let after: TimeIndexEntry | undefined
    while (!signal.aborted) {
      const dueMs = this.#believedNowMs() - keepMs
      const entries = index.oldest(BATCH, { after, beforeMs: dueMs })
      after = entries.at(-1)
      if (after === undefined) return
      await this.#pruneBatch(entries, dueMs)
      await nextTurn()
    }
  }

  #believedNowMs(): number {
    const { clock, keepMs, logger } = this.#options
    const latestMs = this.#epochMs + clock.monotonicMs() + Math.min(MAX_STEP_MS, keepMs / 10)
    const aheadMs = clock.nowMs() - latestMs
    if (aheadMs > 0 && !this.#saidJump) {
      this.#saidJump = true
      logger.warn(
        { aheadMs: Math.round(aheadMs) },
        'the clock of this machine jumped ahead: records are kept for longer until the next start; check its time service',
      )
    }
    return Math.min(clock.nowMs(), latestMs)
  }

  async #pruneBatch(entries: readonly TimeIndexEntry[], dueMs: number): Promise<void> {
    const { store, index, lastWriteMs, removalsOf, note } = this.#options
    // Apart from each other: in a full store only what removes is allowed.
    const removals: Change[] = []
    const moves: Change[] = []
    const keys: string[] = []
    for (const entry of entries) {
      const writtenMs = this.#readable(() => lastWriteMs(entry.key))
      if (writtenMs === 'held') continue
      if (writtenMs !== undefined && writtenMs >= dueMs) {
        moves.push(index.toRemove(entry), index.toAdd({ position: positionAt(writtenMs), key: entry.key }, note))
        continue
      }
      removals.push(index.toRemove(entry))
      if (writtenMs === undefined) continue
      removals.push(...removalsOf(entry.key))
      keys.push(entry.key)
    }
    const written = await Promise.allSettled([this.#remove(removals, keys), store.write(moves, 'finishes')])
    for (const result of written) if (result.status === 'rejected') throw result.reason
  }

  async #remove(removals: readonly Change[], keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#removing.add(key)
    const write = this.#options.store.write(removals, 'finishes')
    this.#removal = write.catch(() => {})
    try {
      await write
      this.#options.onRemoved(keys)
    } finally {
      this.#removing.clear()
    }
  }

  /** What is damaged stays: somebody may have to look at it. */
  #readable(read: () => number | 'held' | undefined): number | 'held' | undefined {
    try {
      return read()
    } catch {
      return 'held'
    }
  }
}
