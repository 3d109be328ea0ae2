import { statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, LsxError } from '../runtime/index.ts'
import type { WritePurpose } from './change.ts'

const CHECK_INTERVAL_MS = 1_000
/** The part of the floor of free space, and the part above the size, that only what finishes something may use. */
const RESERVE = { ofFreeBytes: 0.5, ofMaxBytes: 0.25 } as const

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
  #reserveLeft = true

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

  /** Throws STORE_FULL when nothing may be added now, INTERNAL when the disk cannot be asked. */
  check(purpose: WritePurpose): void {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#checkedMs >= CHECK_INTERVAL_MS) {
      this.#checkedMs = nowMs
      this.#shortage = this.#look()
    }
    if (this.#shortage === undefined || (purpose === 'finishes' && this.#reserveLeft)) return
    throw this.#shortage
  }

  #look(): LsxError | undefined {
    const path = this.#path
    this.#reserveLeft = true
    try {
      const disk = statfsSync(path)
      const freeBytes = disk.bavail * disk.bsize
      if (freeBytes < this.#minFreeBytes) {
        this.#reserveLeft = freeBytes >= this.#minFreeBytes * (1 - RESERVE.ofFreeBytes)
        const facts = { path, freeBytes, minFreeBytes: this.#minFreeBytes }
        return new LsxError('STORE_FULL', `the disk of the store ${path} has too little free space`, { facts })
      }
      if (statSync(join(path, 'data.mdb')).size < this.#maxBytes) return undefined
      const usedBytes = this.#usedBytes()
      if (usedBytes < this.#maxBytes) return undefined
      this.#reserveLeft = usedBytes < this.#maxBytes * (1 + RESERVE.ofMaxBytes)
      const facts = { path, usedBytes, maxBytes: this.#maxBytes }
      return new LsxError('STORE_FULL', `the store ${path} is at its configured size`, { facts })
    } catch (cause) {
      this.#reserveLeft = false
      return new LsxError('INTERNAL', `cannot read the free space of the store ${path}`, { cause, facts: { path } })
    }
  }
}
