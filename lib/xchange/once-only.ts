import { createHash, hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type ResponseRecord, ResponseStatus } from '../frames/index.ts'
import type { Clock, Logger } from '../runtime/index.ts'

/** A response without the id of the request that it answers: what is kept for repetitions of the key. */
export type StoredResponse = Omit<ResponseRecord, 'id'>

/** What the table knows of a key that was used before. */
export type KnownKey =
  | { readonly kind: 'done'; readonly response: StoredResponse }
  /** Runs right now. */
  | { readonly kind: 'running' }
  /**
   * Was begun, and its end is not known: it is not run again unless the handler's inquiry allows it. `isOtherPacket`: it
   * was begun with another ILP packet, so that whatever the inquiry says proves nothing of this one.
   */
  | { readonly kind: 'inDoubt'; readonly isOtherPacket?: boolean }
  /** The same key with another method or payload. */
  | { readonly kind: 'mismatch' }

export type BeginResult = { readonly kind: 'new' } | KnownKey

export type MaybePromise<T> = T | Promise<T>

/**
 * Which keys were executed and what was answered, so that none is executed twice.
 * Each method may answer at once or later: a table in memory costs no turn of the event loop, a durable one waits for its disk.
 *
 * `begin` answering `new` or `inDoubt` hands the key to the caller, who ends with `finish` or `release`.
 * A rejection with STORE_FULL says that the key is new and cannot be recorded; any other that nothing is known.
 */
export interface OnceOnlyTable {
  /** False when it is certain, at little cost, that the key was not used. A table that cannot tell leaves it out. */
  mayKnow?(key: string): boolean
  begin(key: string, digest: Buffer): MaybePromise<BeginResult>
  /** The same without beginning anything. */
  find(key: string, digest: Buffer): MaybePromise<KnownKey | undefined>
  /** Keeps the response. One with status inDoubt says that the key was begun and its end is not known. */
  finish(key: string, response: StoredResponse): MaybePromise<void>
  /** Forgets a key that was begun and of which it is certain that nothing happened. */
  release(key: string): MaybePromise<void>
}

const DIGEST_BYTES = 32
const digested = Buffer.allocUnsafeSlow(16_384) as Buffer & { latin1Write(text: string, offset: number): number }

const PACKET_TAG_BYTES = 8

/**
 * SHA-256 over the method and the payload: tells a repetition from another request under the same key. With an ILP
 * condition the last 8 bytes stand for that.
 */
export function requestDigest(request: { method: string; payload: Buffer }, condition?: Buffer): Buffer {
  const digest = digestOf(request)
  if (condition !== undefined)
    createHash('sha256')
      .update(digest)
      .update(condition)
      .digest()
      .copy(digest, DIGEST_BYTES - PACKET_TAG_BYTES)
  return digest
}

/** The same method and payload, whatever the packet. */
export function isSameRequest(one: Buffer, other: Buffer): boolean {
  const end = DIGEST_BYTES - PACKET_TAG_BYTES
  return one.compare(other, 0, end, 0, end) === 0
}

function digestOf({ method, payload }: { method: string; payload: Buffer }): Buffer {
  const bytes = method.length + 1 + payload.length
  // The NUL ends the method, which is ASCII and cannot contain one.
  if (bytes > digested.length) return createHash('sha256').update(`${method}\0`).update(payload).digest()
  digested.latin1Write(method, 0)
  digested[method.length] = 0
  digested.set(payload, method.length + 1)
  // One call, and latin1 for its result, take a quarter of the time.
  return Buffer.from(hash('sha256', digested.subarray(0, bytes), 'binary'), 'latin1')
}

export interface MemoryOnceOnlyOptions {
  readonly clock: Clock
  readonly logger: Logger
  /** Finished keys kept; the least recently used go first. Default 100,000. */
  readonly maxEntries?: number
  /** Bytes of finished keys and their responses. Default 64 MiB. */
  readonly maxBytes?: number
  /** Default 24 h. */
  readonly ttlMs?: number
}

interface FinishedKey {
  readonly digest: Buffer
  readonly response: StoredResponse
}

/** Map entry, strings' and buffers' own cost, beside the bytes that they hold. */
const ENTRY_OVERHEAD_BYTES = 256
const EVICTION_WARNING_INTERVAL_MS = 60_000

