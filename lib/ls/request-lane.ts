import { type LsChannel, type RequestOwner, WHEEL_TICK_MS } from '../channel/index.ts'
import {
  decodeMeta,
  HEADER_BYTES,
  type ResponseRecord,
  ResponseStatus,
  requestRecordBytes,
  TAG_BYTES,
} from '../frames/index.ts'
import {
  type Clock,
  describeError,
  type ErrorCode,
  isErrorCode,
  type Logger,
  LsxError,
  type TimerHandle,
  toLsxError,
} from '../runtime/index.ts'
import { DoubtedRequests } from './doubted-requests.ts'
import type { DurableRequests } from './durable-requests.ts'
import type { IlpDesk } from './ilp-desk.ts'
import { type Outcome, RoutedRequest, type Settlement } from './routed-request.ts'
import { UnkeptOutcomes } from './unkept-outcomes.ts'
import { type Resolution, UnsettledRequests } from './unsettled-requests.ts'
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
  readonly durable: DurableRequests
  /** A response came whose signature is not good. */
  readonly onUnverified?: (error: LsxError) => void
  /** Room for what is added to the request's meta as it is sent. */
  readonly addedMetaBytes?: (request: RoutedRequest) => number
  readonly ilp: Pick<IlpDesk, 'judge' | 'judgeNotOk'>
  readonly clock: Clock
  readonly logger: Logger
}

/** Largest id and budget, so that the size check never depends on the moment. */
const U32_MAX = 0xffffffff
/** A record whose payload leaves this much room fits whatever its key and method are. */
const RECORD_OVERHEAD_BYTES = 256
/** How long LS waits for the stored response of a request whose own time is over. */
const FETCH_MS = 5_000
/** Requests without an answer that are asked about after a reconnect; beyond them they end in doubt at once. */
const MAX_UNSETTLED = 65_536
const NO_META: Readonly<Record<string, unknown>> = Object.freeze({})

/**
 * All requests to one bank: queues, sends, and settles each with its one outcome.
 *
 *   submit ─> (journal) ─> waiting ─> in flight ─> settled
 *                             ▲           │ channel lost
 *                             │           ▼
 *                             └────── unsettled: asked about on the next channel
 */
