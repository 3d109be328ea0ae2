import {
  type AnsweredRequest,
  decodeRequestBatch,
  encodeMap,
  FrameType,
  type OutgoingResponse,
  type RequestRecord,
  ResponseBatch,
  type ResponseRecord,
  ResponseStatus,
} from '../frames/index.ts'
import type { Session } from '../kx/index.ts'
import { type Clock, describeError, failpoint, type Logger, LsxError } from '../runtime/index.ts'
import { BatchSender } from './batch-sender.ts'
import type { ChannelCounters } from './counters.ts'
import { type RequestVerdict, SIGNED_FLUSH_AT, type XchangeMessageSigning } from './message-signing.ts'
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

const EMPTY = Buffer.alloc(0)
/** Where nothing is signed, nobody asks what a response answers. */
const NOT_SIGNED: AnsweredRequest = { key: '', method: '', messageHash: '' }

export interface XchangeChannelOptions {
  readonly config: Extract<ChannelConfig, { role: 'xchange' }>
  readonly socket: ChannelSocket
  /** Takes one request; answers through `respond`, at once or later, once. */
  readonly onRequest: (request: RequestRecord, respond: (response: ResponseRecord) => void) => void
  /** What became of these keys. */
  readonly onResolve: (keys: readonly string[]) => KeyAnswer | Promise<KeyAnswer>
  readonly observer: ChannelObserver
  readonly counters: ChannelCounters
  readonly clock: Clock
  readonly logger: Logger
  readonly maxFrameBytes: number
  /** An LS that lets more than this lie unread is dropped. */
  readonly maxBufferedBytes: number
  readonly defer: (flush: () => void) => void
  /** Left out where messages are neither signed nor verified. */
  readonly signing?: XchangeSigningOptions | undefined
}

export interface XchangeSigningOptions {
  readonly messages: XchangeMessageSigning
  /** A request whose signature is not good: it is answered too, and never executed. */
  readonly onUnverified: (request: RequestRecord, error: LsxError, respond: (response: ResponseRecord) => void) => void
}

/** The xchange's end of one socket's channel: takes requests in, sends responses back in batches. */
export class XchangeChannel {
  readonly #options: XchangeChannelOptions
  readonly #core: SecuredChannel
  #sender: BatchSender<OutgoingResponse> | undefined
  #maxBodyBytes = 0
  #unanswered = 0
  readonly #respond = (response: ResponseRecord) => this.#onAnswer(response, NOT_SIGNED)