/**
 * The table in memory: it forgets everything at a restart, and the oldest keys at its bounds. Keys that run are not
 * among what is forgotten; their number is bounded by the dispatcher's `maxConcurrent`.
 */
export class MemoryOnceOnlyTable implements OnceOnlyTable {
  readonly #running = new Map<string, Buffer>()
  readonly #finished: LRUCache<string, FinishedKey>
  readonly #maxBytes: number
  readonly #clock: Clock
  readonly #logger: Logger
  #evictedEarly = 0
  #nextWarningMs = Number.NEGATIVE_INFINITY

  constructor(options: MemoryOnceOnlyOptions) {
    this.#clock = options.clock
    this.#logger = options.logger
    this.#maxBytes = options.maxBytes ?? 64 * 1024 * 1024
    this.#finished = new LRUCache<string, FinishedKey>({
      max: options.maxEntries ?? 100_000,
      maxSize: this.#maxBytes,
      sizeCalculation: sizeOf,
      ttl: options.ttlMs ?? 24 * 3_600_000,
      // lru-cache takes a start of 0 for "no ttl", and with a resolution above 0 starts timers of its own.
      perf: { now: () => this.#clock.monotonicMs() + 1 },
      ttlResolution: 0,
      dispose: (_value, _key, reason) => {
        if (reason === 'evict') this.#evicted()
      },
    })
  }

  /** Finished keys that were forgotten for want of room, before their time. */
  get evictedEarly(): number {
    return this.#evictedEarly
  }

  get size(): number {
    return this.#running.size + this.#finished.size
  }

  begin(key: string, digest: Buffer): BeginResult {
    const known = this.find(key, digest)
    if (known !== undefined && known.kind !== 'inDoubt') return known
    const digestBefore = this.#finished.peek(key)?.digest
    this.#finished.delete(key)
    this.#running.set(key, digestBefore ?? digest)
    return known ?? NEW
  }

  find(key: string, digest: Buffer): KnownKey | undefined {
    const runningDigest = this.#running.get(key)
    if (runningDigest !== undefined) return isSameRequest(runningDigest, digest) ? RUNNING : MISMATCH
    const finished = this.#finished.get(key)
    if (finished === undefined) return undefined
    if (!isSameRequest(finished.digest, digest)) return MISMATCH
    return finished.response.status === ResponseStatus.inDoubt
      ? inDoubtOf(finished.digest, digest)
      : { kind: 'done', response: finished.response }
  }

  finish(key: string, response: StoredResponse): void {
    const digest = this.#running.get(key) ?? this.#finished.peek(key)?.digest
    if (digest === undefined) return
    this.#running.delete(key)
    const finished = { digest, response }
    // lru-cache drops without a word what alone is over its size; the key must stay known.
    const fits = sizeOf(finished, key) <= this.#maxBytes
    this.#finished.set(key, fits ? finished : { digest, response: FORGOTTEN_RESPONSE })
  }

  release(key: string): void {
    this.#running.delete(key)
  }

  #evicted(): void {
    this.#evictedEarly += 1
    const nowMs = this.#clock.monotonicMs()
    if (nowMs < this.#nextWarningMs) return
    this.#nextWarningMs = nowMs + EVICTION_WARNING_INTERVAL_MS
    this.#logger.warn(
      { evictedEarly: this.#evictedEarly, entries: this.#finished.size },
      'the once-only table is full and forgets keys before their time; a repetition of one of these would be executed again',
    )
  }
}

const NEW = { kind: 'new' } as const
const RUNNING = { kind: 'running' } as const
const IN_DOUBT = { kind: 'inDoubt' } as const
const OTHER_IN_DOUBT = { kind: 'inDoubt', isOtherPacket: true } as const
const MISMATCH = { kind: 'mismatch' } as const
const FORGOTTEN_RESPONSE: StoredResponse = { status: ResponseStatus.inDoubt, payload: Buffer.alloc(0), meta: undefined }

/** Of a key in doubt: `begun` is the digest that it was begun with. */
export function inDoubtOf(begun: Buffer, asked: Buffer): KnownKey {
  return begun.equals(asked) ? IN_DOUBT : OTHER_IN_DOUBT
}

function sizeOf(finished: FinishedKey, key: string): number {
  const { payload, meta } = finished.response
  return (
    ENTRY_OVERHEAD_BYTES + key.length * 2 + finished.digest.byteLength + payload.byteLength + (meta?.byteLength ?? 0)
  )
}
