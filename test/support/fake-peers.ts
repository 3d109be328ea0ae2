import { loadIdentityKey, readIdentityPin } from '../../lib/certs/index.ts'
import { newSessionId, newX25519KeyPair } from '../../lib/channel/index.ts'
import {
  decodeMap,
  decodeRequestBatch,
  decodeResponseBatch,
  encodeMap,
  FrameType,
  RequestBatch,
  type RequestRecord,
  ResponseBatch,
  type ResponseRecord,
  ResponseStatus,
  readHeader,
} from '../../lib/frames/index.ts'
import {
  answerFinKx,
  answerInitKx,
  beginLsKx,
  continueLsKx,
  identityFromPrivateKey,
  type KxTime,
  type LsKxConfig,
  type LsKxState,
  type Session,
  type XchangeKxConfig,
  type XchangeKxState,
} from '../../lib/kx/index.ts'
import type { PeerSocket } from './peer-socket.ts'
import type { TestNode } from './pki.ts'

export { FakeListener, type FakeListenerOptions } from './fake-listener.ts'
export {
  askHttps,
  type Closing,
  type DialOptions,
  dialPeer,
  PeerSocket,
  TurnedAway,
  tlsOptionsOf,
} from './peer-socket.ts'

/** A frame that was opened. */
export interface OpenedFrame {
  readonly type: FrameType
  readonly epoch: number
  readonly body: Buffer
}

/** What both fake roles share once they are keyed: sealing, opening and echo, all by hand. */
abstract class FakeRole {
  readonly socket: PeerSocket
  /** Echoes that come are answered by `receive`, unless this is off. */
  answersEchoes = true
  protected established: Session | undefined

  constructor(socket: PeerSocket) {
    this.socket = socket
  }

  get session(): Session {
    if (this.established === undefined) throw new Error('the fake peer is not keyed')
    return this.established
  }

  /** A sealed frame, the next of its sequence; not sent. */
  seal(type: FrameType, body: Buffer | Record<string, unknown>): Buffer {
    const plaintext = Buffer.isBuffer(body) ? body : encodeMap(body)
    return this.session.seal.seal(type, plaintext, performance.now())
  }

  sendSealed(type: FrameType, body: Buffer | Record<string, unknown>): void {
    this.socket.send(this.seal(type, body))
  }

  /** An echo of this session, with whatever is laid over it. */
  sendEcho(n: number, over: Record<string, unknown> = {}): void {
    const { sessionId, bankCode } = this.session
    this.sendSealed(FrameType.echo, { sessionId, bankCode, n, ...over })
  }

  /** The next frame of this type, opened. Others on the way are opened too, and echoes answered. */
  async receive(type: FrameType): Promise<OpenedFrame> {
    for (;;) {
      const opened = this.open(await this.socket.receive())
      this.#attend(opened)
      if (opened.type === type) return opened
    }
  }

  #attend(opened: OpenedFrame): void {
    if (opened.type === FrameType.echo && this.answersEchoes) this.answerEcho(opened)
    if (opened.type === FrameType.control) this.onControl(decodeMap(opened.body))
  }

  protected onControl(_body: Record<string, unknown>): void {}

  open(frame: Buffer): OpenedFrame {
    const { type, epoch } = readHeader(frame)
    return { type, epoch, body: this.session.open.open(frame, performance.now()) }
  }

  /** The next kx frame; sealed ones on the way are opened, and answered as by `receive`. */
  async nextKxFrame(): Promise<Buffer> {
    for (;;) {
      const frame = await this.socket.receive()
      if (readHeader(frame).type === FrameType.kx) return frame
      this.#attend(this.open(frame))
    }
  }

  answerEcho({ body }: OpenedFrame, over: Record<string, unknown> = {}): void {
    this.sendSealed(FrameType.echoReply, { ...decodeMap(body), ...over })
  }
}

export type FakeLsOptions = {
  readonly node: TestNode
  readonly bankCode: string
  readonly xchangePin: string
} & Partial<Omit<LsKxConfig, 'identity' | 'pinnedIdentities' | 'bankCode'>>

/** LS's end of a channel. It begins the kx when told to. */
export class FakeLs extends FakeRole {
  readonly #config: LsKxConfig
  #state: LsKxState | undefined

