import {
  decodeResponseBatch,
  FrameType,
  type OutgoingRequest,
  RequestBatch,
  type ResponseRecord,
} from '../frames/index.ts'
import type { Session } from '../kx/index.ts'
import { type Clock, failpoint, type Logger, LsxError, type TimerHandle } from '../runtime/index.ts'
import { BatchSender } from './batch-sender.ts'
import type { ChannelCounters } from './counters.ts'
import { WHEEL_TICK_MS } from './deadline-wheel.ts'
import { type ChannelRequest, InFlightTable } from './in-flight.ts'
import { isWorthALine } from './log-thinning.ts'
import { type LsMessageSigning, SIGNED_FLUSH_AT } from './message-signing.ts'
import { type ChannelObserver, SecuredChannel } from './secured-channel.ts'
import type { ChannelSocket } from './socket.ts'
import {
  type ChannelConfig,
  type ChannelState,
  CloseCode,
  type DropCause,
  type KeyAnswer,
  type KxReason,
} from './state.ts'

/** Who sends requests through an LS channel hears here what became of each. Exactly one call for each request sent. */
export interface RequestOwner<R> {
  onResponse(request: R, response: ResponseRecord): void
  /** Its deadline passed without an answer. A later answer comes as `onLateResponse`. */
  onExpired(request: R): void
  /** The channel ended after the request was sent and before an answer came. */
  onLost(request: R, error: LsxError): void
  /** The channel ended before the request left this process. */
  onUnsent(request: R): void
  onLateResponse(request: R, response: ResponseRecord): void
  /** A response came whose signature is not good: it must not be believed. `late` as in `onLateResponse`. */
  onUnverifiedResponse(request: R, error: LsxError, options: { readonly late: boolean }): void
  /** `trySend` said no before, and there is room again. */
  onWritable(): void
}

/** Above this LS takes no more requests for the bank: its node does not read. */
const HIGH_WATER_BYTES = 1_048_576
/** Requests stop at the mark above, but not the replies to echoes: a node that makes LS hold this much is dropped. */
const MAX_UNREAD_BYTES = 4_194_304

export interface LsChannelOptions<R extends ChannelRequest> {
  readonly config: Extract<ChannelConfig, { role: 'ls' }>
  readonly socket: ChannelSocket
  readonly owner: RequestOwner<R>
  readonly observer: Omit<ChannelObserver, 'acceptGeneration'>
  readonly counters: ChannelCounters
  readonly clock: Clock
  readonly logger: Logger
  readonly maxFrameBytes: number
  /** What goes out as a request's meta, asked as it is sent. Default: the meta that it has. */
  readonly metaOf?: (request: R) => Buffer | undefined
  /** Runs a flush at the end of the current turn of the event loop. */
  readonly defer: (flush: () => void) => void
  /** Left out where messages are neither signed nor verified. */
  readonly signing?: LsMessageSigning<R> | undefined
}

/** LS's end of one socket's channel: sends requests, matches responses, keeps the window and the deadlines. */
export class LsChannel<R extends ChannelRequest> {
  readonly #options: LsChannelOptions<R>
  readonly #core: SecuredChannel
  readonly #inFlight: InFlightTable<R>
  readonly #unsent: R[] = []
  #sender: BatchSender<OutgoingRequest<R>> | undefined
  #maxBodyBytes = 0
  #windowRecords = 0
  #blocked = false
  #wheelTimer: TimerHandle | undefined
  readonly #questions = new Map<number, { readonly count: number; readonly onAnswer: (answer: KeyAnswer) => void }>()
  #lastQuestion = 0

