import type { Socket } from 'node:net'
import { monotonicMs } from './monotonic.ts'
import type { Prng } from './prng.ts'

/**
 * How bytes pass: `clear` at once; `latency` 75±50 ms late, in order; `trickle` byte by byte, some 8 KB/s; `slow` as to
 * a reader that takes 2 KiB ten times a second; `black-hole` not at all, while the sockets stay open.
 */
export type LaneMode = 'clear' | 'latency' | 'trickle' | 'slow' | 'black-hole'

/** What may wait here before the source is no longer read. */
const MAX_QUEUED_BYTES = 256 * 1024
const SLOW_QUEUED_BYTES = 16 * 1024
const CLOSE_WITHIN_MS = 1_000
const TRICKLE = { everyMs: 1, bytes: 8 } as const
const SLOW = { everyMs: 100, bytes: 2_048 } as const

interface Chunk {
  readonly bytes: Buffer
  readonly dueMs: number
}

/** One direction of a connection through the proxy. */
export class ProxyLane {
  readonly #from: Socket
  readonly #to: Socket
  readonly #mode: () => LaneMode
  readonly #prng: Prng
  #queue: Chunk[] = []
  #queuedBytes = 0
  #timer: NodeJS.Timeout | undefined
  #ended = false

  constructor(options: { from: Socket; to: Socket; mode: () => LaneMode; prng: Prng }) {
    this.#from = options.from
    this.#to = options.to
    this.#mode = options.mode
    this.#prng = options.prng
    this.#from.on('data', (bytes: Buffer) => this.#receive(bytes))
    // What is on its way arrives, also when the sender is gone by then: networks do that.
    for (const event of ['end', 'close']) {
      this.#from.on(event, () => {
        this.#ended = true
        this.pump()
      })
    }
    this.#to.on('drain', () => this.pump())
    this.#to.on('close', () => this.stop())
  }

  /** Passes on what the mode of the moment allows. To be called when that has changed. */
  pump(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const mode = this.#mode()
    if (mode === 'black-hole') this.#discard()
    else if (mode === 'trickle') this.#passSome(TRICKLE, 1)
    else if (mode === 'slow') this.#passSome(SLOW, SLOW.bytes)
    else this.#passDue(mode === 'clear')
    this.#holdBack(mode === 'slow' ? SLOW_QUEUED_BYTES : MAX_QUEUED_BYTES)
    // The other end of a hole is not told: it is half open.
    if (this.#ended && this.#queue.length === 0 && mode !== 'black-hole') this.#end()
  }

  /** Nobody is left to pass anything to. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#discard()
  }

  #receive(bytes: Buffer): void {
    const lastDueMs = this.#queue.at(-1)?.dueMs ?? 0
    const delayMs = this.#mode() === 'latency' ? this.#prng.integer(25, 125) : 0
    this.#queue.push({ bytes, dueMs: Math.max(lastDueMs, monotonicMs() + delayMs) })
    this.#queuedBytes += bytes.length
    this.pump()
  }

  #passDue(all: boolean): void {
    const nowMs = monotonicMs()
    while (!this.#to.writableNeedDrain) {
      const [head] = this.#queue
      if (head === undefined) return
      if (!all && head.dueMs > nowMs) {
        this.#timer = setTimeout(() => this.pump(), head.dueMs - nowMs)
        return
      }
      this.#pass(head.bytes.length)
    }
  }

  #passSome(pace: { everyMs: number; bytes: number }, pieceBytes: number): void {
    for (let passed = 0; passed < pace.bytes && this.#queue.length > 0; passed += pieceBytes) this.#pass(pieceBytes)
    if (this.#queue.length > 0) this.#timer = setTimeout(() => this.pump(), pace.everyMs)
  }

  /** Writes the first bytes of the queue's head, `count` at most. */
  #pass(count: number): void {
    const [head] = this.#queue
    if (head === undefined) return
    const piece = head.bytes.subarray(0, count)
    if (piece.length === head.bytes.length) this.#queue.shift()
    else this.#queue[0] = { ...head, bytes: head.bytes.subarray(count) }
    this.#queuedBytes -= piece.length
    if (this.#to.writable) this.#to.write(piece)
  }

  #end(): void {
    if (!this.#to.writable) return
    this.#to.end()
    // Where only this direction was closed the other may go on; where the sender is gone nobody is left to answer.
    if (this.#from.destroyed) setTimeout(() => this.#to.resetAndDestroy(), CLOSE_WITHIN_MS).unref()
  }

  #discard(): void {
    this.#queue = []
    this.#queuedBytes = 0
  }

  #holdBack(maxBytes: number): void {
    if (this.#queuedBytes > maxBytes) this.#from.pause()
    else if (this.#from.isPaused()) this.#from.resume()
  }
}
