import { type LsChannel, type RequestOwner, WHEEL_TICK_MS } from '../channel/index.ts'
import {
  decodeMeta,
  HEADER_BYTES,
  type ResponseRecord,
  ResponseStatus,
  requestRecordBytes,
  TAG_BYTES,
} from '../frames/index.ts'
import { type Clock, type ErrorCode, isErrorCode, type Logger, LsxError, type TimerHandle } from '../runtime/index.ts'
import type { Outcome, RoutedRequest, Settlement } from './routed-request.ts'
import { type QueueBounds, WaitingQueue } from './waiting-queue.ts'

export type EarlyPolicy = 'queue' | 'reject'

/** Why a request cannot go out now, as the link sees it. */
export interface LaneBlock {
  readonly code: Extract<ErrorCode, 'KEY_PENDING' | 'CHANNEL_DOWN' | 'QUARANTINED' | 'SHUTTING_DOWN'>
  readonly message: string
  /** May a request wait until this is over? */
  readonly mayWait: boolean
}

export interface LaneOptions {
  readonly early: EarlyPolicy
  readonly bounds: QueueBounds
  /** Of a whole frame, while no kx has agreed on a limit. */
  readonly maxFrameBytes: number
  readonly clock: Clock
  readonly logger: Logger
}

/** Largest id and budget, so that the size check never depends on the moment. */
const U32_MAX = 0xffffffff
/** A record whose payload leaves this much room fits whatever its key and method are. */
const RECORD_OVERHEAD_BYTES = 256

/** All requests to one bank: queues, sends, and settles each with its one outcome. */
export class RequestLane implements RequestOwner<RoutedRequest> {
  readonly #options: LaneOptions
  readonly #queue: WaitingQueue<RoutedRequest>
  readonly #outcomes: Record<Outcome, number> = { answered: 0, refused: 0, 'not-sent': 0, 'in-doubt': 0 }
  #channel: LsChannel<RoutedRequest> | undefined
  #block: LaneBlock
  #queueTimer: TimerHandle | undefined

  constructor(options: LaneOptions, block: LaneBlock) {
    this.#options = options
    this.#queue = new WaitingQueue(options.bounds, options.clock.monotonicMs())
    this.#block = block
  }

  get queued(): number {
    return this.#queue.size
  }

  get outcomes(): Readonly<Record<Outcome, number>> {
    return this.#outcomes
  }