  constructor(options: LsChannelOptions<R>) {
    this.#options = options
    this.#inFlight = new InFlightTable(options.clock.monotonicMs())
    this.#core = new SecuredChannel({
      ...options,
      maxUnreadBytes: MAX_UNREAD_BYTES,
      sink: {
        accepts: FrameType.response,
        onBody: (body, session) => this.#onResponses(body, session),
        onWindow: (windowRecords) => {
          this.#windowRecords = windowRecords
          this.#unblock()
        },
        onResolveAsked: () => {},
        onResolveAnswered: (n, answer) => this.#onResolved(n, answer),
      },
      observer: {
        onKxCompleted: (session, reason, durationMs) => this.#onKxCompleted(session, reason, durationMs),
        onKxFailed: (error, reason) => options.observer.onKxFailed(error, reason),
        onSessionMixup: (facts) => options.observer.onSessionMixup?.(facts),
        onPeerDraining: () => {
          // What was taken goes out before LS confirms that no more will come.
          this.#sender?.flush()
          options.observer.onPeerDraining()
        },
        onToken: (token) => options.observer.onToken?.(token),
        onClosed: (cause, error) => this.#onClosed(cause, error),
        acceptGeneration: () => {},
      },
    })
  }

  get state(): ChannelState {
    return this.#core.state
  }

  get session(): Session | undefined {
    return this.#core.session
  }

  /** Resolves when the socket is gone, which may be after the channel's end: its last words are on their way until then. */
  get gone(): Promise<void> {
    return this.#core.gone
  }

  get inFlight(): number {
    return this.#inFlight.size
  }

  /** What a frame has room for, beside the signature of one request. */
  get maxBodyBytes(): number {
    return this.#core.maxBodyBytes - (this.#options.signing?.growthBytes ?? 0)
  }

  open(): void {
    this.#core.open()
  }

  rekey(reason: KxReason): void {
    this.#core.rekey(reason)
  }

  /** A token for the session in force, ahead of whatever is sent later. */
  sendToken(token: string): void {
    this.#core.sendControl({ kind: 'token', token })
  }

  drop(cause: DropCause, error: LsxError | undefined, closeCode: number = CloseCode.dropped): void {
    this.#core.drop(cause, error, closeCode)
  }

  /** Takes no more requests, finishes those in flight until `deadlineMs` (monotonic), says goodbye and closes. */
  drain(deadlineMs: number): void {
    this.#sender?.flush()
    this.#core.drain(deadlineMs)
    if (this.#inFlight.size === 0) this.#core.nothingInFlight()
  }

  /** False while not connected, the window is full, or too much is unwritten. `onWritable` follows in the last two cases. */
  get writable(): boolean {
    const state = this.#core.state
    if (state.name !== 'connected' || state.peerDraining) return false
    if (this.#inFlight.size < this.#windowRecords && this.#options.socket.bufferedBytes <= HIGH_WATER_BYTES) return true
    this.#blocked = true
    return false
  }

  /**
   * Sends the request, or says false where the channel is not writable.
   * Throws TOO_LARGE for a request that no frame of this channel can carry.
   */
  trySend(request: R): boolean {
    const sender = this.#sender
    if (sender === undefined || !this.writable) return false
    const nowMs = this.#options.clock.monotonicMs()
    this.#inFlight.add(request)
    this.#unsent.push(request)
    try {
      sender.push({
        id: request.channelId,
        key: request.key,
        method: request.method,
        budgetMs: Math.max(0, Math.floor(request.expiresAtMs - nowMs)),
        payload: request.payload,
        origin: request,
        meta: this.#options.metaOf === undefined ? request.meta : this.#options.metaOf(request),
      })
    } catch (error) {
      this.#inFlight.take(request.channelId)
      this.#unsent.pop()
      throw error
    }
    this.#options.counters.requests++
    if (this.#wheelTimer === undefined && this.#inFlight.size > 0) this.#armWheel()
    return true
  }

  /**
   * Asks the xchange what became of keys, at most MAX_RESOLVE_KEYS at once. `onAnswer` is called once or never: the
   * channel may end first, and an older xchange does not know the question.
   */
  resolve(keys: readonly string[], onAnswer: (answer: KeyAnswer) => void): void {
    this.#lastQuestion = (this.#lastQuestion + 1) >>> 0
    const n = this.#lastQuestion
    this.#questions.set(n, { count: keys.length, onAnswer })
    this.#core.sendControl({ kind: 'resolve', n, keys })
  }

  #onResolved(n: number, answer: KeyAnswer): void {
    const question = this.#questions.get(n)
    this.#questions.delete(n)
    if (question?.count === answer.states.length) question.onAnswer(answer)
    else this.#options.logger.warn({ n }, 'an answer about keys fits no question; ignored')
  }

  #onKxCompleted(session: Session, reason: KxReason, durationMs: number): void {
    if (this.#sender === undefined || this.#maxBodyBytes !== this.#core.maxBodyBytes) {
      this.#maxBodyBytes = this.#core.maxBodyBytes
      const batch =
        this.#options.signing?.newBatch(this.#maxBodyBytes, () => this.session?.sessionId) ??
        new RequestBatch(this.#maxBodyBytes)
      if (this.#sender === undefined) {
        const send = (body: Buffer, recordCount: number) => this.#sendBody(body, recordCount)
        const flushAt = this.#options.signing === undefined ? undefined : SIGNED_FLUSH_AT
        this.#sender = new BatchSender({ batch, send, defer: this.#options.defer, flushAt })
      } else this.#sender.replaceBatch(batch)
    }
    this.#windowRecords = session.offer.windowRecords
    this.#options.observer.onKxCompleted(session, reason, durationMs)
    this.#unblock()
  }

  #sendBody(body: Buffer, recordCount: number): void {
    failpoint('send:before')
    const isHigh = this.#options.socket.bufferedBytes + body.length > HIGH_WATER_BYTES / 2
    this.#core.sendBody(FrameType.request, body, {
      // The records count as sent from here on: part of the frame may reach the peer whatever happens next.
      onSealed: () => {
        // One more may be waiting: the request that did not fit beside these.
        const bootId = this.session?.offer.bootId.toString('hex')
        for (const sent of this.#unsent.splice(0, recordCount)) {
          sent.mayBeExecuted = true
          sent.sentTo = bootId
        }
      },
      onWritten: isHigh ? () => this.#unblock() : undefined,
    })
    failpoint('send:after')
  }

  #onResponses(body: Buffer, session: Session): void {
    const { owner, counters, logger } = this.#options
    for (const { response, error } of this.#verified(decodeResponseBatch(body), session)) {
      const taken = this.#inFlight.take(response.id)
      if (taken === undefined) {
        counters.unknownResponses++
        if (isWorthALine(counters.unknownResponses))
          logger.warn(
            { channelId: response.id, unknownResponses: counters.unknownResponses },
            'a response answers no request of this channel; ignored',
          )
      } else if (error !== undefined) {
        counters.invalidSignatures++
        owner.onUnverifiedResponse(taken.request, error, { late: taken.late })
      } else if (taken.late) {
        counters.lateResponses++
        owner.onLateResponse(taken.request, response)
      } else {
        counters.responses++
        owner.onResponse(taken.request, response)
      }
    }
    this.#unblock()
    if (this.#inFlight.size === 0) this.#core.nothingInFlight()
  }

  /** All of a frame at once, because they share a signature. What answers nothing is not looked at. */
  #verified(
    responses: readonly ResponseRecord[],
    session: Session,
  ): readonly { response: ResponseRecord; error?: LsxError | undefined }[] {
    const { signing } = this.#options
    if (signing === undefined) return responses.map((response) => ({ response }))
    const answers: { request: R; response: ResponseRecord }[] = []
    for (const response of responses) {
      const request = this.#inFlight.find(response.id)
      if (request !== undefined) answers.push({ request, response })
    }
    const verdicts = signing.verify(answers, session.sessionId)
    let next = 0
    return responses.map((response) => {
      if (answers[next]?.response !== response) return { response }
      const { error, meta } = verdicts[next++] ?? { error: undefined, meta: response.meta }
      const { id, status, payload } = response
      return { response: { id, status, payload, meta }, error }
    })
  }

  #unblock(): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.#options.owner.onWritable()
  }

  #armWheel(): void {
    this.#wheelTimer = this.#options.clock.startTimer(WHEEL_TICK_MS, () => {
      this.#wheelTimer = undefined
      const expired = this.#inFlight.expire(this.#options.clock.monotonicMs())
      for (const request of expired) this.#options.owner.onExpired(request)
      if (this.#inFlight.size > 0) this.#armWheel()
      if (expired.length === 0) return
      this.#unblock()
      if (this.#inFlight.size === 0) this.#core.nothingInFlight()
    })
  }

  #onClosed(cause: DropCause, error: LsxError | undefined): void {
    const { owner, clock, observer } = this.#options
    if (this.#wheelTimer !== undefined) clock.cancelTimer(this.#wheelTimer)
    this.#wheelTimer = undefined
    this.#sender?.stop()
    this.#questions.clear()
    const unsent = new Set(this.#unsent)
    this.#unsent.length = 0
    const open = this.#inFlight.takeAll()
    observer.onClosed(cause, error)
    const reason = error ?? new LsxError('CHANNEL_DOWN', 'the channel was closed')
    for (const request of open) {
      if (unsent.has(request)) owner.onUnsent(request)
      else owner.onLost(request, reason)
    }
  }
}