  constructor(options: XchangeChannelOptions) {
    this.#options = options
    this.#core = new SecuredChannel({
      ...options,
      maxUnreadBytes: options.maxBufferedBytes,
      sink: {
        accepts: FrameType.request,
        onBody: (body, session) => this.#onRequests(body, session),
        onWindow: () => {},
        onResolveAsked: (n, keys) => void this.#answerQuestion(n, keys),
        onResolveAnswered: () => {},
      },
      observer: {
        onKxCompleted: (session, reason, durationMs) => this.#onKxCompleted(session, reason, durationMs),
        onKxFailed: (error, reason) => options.observer.onKxFailed(error, reason),
        onSessionMixup: (facts) => options.observer.onSessionMixup?.(facts),
        onPeerDraining: () => {
          if (this.#core.state.name === 'draining') this.#endWhenAnswered()
          else options.observer.onPeerDraining()
        },
        onToken: (token) => options.observer.onToken?.(token),
        onClosed: (cause, error) => {
          this.#sender?.stop()
          options.observer.onClosed(cause, error)
        },
        acceptGeneration: (generation) => options.observer.acceptGeneration(generation),
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

  /** Requests received here and not answered yet. */
  get unanswered(): number {
    return this.#unanswered
  }

  open(): void {
    this.#core.open()
  }

  drop(cause: DropCause, error: LsxError | undefined, closeCode: number = CloseCode.dropped): void {
    this.#core.drop(cause, error, closeCode)
  }

  /**
   * Tells LS to send no more, and waits until `deadlineMs` (monotonic) for its word that nothing is on its way any more.
   * Answers what came in, says goodbye and closes.
   */
  drain(deadlineMs: number): void {
    this.#core.drain(deadlineMs)
    this.#endWhenAnswered()
  }

  /** Tells LS how many requests it may have in flight from now on. */
  setWindow(windowRecords: number): void {
    this.#core.sendControl({ kind: 'window', windowRecords })
  }

  /** A token for the session in force, ahead of whatever is sent later. */
  sendToken(token: string): void {
    this.#core.sendControl({ kind: 'token', token })
  }

  /** Asks LS, which alone may begin one, for a new kx: this side has another identity to prove. */
  askForKx(): void {
    this.#core.sendControl({ kind: 'rekey' })
  }

  #onKxCompleted(session: Session, reason: KxReason, durationMs: number): void {
    if (this.#sender === undefined || this.#maxBodyBytes !== this.#core.maxBodyBytes) {
      this.#maxBodyBytes = this.#core.maxBodyBytes
      const batch =
        this.#options.signing?.messages.newBatch(this.#maxBodyBytes, () => this.session?.sessionId) ??
        new ResponseBatch(this.#maxBodyBytes)
      if (this.#sender === undefined) {
        const send = (body: Buffer) => this.#sendBody(body)
        const flushAt = this.#options.signing === undefined ? undefined : SIGNED_FLUSH_AT
        this.#sender = new BatchSender({ batch, send, defer: this.#options.defer, flushAt })
      } else this.#sender.replaceBatch(batch)
    }
    this.#options.observer.onKxCompleted(session, reason, durationMs)
  }

  async #answerQuestion(n: number, keys: readonly string[]): Promise<void> {
    try {
      const { states, rememberedForMs } = await this.#options.onResolve(keys)
      this.#core.sendControl({ kind: 'resolved', n, states, rememberedForMs })
    } catch (error) {
      // LS keeps them in doubt, and asks again at the next reconnect.
      this.#options.logger.error({ error: describeError(error) }, 'what became of keys could not be looked up')
    }
  }

  #onRequests(body: Buffer, session: Session): void {
    const records = decodeRequestBatch(body)
    this.#unanswered += records.length
    this.#options.counters.requests += records.length
    const { signing } = this.#options
    const verdicts = signing?.messages.verify(records, session.sessionId)
    for (const [index, record] of records.entries()) {
      const verdict = verdicts?.[index]
      if (signing === undefined || verdict === undefined) this.#options.onRequest(record, this.#respond)
      else this.#onVerified(record, verdict, signing)
    }
  }

  #onVerified(record: RequestRecord, { error, answered, meta }: RequestVerdict, signing: XchangeSigningOptions): void {
    const respond = (response: ResponseRecord) => this.#onAnswer(response, answered)
    if (error === undefined) {
      const { id, key, method, budgetMs, payload } = record
      this.#options.onRequest({ id, key, method, budgetMs, payload, meta }, respond)
      return
    }
    this.#options.counters.invalidSignatures++
    signing.onUnverified(record, error, respond)
  }

  #onAnswer(response: ResponseRecord, answered: AnsweredRequest): void {
    this.#unanswered--
    const sender = this.#sender
    // A channel that is gone takes no answers: the once-only table keeps them for whoever asks again.
    if (sender === undefined || this.#core.session === undefined) return
    try {
      const { id, status, payload, meta } = response
      sender.push({ id, status, payload, meta, answered })
    } catch (error) {
      if (!(error instanceof LsxError) || error.code !== 'TOO_LARGE') throw error
      this.#options.logger.error(
        { channelId: response.id },
        'an answer is over the frame limit; LS is told TOO_LARGE in its place',
      )
      sender.push({
        id: response.id,
        status: ResponseStatus.failed,
        payload: EMPTY,
        meta: encodeMap({ code: 'TOO_LARGE' }),
        answered,
      })
    }
    this.#options.counters.responses++
    this.#endWhenAnswered()
  }

  #endWhenAnswered(): void {
    const { state } = this.#core
    if (this.#unanswered > 0 || state.name !== 'draining' || !state.peerDraining) return
    this.#sender?.flush()
    this.#core.nothingInFlight()
  }

  #sendBody(body: Buffer): void {
    if (this.#core.session === undefined) return
    failpoint('response-send:before')
    this.#core.sendBody(FrameType.response, body)
    failpoint('response-send:after')
  }
}