  /** Takes a request; its outcome follows, at once or later. */
  submit(request: RoutedRequest): void {
    const tooLarge = this.#tooLarge(request)
    if (tooLarge !== undefined) this.#settle(request, tooLarge)
    else if (this.#channel === undefined) this.#submitWhileBlocked(request)
    // Order is kept: nothing overtakes what waits.
    else if (this.#queue.size > 0 || !this.#trySend(request)) this.#enqueue(request)
  }

  /** The link is connected: what waits goes out first. */
  attach(channel: LsChannel<RoutedRequest>): void {
    this.#channel = channel
    this.#sendWaiting()
  }

  /** The link is not connected any more, or not yet. What waits goes on waiting only where that makes sense. */
  block(block: LaneBlock): void {
    this.#channel = undefined
    this.#block = block
    if (block.mayWait) return
    for (const request of this.#queue.takeAll()) this.#settle(request, notSent(block.code, block.message))
  }

  /** Nothing more is served: what waits was never sent. */
  stop(): void {
    this.block({ code: 'SHUTTING_DOWN', message: 'LS is shutting down', mayWait: false })
    if (this.#queueTimer !== undefined) this.#options.clock.cancelTimer(this.#queueTimer)
    this.#queueTimer = undefined
  }

  onResponse(request: RoutedRequest, response: ResponseRecord): void {
    this.#settle(request, settlementOf(response))
  }

  onLateResponse(request: RoutedRequest, response: ResponseRecord): void {
    this.#options.logger.warn(
      { idempotencyKey: request.key, method: request.method, status: response.status },
      'an answer came after its request was given up as in doubt; asking again with the same key gets it',
    )
  }

  onExpired(request: RoutedRequest): void {
    this.#settle(request, { outcome: 'in-doubt', code: 'IN_DOUBT', message: 'no answer came before the deadline' })
  }

  onLost(request: RoutedRequest, error: LsxError): void {
    const message = `the channel ended before the answer came (${error.code})`
    this.#settle(request, { outcome: 'in-doubt', code: 'IN_DOUBT', message })
  }

  onUnsent(request: RoutedRequest): void {
    this.#submitWhileBlocked(request)
  }

  onWritable(): void {
    this.#sendWaiting()
  }

  #submitWhileBlocked(request: RoutedRequest): void {
    const { code, message, mayWait } = this.#block
    if (!mayWait || this.#options.early === 'reject') {
      this.#settle(request, { outcome: 'refused', code, message })
      return
    }
    if (this.#enqueue(request)) request.tellPending(this.#options.clock.monotonicMs())
  }

  #trySend(request: RoutedRequest): boolean {
    try {
      return this.#channel?.trySend(request) ?? false
    } catch (error) {
      if (!(error instanceof LsxError) || error.code !== 'TOO_LARGE') throw error
      this.#settle(request, { outcome: 'refused', code: 'TOO_LARGE', message: error.message })
      return true
    }
  }

  #enqueue(request: RoutedRequest): boolean {
    if (!this.#queue.push(request)) {
      this.#settle(request, { outcome: 'refused', code: 'BUSY', message: 'too many requests wait for this bank' })
      return false
    }
    this.#armQueueTimer()
    return true
  }

  #sendWaiting(): void {
    const nowMs = this.#options.clock.monotonicMs()
    for (let request = this.#queue.peek(); request !== undefined; request = this.#queue.peek()) {
      if (this.#channel?.writable !== true) return
      // Out of the queue's wheel first: the channel puts the request into its own.
      this.#queue.remove(request)
      if (request.asker.closed) this.#settle(request, notSent('CHANNEL_DOWN', 'the app left before the channel was up'))
      else if (request.deadlineMs <= nowMs)
        this.#settle(request, notSent('DEADLINE_EXCEEDED', 'the deadline passed while it waited'))
      else this.#trySend(request)
    }
  }

  #armQueueTimer(): void {
    if (this.#queueTimer !== undefined) return
    this.#queueTimer = this.#options.clock.startTimer(WHEEL_TICK_MS, () => {
      this.#queueTimer = undefined
      const code = this.#channel === undefined ? this.#block.code : 'DEADLINE_EXCEEDED'
      for (const request of this.#queue.expire(this.#options.clock.monotonicMs())) {
        this.#settle(request, notSent(code, 'the deadline passed before the channel could carry it'))
      }
      if (this.#queue.size > 0) this.#armQueueTimer()
    })
  }

  #tooLarge(request: RoutedRequest): Settlement | undefined {
    const maxBodyBytes = this.#channel?.maxBodyBytes ?? this.#options.maxFrameBytes - HEADER_BYTES - TAG_BYTES
    if (request.payload.length + (request.meta?.length ?? 0) + RECORD_OVERHEAD_BYTES <= maxBodyBytes) return undefined
    const { key, method, payload, meta } = request
    const bytes = requestRecordBytes({ id: U32_MAX, key, method, budgetMs: U32_MAX, payload, meta })
    if (bytes <= maxBodyBytes) return undefined
    return {
      outcome: 'refused',
      code: 'TOO_LARGE',
      message: `the request takes ${bytes} bytes of ${maxBodyBytes} in a frame`,
    }
  }

  #settle(request: RoutedRequest, settlement: Settlement): void {
    if (request.settle(settlement, this.#options.clock.monotonicMs())) this.#outcomes[settlement.outcome]++
  }
}

function notSent(code: ErrorCode, message: string): Settlement {
  return { outcome: 'not-sent', code, message }
}

function settlementOf(response: ResponseRecord): Settlement {
  switch (response.status) {
    case ResponseStatus.ok:
      return { outcome: 'answered', payload: response.payload }
    case ResponseStatus.failed:
      return { outcome: 'answered', code: codeOf(response) ?? 'HANDLER_FAILED', payload: response.payload }
    case ResponseStatus.refused:
      return {
        outcome: 'refused',
        code: codeOf(response) ?? 'REFUSED',
        message: 'the xchange refused it before it did anything',
      }
    case ResponseStatus.inDoubt:
      return { outcome: 'in-doubt', code: 'IN_DOUBT', message: 'the xchange began it and does not know how it ended' }
  }
}

function codeOf(response: ResponseRecord): ErrorCode | undefined {
  const { code } = decodeMeta(response.meta)
  return isErrorCode(code) ? code : undefined
}