export class RequestLane implements RequestOwner<RoutedRequest> {
  readonly #options: LaneOptions
  readonly #queue: WaitingQueue<RoutedRequest>
  readonly #unsettled: UnsettledRequests
  readonly #doubted: DoubtedRequests
  readonly #unkept: UnkeptOutcomes
  readonly #outcomes: Record<Outcome | 'settled-late', number> = {
    answered: 0,
    refused: 0,
    'not-sent': 0,
    'in-doubt': 0,
    'settled-late': 0,
  }
  #channel: LsChannel<RoutedRequest> | undefined
  /** The channel is up, and what became of older requests is being asked: nothing overtakes them. */
  #resolving = false
  /** More was lost since the question was put. */
  #askAgain = false
  #block: LaneBlock
  #timer: TimerHandle | undefined
  readonly #recovering = new Set<RoutedRequest>()
  #onRecovered: (() => void)[] = []

  constructor(options: LaneOptions, block: LaneBlock) {
    this.#options = options
    this.#queue = new WaitingQueue(options.bounds, options.clock.monotonicMs())
    this.#unsettled = new UnsettledRequests({
      clock: options.clock,
      logger: options.logger,
      maxRequests: MAX_UNSETTLED,
    })
    this.#doubted = new DoubtedRequests({
      unsettled: this.#unsettled,
      clock: options.clock,
      onDue: () => this.#askAboutDoubted(),
    })
    this.#unkept = new UnkeptOutcomes({
      durable: options.durable,
      clock: options.clock,
      logger: options.logger,
      onKept: (request, settlement) => this.#tell(request, settlement),
    })
    this.#block = block
  }

  get queued(): number {
    return this.#queue.size
  }

  /** Requests that were sent on a channel that is gone and whose answer is not known. */
  get unsettled(): number {
    return this.#unsettled.size
  }

  get outcomes(): Readonly<Record<Outcome | 'settled-late', number>> {
    return this.#outcomes
  }

  /** Takes a request; its outcome follows, at once or later. */
  submit(request: RoutedRequest): void {
    const refusal = this.#tooLarge(request) ?? this.#refusedNow()
    if (refusal !== undefined) this.refuse(request, refusal)
    else if (request.durable) void this.#acceptDurable(request)
    else this.#admit(request)
  }

  /** Refuses a request that was not taken on; one that was before hears what is known of it: it may have been executed. */
  refuse(request: RoutedRequest, refusal: Settlement): void {
    let known: Settlement | undefined
    try {
      known = request.durable ? this.#options.durable.find(request) : undefined
    } catch (error) {
      this.#options.logger.error(
        { idempotencyKey: request.key, error: describeError(error) },
        'the journal cannot be read',
      )
      known = inDoubt('what the journal says of this key cannot be read')
    }
    this.#tell(request, known ?? refusal)
  }

  /** Requests that the journal knows from before this process. They are asked about on the first channel. */
  recover(requests: readonly RoutedRequest[]): void {
    for (const request of requests) if (this.#unsettled.add(request)) this.#recovering.add(request)
    this.#armTimer()
    this.#noteRecovered()
  }

  /** Resolves when the xchange has been asked about all that `recover` brought. */
  get recovered(): Promise<void> {
    if (this.#recovering.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#onRecovered.push(resolve))
  }

  /** The link is connected: what became of older requests comes first, then what waits. */
  attach(channel: LsChannel<RoutedRequest>): void {
    this.#channel = channel
    this.#resolving = false
    this.#askAboutUnsettled()
    this.#sendWaiting()
  }

  /** The link is not connected any more, or not yet. What waits goes on waiting only where that makes sense. */
  block(block: LaneBlock): void {
    this.#channel = undefined
    this.#resolving = false
    this.#unsettled.cancel()
    this.#doubted.clear()
    this.#block = block
    if (block.mayWait) return
    for (const request of this.#unsettled.takeWaiting()) this.#settle(request, inDoubt(block.message))
    for (const request of this.#queue.takeAll()) this.#giveUp(request, block.code, block.message)
  }

  /** Nothing more is served: what waits was never sent, what was sent is in doubt. */
  stop(): void {
    this.block({ code: 'SHUTTING_DOWN', message: 'LS is shutting down', mayWait: false })
    const unsettled = this.#unsettled.all()
    for (const request of unsettled) this.#settle(request, inDoubt('LS stopped before the xchange could be asked'))
    this.#options.durable.release(unsettled)
    this.#options.durable.release(this.#unkept.stop())
    if (this.#timer !== undefined) this.#options.clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }

  /** Throws what is wrong with an answer that cannot be read; its request is asked about on the next channel. */
  onResponse(request: RoutedRequest, response: ResponseRecord): void {
    let settlement: Settlement
    try {
      settlement = this.#settlementOf(request, response)
    } catch (error) {
      this.onLost(request, toLsxError(error))
      throw error
    }
    this.#settle(request, settlement)
  }

  onLateResponse(request: RoutedRequest, response: ResponseRecord): void {
    this.#unsettled.delete(request)
    this.#settle(request, this.#settlementOf(request, response))
  }

  /** Not believed, and not taken for a refusal either: it may have been executed. Durable ones are asked about again. */
  onUnverifiedResponse(request: RoutedRequest, error: LsxError, { late }: { readonly late: boolean }): void {
    this.#options.onUnverified?.(error)
    // Given up before, the app has heard of the doubt, and the journal has it.
    if (late) return
    this.#settle(request, {
      outcome: 'in-doubt',
      code: 'SIGNATURE_INVALID',
      message: 'the signature of the answer is not good, so it is not believed',
    })
  }

  onExpired(request: RoutedRequest): void {
    this.#settle(request, inDoubt('no answer came before the deadline'))
  }

  onLost(request: RoutedRequest, error: LsxError): void {
    // Where no channel will follow there is nobody to ask: the app need not wait for its deadline.
    const isLastWord = this.#channel === undefined && !this.#block.mayWait
    if (isLastWord || !this.#unsettled.add(request))
      this.#settle(request, inDoubt(`the channel ended before the answer came (${error.code})`))
    this.#armTimer()
    if (this.#channel === undefined || this.#askAgain) return
    // A newer channel has taken over already: it is asked, once all that the older one lost is here.
    this.#askAgain = true
    queueMicrotask(() => {
      if (this.#askAgain && !this.#resolving) this.#askAboutUnsettled()
    })
  }

  onUnsent(request: RoutedRequest): void {
    if (this.#refusedNow() !== undefined) this.#giveUp(request, this.#block.code, this.#block.message)
    else this.#admit(request)
  }

  onWritable(): void {
    this.#sendWaiting()
  }

  // ---- taking

  async #acceptDurable(request: RoutedRequest): Promise<void> {
    const { durable, clock } = this.#options
    try {
      const known = await durable.accept(request)
      if (known === undefined) this.#admit(request)
      else if (known instanceof RoutedRequest) {
        this.#doubted.add(known)
        this.#askAboutDoubted()
      }
      // Told straight from the journal: this request is not the one that is settled there.
      else request.settle(known, clock.monotonicMs())
    } catch (thrown) {
      const { code, message } = toLsxError(thrown)
      // A store that fails may have kept it all the same: then the next start finds it and asks the xchange.
      const settlement: Settlement =
        code === 'INTERNAL'
          ? inDoubt('the journal failed; ask again with the same key')
          : { outcome: 'refused', code, message }
      this.#tell(request, settlement)
    }
  }

  /** Sends it, or lets it wait. Order is kept: nothing overtakes what waits. */
  #admit(request: RoutedRequest): void {
    if (this.#channel === undefined) {
      const refusal = this.#refusedNow()
      if (refusal !== undefined) this.#settle(request, refusal)
      else if (this.#enqueue(request)) request.tellPending(this.#options.clock.monotonicMs())
    } else if (this.#resolving || this.#queue.size > 0 || !this.#trySend(request)) this.#enqueue(request)
  }

  #refusedNow(): Settlement | undefined {
    if (this.#channel !== undefined) return undefined
    const { code, message, mayWait } = this.#block
    return mayWait && this.#options.early === 'queue' ? undefined : { outcome: 'refused', code, message }
  }

  #tooLarge(request: RoutedRequest): Settlement | undefined {
    const maxBodyBytes = this.#channel?.maxBodyBytes ?? this.#options.maxFrameBytes - HEADER_BYTES - TAG_BYTES
    const addedBytes = this.#options.addedMetaBytes?.(request) ?? 0
    if (request.payload.length + (request.meta?.length ?? 0) + addedBytes + RECORD_OVERHEAD_BYTES <= maxBodyBytes)
      return undefined
    const { key, method, payload, meta } = request
    const bytes = requestRecordBytes({ id: U32_MAX, key, method, budgetMs: U32_MAX, payload, meta }) + addedBytes
    if (bytes <= maxBodyBytes) return undefined
    return {
      outcome: 'refused',
      code: 'TOO_LARGE',
      message: `the request takes ${bytes} bytes of ${maxBodyBytes} in a frame`,
    }
  }

  // ---- sending

  #trySend(request: RoutedRequest): boolean {
    try {
      if (this.#channel?.trySend(request) !== true) return false
    } catch (error) {
      if (!(error instanceof LsxError) || error.code !== 'TOO_LARGE') throw error
      this.#settle(request, { outcome: 'refused', code: 'TOO_LARGE', message: error.message })
      return true
    }
    if (request.durable)
      this.#options.durable.markSent(request, this.#channel.session?.offer.bootId.toString('hex') ?? '')
    return true
  }

  #enqueue(request: RoutedRequest): boolean {
    if (!this.#queue.push(request)) {
      this.#settle(request, { outcome: 'refused', code: 'BUSY', message: 'too many requests wait for this bank' })
      return false
    }
    this.#armTimer()
    return true
  }

  #sendWaiting(): void {
    if (this.#resolving) return
    const nowMs = this.#options.clock.monotonicMs()
    for (let request = this.#queue.peek(); request !== undefined; request = this.#queue.peek()) {
      if (this.#channel?.writable !== true) return
      // Out of the queue's wheel first: the channel puts the request into its own.
      this.#queue.remove(request)
      if (request.abandoned && !request.durable && !request.mayBeExecuted) {
        this.#giveUp(request, 'CHANNEL_DOWN', 'the app left before the channel was up')
      } else if (request.deadlineMs <= nowMs)
        this.#giveUp(request, 'DEADLINE_EXCEEDED', 'the deadline passed while it waited')
      else this.#trySend(request)
    }
  }

  #askAboutUnsettled(): void {
    const channel = this.#channel
    this.#askAgain = false
    if (channel === undefined || this.#unsettled.size === 0) return
    this.#ask(channel, this.#unsettled.all())
  }

  #askAboutDoubted(): void {
    const channel = this.#channel
    if (channel === undefined || this.#resolving) return
    const requests = this.#doubted.take()
    if (requests.length > 0) this.#ask(channel, requests)
  }

  #ask(channel: LsChannel<RoutedRequest>, requests: readonly RoutedRequest[]): void {
    this.#resolving = true
    this.#unsettled.resolve(channel, requests, (resolution) => this.#onResolved(channel, resolution))
  }

  #onResolved(channel: LsChannel<RoutedRequest>, { resend, fetch, tooLate, forgotten }: Resolution): void {
    if (this.#channel !== channel) return
    const nowMs = this.#options.clock.monotonicMs()
    // Where its own time is over LS still waits for the stored response; the budget stays what it was.
    for (const request of fetch)
      request.deadlineMs = request.expiresAtMs > nowMs ? request.expiresAtMs : nowMs + FETCH_MS
    for (const request of resend) request.mayBeExecuted = false
    for (const request of tooLate) this.#settle(request, notSent('DEADLINE_EXCEEDED', 'it never reached the xchange'))
    for (const request of forgotten)
      this.#settle(
        request,
        inDoubt('this xchange has no record of the keys of that time: is it another node, or did it lose its store?'),
      )
    this.#queue.putFirst([...fetch, ...resend])
    this.#resolving = false
    this.#armTimer()
    if (this.#askAgain) this.#askAboutUnsettled()
    this.#askAboutDoubted()
    this.#sendWaiting()
  }

  // ---- deadlines

  #armTimer(): void {
    if (this.#timer !== undefined || (this.#queue.size === 0 && this.#unsettled.waiting === 0)) return
    this.#timer = this.#options.clock.startTimer(WHEEL_TICK_MS, () => {
      this.#timer = undefined
      this.#expire(this.#options.clock.monotonicMs())
      this.#armTimer()
    })
  }

  #expire(nowMs: number): void {
    const code = this.#channel === undefined ? this.#block.code : 'DEADLINE_EXCEEDED'
    for (const request of this.#queue.expire(nowMs)) {
      this.#giveUp(request, code, 'the deadline passed before the channel could carry it')
    }
    for (const request of this.#unsettled.takeOverdue(nowMs))
      this.#settle(request, inDoubt('no answer came before the deadline'))
  }

  // ---- settling

  /** It left no queue for a channel: never sent, unless it was sent once before. */
  #giveUp(request: RoutedRequest, code: ErrorCode, message: string): void {
    if (!request.mayBeExecuted) this.#settle(request, notSent(code, message))
    else {
      this.#settle(request, inDoubt(message))
    }
  }

  /**
   * An answer, and a doubt, can be told before the journal has them: after a crash the xchange gives the same answer
   * again. That nothing was done must be on disk first, or the next start might send it after all.
   */
  #settle(request: RoutedRequest, settlement: Settlement): void {
    if (this.#recovering.delete(request)) this.#noteRecovered()
    if (!request.durable) {
      this.#tell(request, settlement)
      return
    }
    const { durable, logger } = this.#options
    if (settlement.outcome === 'in-doubt') this.#unsettled.add(request)
    const kept = durable.settle(request, settlement)
    const isToldFirst = settlement.outcome === 'answered' || settlement.outcome === 'in-doubt'
    if (isToldFirst) this.#tell(request, settlement)
    kept.then(
      () => this.#tell(request, settlement),
      (error) => {
        logger.error(
          { idempotencyKey: request.key, error: describeError(error) },
          isToldFirst
            ? 'an outcome could not be kept; trying again'
            : 'an outcome could not be kept; the app is told in-doubt, and it is tried again',
        )
        this.#tell(request, inDoubt('the journal failed; ask again with the same key'))
        // A doubt is what the journal takes an open request for anyway.
        if (settlement.outcome !== 'in-doubt') this.#unkept.add(request, settlement)
      },
    )
  }

  #settlementOf(request: RoutedRequest, response: ResponseRecord): Settlement {
    // Without meta there is nothing to decode, nor, mostly, to check.
    if (response.meta === undefined && request.ilp === undefined) return settlementOf(response, NO_META)
    const meta = decodeMeta(response.meta)
    if (request.ilp === undefined) return settlementOf(response, meta)
    if (response.status !== ResponseStatus.ok) {
      return this.#options.ilp.judgeNotOk(request, response, meta) ?? settlementOf(response, meta)
    }
    const verdict = this.#options.ilp.judge(request, request.ilp, meta)
    return 'outcome' in verdict ? verdict : { ...settlementOf(response, meta), ...verdict }
  }

  #noteRecovered(): void {
    if (this.#recovering.size > 0) return
    for (const resolve of this.#onRecovered) resolve()
    this.#onRecovered = []
  }

  #tell(request: RoutedRequest, settlement: Settlement): void {
    const wasInDoubt = request.state === 'inDoubt'
    if (!request.settle(settlement, this.#options.clock.monotonicMs())) return
    this.#outcomes[wasInDoubt ? 'settled-late' : settlement.outcome]++
    if (!wasInDoubt) return
    const { key: idempotencyKey, method } = request
    const { outcome, code } = settlement
    this.#options.logger.warn(
      { idempotencyKey, method, outcome, code },
      'a request that was told in-doubt is settled now',
    )
  }
}

function notSent(code: ErrorCode, message: string): Settlement {
  return { outcome: 'not-sent', code, message }
}

function inDoubt(message: string): Settlement {
  return { outcome: 'in-doubt', code: 'IN_DOUBT', message }
}

function settlementOf(response: ResponseRecord, meta: Readonly<Record<string, unknown>>): Settlement {
  const { payload } = response
  const type = typeof meta.type === 'string' ? meta.type : undefined
  switch (response.status) {
    case ResponseStatus.ok:
      return { outcome: 'answered', payload, type }
    case ResponseStatus.failed:
      return { outcome: 'answered', code: codeOf(meta) ?? 'HANDLER_FAILED', payload, type }
    case ResponseStatus.refused:
      return {
        outcome: 'refused',
        code: codeOf(meta) ?? 'REFUSED',
        message: 'the xchange refused it before it did anything',
      }
    case ResponseStatus.inDoubt:
      return inDoubt('the xchange began it and does not know how it ended')
  }
}

function codeOf({ code }: Readonly<Record<string, unknown>>): ErrorCode | undefined {
  return isErrorCode(code) ? code : undefined
}
