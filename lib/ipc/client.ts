import type { Socket } from 'node:net'
import { SEALED_TYPE } from '../message/jwe/index.ts'
import { type Clock, LsxError, type TimerHandle, toLsxError } from '../runtime/index.ts'
import { DEFAULT_TIMEOUT_MS } from './app-request.ts'
import { BlockReader } from './block-reader.ts'
import { callApp } from './call-app.ts'
import { newIdempotencyKey } from './idempotency-key.ts'
import { DEFAULT_IPC_LIMITS, LARGEST_MESSAGE_BYTES } from './limits.ts'
import type { Message } from './message.ts'
import { MessageReader } from './message-reader.ts'
import { type EventListener, OpenCalls, type Subscription } from './open-calls.ts'
import { type IlpProof, inDoubt, OpenRequests, type Outcome, type PendingNotice, type Reply } from './open-requests.ts'
import { Outbox } from './outbox.ts'
import { type SealedRequest, type SealOptions, sealRequest } from './sealed-request.ts'
import { decodePayload, encodePayload } from './value-codec.ts'

/** More than this unanswered at once is refused with BUSY, as the daemon would. */
const MAX_OPEN_REQUESTS = DEFAULT_IPC_LIMITS.maxPendingPerConnection
const MAX_MESSAGE_BYTES = DEFAULT_IPC_LIMITS.maxMessageBytes
/** Bytes that lsd has not taken; more is refused with BUSY. */
const MAX_UNWRITTEN_BYTES = 64 * 1024 * 1024
/** LS ends every request in its time; this much later the client stops waiting for an LS that hangs. */
const OVERDUE_GRACE_MS = 5_000
const OVERDUE_CHECK_MS = 1_000
/** The daemon is of this machine and ours; its lists of banks and drops are longer than what apps may send. */
const DAEMON_SCAN_LIMITS = Object.freeze({ maxDepth: 16, maxElements: 1_048_576 })
const OUTCOMES: ReadonlySet<unknown> = new Set<Outcome>(['answered', 'refused', 'not-sent', 'in-doubt'])

export interface RequestOptions {
  /** Bank code. */
  readonly to: string
  readonly method: string
  /** Any plain value; sent as msgpack. */
  readonly payload?: unknown
  /** In place of `payload`: bytes that are msgpack already, or what `meta.type` of the method says. */
  readonly payloadBytes?: Buffer
  /** Idempotency key, 1 to 64 bytes; default: a new UUIDv7, to be found in the reply and in errors. */
  readonly key?: string
  /** 1 to 600,000; default 30,000. */
  readonly timeoutMs?: number
  readonly durable?: boolean
  /** A JWT that the bank's node asks for, of an issuer that it trusts. */
  readonly token?: string
  /** Media type of `payloadBytes`, where it is not msgpack. */
  readonly type?: string
  /** Seals the payload to the bank, which LS then cannot read, and opens the answer. To be able to repeat it: `sealed`. */
  readonly seal?: Pick<SealOptions, 'bankKey' | 'replyKey'>
  /** ILP: the packet and condition of a quote, or the terms of a packet that LS is to make. */
  readonly ilp?: RequestIlp
  /** Ends the wait with the signal's reason. The request may run all the same. */
  readonly signal?: AbortSignal
  /** LS has taken the request and waits for the channel. */
  readonly onPending?: (notice: PendingNotice) => void
  /** After a reply `in-doubt`: the outcome that was found out later, while this connection lasts. */
  readonly onSettled?: (reply: Reply) => void
}

/** A request that is sealed already: bank, method, key and payload are its own. */
export type SealedRequestOptions = Omit<
  RequestOptions,
  'to' | 'method' | 'payload' | 'payloadBytes' | 'key' | 'type' | 'seal'
> & { readonly sealed: SealedRequest }

export type RequestIlp =
  | {
      readonly packet: Buffer
      /** 32 bytes, SHA-256 of the fulfilment. */
      readonly condition: Buffer
      /** Unix ms; with a version 1 packet, and only there. */
      readonly expiresAt?: number
    }
  | {
      /** In the smallest unit of the currency. */
      readonly amount?: bigint | number | string
      readonly currency?: string
      /** ILP address. */
      readonly destination?: string
      readonly expiresInMs?: number
    }

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Default 30,000. */
  readonly timeoutMs?: number
}

