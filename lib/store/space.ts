import { statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, LsxError } from '../runtime/index.ts'

const CHECK_INTERVAL_MS = 1_000

/**
 * Keeps writes away from a full disk, where LMDB may stop for good, and from growing without end: LMDB's own map size
 * is no quota. Looks at most once a second, so a burst can pass the bounds by one second's worth.
 */
export class SpaceBound {
  readonly #path: string
  readonly #maxBytes: number
  readonly #minFreeBytes: number
  readonly #usedBytes: () => number
  readonly #clock: Clock
  #checkedMs = Number.NEGATIVE_INFINITY
  #shortage: LsxError | undefined

  constructor(options: {
    path: string
    maxBytes: number
    minFreeBytes: number
    /** Bytes in live pages; the file itself never shrinks. Asked only when the file has reached `maxBytes`. */
    usedBytes: () => number
    clock: Clock
  }) {
    this.#path = options.path
    this.#maxBytes = options.maxBytes
    this.#minFreeBytes = options.minFreeBytes
    this.#usedBytes = options.usedBytes
    this.#clock = options.clock
  }

  /** The reason why nothing may be added now: STORE_FULL, or INTERNAL when the disk cannot be asked. */
  shortage(): LsxError | undefined {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#checkedMs >= CHECK_INTERVAL_MS) {
      this.#checkedMs = nowMs
      this.#shortage = this.#look()
    }
    return this.#shortage
  }

  #look(): LsxError | undefined {
    const path = this.#path
    try {
      const disk = statfsSync(path)
      const freeBytes = disk.bavail * disk.bsize
      if (freeBytes < this.#minFreeBytes) {
        const facts = { path, freeBytes, minFreeBytes: this.#minFreeBytes }
        return new LsxError('STORE_FULL', `the disk of the store ${path} has too little free space`, { facts })
      }
      if (statSync(join(path, 'data.mdb')).size < this.#maxBytes) return undefined
      const usedBytes = this.#usedBytes()
      if (usedBytes < this.#maxBytes) return undefined
      const facts = { path, usedBytes, maxBytes: this.#maxBytes }
      return new LsxError('STORE_FULL', `the store ${path} is at its configured size`, { facts })
    } catch (cause) {
      return new LsxError('INTERNAL', `cannot read the free space of the store ${path}`, { cause, facts: { path } })
    }
  }
}
