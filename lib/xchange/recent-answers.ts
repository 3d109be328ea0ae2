import type { KnownKey, StoredResponse } from './once-only.ts'

export interface RecentAnswersOptions {
  /** Answers kept at least, once there were as many; at most twice as many are. Default 1,024. */
  readonly entries?: number
  /** The same for the bytes of requests and answers. Default 4 MiB. */
  readonly bytes?: number
}

interface RecentAnswer {
  readonly method: string
  readonly payload: Buffer
  readonly response: StoredResponse
}

const ENTRY_OVERHEAD_BYTES = 256

/**
 * The latest answers of repeatable methods, in memory: a repetition gets the same answer while it is remembered, and runs
 * again after that, which its bank has said does no harm. Two generations, of which the older is forgotten as a whole,
 * cost less than a list in order of use.
 */
export class RecentAnswers {
  readonly #maxEntries: number
  readonly #maxBytes: number
  #young = new Map<string, RecentAnswer>()
  #old = new Map<string, RecentAnswer>()
  #youngBytes = 0

  constructor(options: RecentAnswersOptions = {}) {
    this.#maxEntries = options.entries ?? 1_024
    this.#maxBytes = options.bytes ?? 4 * 1024 * 1024
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  has(key: string): boolean {
    return this.#young.has(key) || this.#old.has(key)
  }

  find(key: string, request: { method: string; payload: Buffer }): KnownKey | undefined {
    const answer = this.#young.get(key) ?? this.#old.get(key)
    if (answer === undefined) return undefined
    if (answer.method !== request.method || !answer.payload.equals(request.payload)) return { kind: 'mismatch' }
    return { kind: 'done', response: answer.response }
  }

  /** Copies the payload: what arrived is a view of a whole frame. */
  keep(key: string, request: { method: string; payload: Buffer }, response: StoredResponse): void {
    const { method, payload } = request
    const bytes = ENTRY_OVERHEAD_BYTES + payload.length + response.payload.length + (response.meta?.length ?? 0)
    if (bytes > this.#maxBytes) return
    if (this.#young.size >= this.#maxEntries || this.#youngBytes + bytes > this.#maxBytes) {
      this.#old = this.#young
      this.#young = new Map()
      this.#youngBytes = 0
    }
    this.#young.set(key, { method, payload: Buffer.from(payload), response })
    this.#youngBytes += bytes
  }
}