/** A connection to lsd: pipelined, for many requests at once. Made by `connect`. */
export class LsClient {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #outbox: Outbox
  readonly #reader: BlockReader
  readonly #requests = new OpenRequests()
  readonly #calls = new OpenCalls()
  readonly #ended: Promise<void>
  #nextId = 1
  #overdueTimer: TimerHandle | undefined
  /** Why the connection ended, or is about to. */
  #end: LsxError | undefined

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    this.#outbox = new Outbox(socket, { framed: true, maxMessageBytes: MAX_MESSAGE_BYTES })
    const messages = new MessageReader({ limits: DAEMON_SCAN_LIMITS, receive: (message) => this.#receive(message) })
    this.#reader = new BlockReader({
      maxBlockBytes: LARGEST_MESSAGE_BYTES,
      receiveBlock: (block) => messages.readBlock(block),
    })
    socket.on('data', (chunk: Buffer) => this.#receiveChunk(chunk))
    socket.on('error', (error) => this.#endWith('connection to lsd lost', error))
    this.#ended = new Promise((resolve) => {
      socket.on('close', () => {
        this.#endWith('connection to lsd lost')
        resolve()
      })
    })
  }

  get closed(): boolean {
    return this.#end !== undefined
  }

  /** Resolves when the connection has ended, whoever ended it. */
  get ended(): Promise<void> {
    return this.#ended
  }

  /** Requests without an answer. */
  get openRequests(): number {
    return this.#requests.size
  }

  /**
   * Asks LS to route a request. Resolves with how it ended, also where that is a refusal. Rejects with BAD_REQUEST or
   * TOO_LARGE (not sent: it cannot be written), BUSY or CHANNEL_DOWN (not sent: too much open, no connection), IN_DOUBT
   * (the connection was lost first; the fact `idempotencyKey` names the key to ask again with), or the signal's reason.
   */
  request(options: RequestOptions | SealedRequestOptions): Promise<Reply> {
    if ('sealed' in options) return this.#requestSealed(options.sealed, options)
    const { seal, ...plain } = options
    if (seal !== undefined)
      return sealRequest({ ...plain, ...seal, clock: this.#clock }).then((sealed) => this.#requestSealed(sealed, plain))
    return this.#request(plain)
  }

  async #requestSealed(sealed: SealedRequest, options: Omit<SealedRequestOptions, 'sealed'>): Promise<Reply> {
    const { onSettled, ...others } = options
    const { to, method, key, bytes: payloadBytes } = sealed
    const onSealedSettled =
      onSettled &&
      ((reply: Reply): void => {
        sealed.open(reply).then((opened) => callApp(() => onSettled(opened)))
      })
    const reply = await this.#request({
      ...others,
      ...(onSealedSettled === undefined ? {} : { onSettled: onSealedSettled }),
      to,
      method,
      key,
      payloadBytes,
      type: SEALED_TYPE,
    })
    return sealed.open(reply)
  }

  #request(options: RequestOptions): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const { signal, timeoutMs, onPending, onSettled } = options
      signal?.throwIfAborted()
      const id = this.#nextId++
      const key = options.key ?? newIdempotencyKey()
      this.#send({
        op: 'request',
        id,
        to: options.to,
        method: options.method,
        payload: options.payloadBytes ?? encodePayload(options.payload),
        key,
        timeoutMs,
        durable: options.durable,
        token: options.token,
        type: options.type,
        ilp: options.ilp === undefined ? undefined : { ...options.ilp },
        late: onSettled === undefined ? undefined : true,
      })
      const overdueAtMs = this.#overdueAtMs(timeoutMs)
      this.#requests.add({ id, key, overdueAtMs, signal, onPending, onSettled, resolve, reject })
    })
  }

  /** An operation of the daemon. Resolves with its result; rejects with an LsxError of the code that it answers. */
  call(op: string, fields: Message = {}, options: CallOptions = {}): Promise<unknown> {
    return this.#call({ ...fields, op, id: this.#nextId++ }, options)
  }

  /** An operation that goes on to send events, until the subscription or the connection ends. */
  async subscribe(
    op: string,
    fields: Message,
    onEvent: EventListener,
    options: CallOptions = {},
  ): Promise<Subscription> {
    const id = this.#nextId++
    const ended = this.#calls.listen(id, onEvent)
    const cancel = (): void => {
      if (!this.#calls.unlisten(id) || this.closed) return
      // Best effort: an unanswered unsubscribe only means events that nobody hears.
      this.call('unsubscribe', { subscription: id }).catch(() => {})
    }
    try {
      return { result: await this.#call({ ...fields, op, id }, options), ended, cancel }
    } catch (error) {
      // Given up here, it may have begun there.
      if (options.signal?.aborted) cancel()
      else this.#calls.unlisten(id)
      throw error
    }
  }

  /** Ends the connection at once; what is open rejects with IN_DOUBT. Await the replies first. */
  close(): Promise<void> {
    this.#endWith('connection to lsd closed by this app')
    return this.#ended
  }

  #call(message: Message & { op: string; id: number }, options: CallOptions): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { op, id } = message
      const { signal, timeoutMs } = options
      signal?.throwIfAborted()
      this.#send(message)
      this.#calls.add({ id, op, overdueAtMs: this.#overdueAtMs(timeoutMs), signal, resolve, reject })
    })
  }

  #send(message: Message): void {
    if (this.#end !== undefined) throw new LsxError('CHANNEL_DOWN', 'not connected to lsd', { cause: this.#end })
    if (this.#requests.size + this.#calls.size >= MAX_OPEN_REQUESTS) {
      throw new LsxError('BUSY', `${MAX_OPEN_REQUESTS} requests of this connection are unanswered`, { party: 'self' })
    }
    if (this.#outbox.unwrittenBytes > MAX_UNWRITTEN_BYTES) {
      throw new LsxError('BUSY', 'lsd does not read what this app sends', { party: 'peer' })
    }
    if (!this.#outbox.appendMessage(message)) {
      throw new LsxError('TOO_LARGE', `a message may have ${MAX_MESSAGE_BYTES} bytes`)
    }
    this.#overdueTimer ??= this.#clock.startTimer(OVERDUE_CHECK_MS, this.#giveUpOnOverdue)
  }

  #receiveChunk(chunk: Buffer): void {
    try {
      this.#reader.push(chunk)
    } catch (error) {
      this.#endWith('lsd sent what this client does not understand', error)
    }
  }

  #receive(message: Message): void {
    const { id } = message
    if (typeof id !== 'number') {
      // Without an id it is about the connection, which lsd ends now.
      this.#endWith(`lsd refused the connection: ${String(message.message)}`)
    } else if (message.event === 'settled') {
      this.#receiveSettlement(id, message)
    } else if (message.event !== undefined) {
      this.#calls.receiveEvent(id, message)
    } else if (message.outcome !== undefined) {
      this.#receiveOutcome(id, message)
    } else {
      this.#calls.settle(id, message)
    }
  }

  #receiveOutcome(id: number, message: Message): void {
    const { outcome, code } = message
    if (outcome === 'pending') {
      const waiting = this.#requests.get(id)
      if (waiting?.onPending === undefined) return
      const { key, onPending } = waiting
      callApp(() => onPending({ id, code: String(code), key }))
      return
    }
    // Undefined when it was aborted: the answer comes too late.
    const request = this.#requests.take(id)
    if (request === undefined) return
    if (!OUTCOMES.has(outcome)) {
      request.reject(inDoubt(`lsd answered with an unknown outcome: ${String(outcome)}`, request))
      return
    }
    if (outcome === 'in-doubt' && request.onSettled !== undefined) this.#requests.awaitSettlement(request)
    request.resolve(replyOf(request, message))
  }

  /** What was in doubt is settled: known to those only who asked for it. */
  #receiveSettlement(id: number, message: Message): void {
    const request = this.#requests.takeInDoubt(id)
    const onSettled = request?.onSettled
    if (request === undefined || onSettled === undefined || !OUTCOMES.has(message.outcome)) return
    callApp(() => onSettled(replyOf(request, message)))
  }

  #overdueAtMs(timeoutMs = DEFAULT_TIMEOUT_MS): number {
    return this.#clock.monotonicMs() + timeoutMs + OVERDUE_GRACE_MS
  }

  readonly #giveUpOnOverdue = (): void => {
    this.#overdueTimer = undefined
    const nowMs = this.#clock.monotonicMs()
    this.#requests.reject(
      (request) => request.overdueAtMs <= nowMs,
      (request) => inDoubt('lsd did not answer in time', request),
    )
    this.#calls.giveUpOnOverdue(nowMs)
    if (this.#requests.size + this.#calls.size === 0) return
    this.#overdueTimer = this.#clock.startTimer(OVERDUE_CHECK_MS, this.#giveUpOnOverdue)
  }

  #endWith(why: string, cause?: unknown): void {
    if (this.#end !== undefined) return
    const end = new LsxError('CHANNEL_DOWN', why, cause === undefined ? {} : { cause: toLsxError(cause) })
    this.#end = end
    if (this.#overdueTimer !== undefined) this.#clock.cancelTimer(this.#overdueTimer)
    this.#socket.destroy()
    this.#requests.reject(
      () => true,
      (request) => inDoubt(why, request, cause),
    )
    this.#calls.end(end)
  }
}

function replyOf({ id, key }: { id: number; key: string }, message: Message): Reply {
  const { outcome, code, payload, ms, type, ilp } = message
  const payloadBytes = Buffer.isBuffer(payload) ? payload : undefined
  return {
    id,
    outcome: outcome as Outcome,
    code: typeof code === 'string' ? code : undefined,
    payload: payloadBytes === undefined ? undefined : payloadValue(payloadBytes),
    payloadBytes,
    type: typeof type === 'string' ? type : undefined,
    ilp: proofOf(ilp),
    key,
    ms: typeof ms === 'number' ? ms : 0,
    message: typeof message.message === 'string' ? message.message : undefined,
  }
}

function proofOf(ilp: unknown): IlpProof | undefined {
  if (typeof ilp !== 'object' || ilp === null) return undefined
  const { fulfilment, condition, packet } = ilp as Record<string, unknown>
  if (!Buffer.isBuffer(fulfilment) || !Buffer.isBuffer(condition)) return undefined
  return { fulfilment, condition, packet: Buffer.isBuffer(packet) ? packet : undefined }
}

function payloadValue(bytes: Buffer): unknown {
  try {
    return decodePayload(bytes)
  } catch {
    return undefined
  }
}