  constructor(socket: PeerSocket, { node, xchangePin, ...over }: FakeLsOptions) {
    super(socket)
    this.#config = {
      generation: Date.now(),
      exporter: socket.exporter,
      staticKeys: newX25519KeyPair(),
      newEphemeral: newX25519KeyPair,
      identity: identityFromPrivateKey(loadIdentityKey(node.identityFile)),
      pinnedIdentities: [readIdentityPin(xchangePin)],
      terms: {
        echoIntervalMs: 10_000,
        echoTimeoutMs: 5_000,
        rekeyAfterMs: 3_600_000,
        rekeyAfterFrames: 1_048_576,
        rekeyAfterBytes: 1_073_741_824,
        maxFrameBytes: 65_536,
      },
      epoch: 1,
      sessionId: newSessionId(),
      ...over,
    }
  }

  /** INIT_KX, not sent. */
  initKx(): Buffer {
    const { state, frame } = beginLsKx(this.#config, kxTime())
    this.#state = state
    return mustBe(frame, state)
  }

  /** FIN_KX for an INIT_KX_RSP, not sent. */
  finKx(initKxRsp: Buffer): Buffer {
    const { state, frame } = continueLsKx(mustBe(this.#state), initKxRsp, kxTime())
    this.#state = state
    return mustBe(frame, state)
  }

  confirm(finKxRsp: Buffer): Session {
    const { state } = continueLsKx(mustBe(this.#state), finKxRsp, kxTime())
    if (state.name !== 'established') throw failure(state)
    this.established = state.session
    return state.session
  }

  /** The whole kx. Rejects with what the kx says, or when the socket closes. */
  async key(): Promise<Session> {
    this.socket.send(this.initKx())
    this.socket.send(this.finKx(await this.socket.receive()))
    return this.confirm(await this.socket.receive())
  }

  sendRequest(request: Pick<RequestRecord, 'id' | 'method'> & Partial<RequestRecord>): void {
    this.sendSealed(FrameType.request, requestBody(request))
  }

  async receiveResponses(): Promise<ResponseRecord[]> {
    return decodeResponseBatch((await this.receive(FrameType.response)).body)
  }
}

export type FakeXchangeOptions = {
  readonly node: TestNode
  readonly bankCode: string
  readonly lsPin: string
} & Partial<Omit<XchangeKxConfig, 'identity' | 'pinnedIdentities' | 'bankCode'>>

/** An xchange's end of a channel. It answers a kx when told to. */
export class FakeXchange extends FakeRole {
  /** What `receive` says of every key that LS asks about. */
  knownKeys: 'done' | 'begun' | 'never' = 'never'
  #config: XchangeKxConfig
  #state: XchangeKxState | undefined

  constructor(socket: PeerSocket, { node, lsPin, ...over }: FakeXchangeOptions) {
    super(socket)
    this.#config = {
      highestGeneration: 0,
      exporter: socket.exporter,
      newKeyPair: newX25519KeyPair,
      identity: identityFromPrivateKey(loadIdentityKey(node.identityFile)),
      pinnedIdentities: [readIdentityPin(lsPin)],
      offer: { windowRecords: 1_024, maxFrameBytes: 65_536, bootId: newSessionId() },
      epoch: 1,
      ...over,
    }
  }

  /** INIT_KX_RSP, not sent. */
  answerInitKx(initKx: Buffer): Buffer {
    const { state, frame } = answerInitKx(this.#config, initKx, kxTime())
    this.#state = state
    if (state.name === 'failed') throw failure(state)
    return frame
  }

  /** FIN_KX_RSP, not sent; the session holds from here. */
  answerFinKx(finKx: Buffer): Buffer {
    const { state, frame } = answerFinKx(mustBe(this.#state), finKx, kxTime())
    if (state.name !== 'established') throw failure(state)
    this.#state = state
    this.established = state.session
    return frame
  }

  /** The whole kx, once LS begins it. */
  async key(): Promise<Session> {
    this.socket.send(this.answerInitKx(await this.socket.receive()))
    this.socket.send(this.answerFinKx(await this.socket.receive()))
    return this.session
  }

  /** The next kx on the same socket; `initKx` has come. */
  async rekey(initKx: Buffer): Promise<Session> {
    this.#config = { ...this.#config, epoch: this.#config.epoch + 1 }
    this.socket.send(this.answerInitKx(initKx))
    this.socket.send(this.answerFinKx(await this.nextKxFrame()))
    return this.session
  }

  protected override onControl({ kind, n, keys }: Record<string, unknown>): void {
    if (kind !== 'resolve' || !Array.isArray(keys)) return
    const states = keys.map(() => this.knownKeys)
    this.sendSealed(FrameType.control, { kind: 'resolved', n, states, rememberedForMs: 86_400_000 })
  }

  async receiveRequests(): Promise<RequestRecord[]> {
    return decodeRequestBatch((await this.receive(FrameType.request)).body)
  }

  sendResponses(...responses: (Pick<ResponseRecord, 'id'> & Partial<ResponseRecord>)[]): void {
    this.sendSealed(FrameType.response, responseBody(...responses))
  }
}

export function requestBody(...requests: (Pick<RequestRecord, 'id' | 'method'> & Partial<RequestRecord>)[]): Buffer {
  const batch = new RequestBatch(1_048_576)
  for (const request of requests) {
    batch.append({ key: `fake-${request.id}`, budgetMs: 5_000, payload: NIL, meta: undefined, ...request })
  }
  return batch.take()
}

export function responseBody(...responses: (Pick<ResponseRecord, 'id'> & Partial<ResponseRecord>)[]): Buffer {
  const batch = new ResponseBatch(1_048_576)
  for (const response of responses) {
    batch.append({ status: ResponseStatus.ok, payload: NIL, meta: undefined, ...response })
  }
  return batch.take()
}

/** msgpack nil. */
const NIL = Buffer.from([0xc0])

function kxTime(): KxTime {
  return { wallMs: Date.now(), monotonicMs: performance.now() }
}

function mustBe<T>(value: T | undefined, state?: LsKxState): T {
  if (value !== undefined) return value
  throw state === undefined ? new Error('the kx was not begun') : failure(state)
}

function failure(state: LsKxState | XchangeKxState): Error {
  return state.name === 'failed' ? state.error : new Error(`the kx is ${state.name}`)
}
