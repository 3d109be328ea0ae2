import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import {
  type ConnectionOptions,
  createServer,
  type Server,
  type TLSSocket,
  type TlsOptions,
  connect as tlsConnect,
} from 'node:tls'
import { WebSocket, WebSocketServer } from 'ws'
import { loadIdentityKey, readIdentityPin, secureContextOptions } from '../../lib/certs/index.ts'
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
import type { TestNode } from './pki.ts'

const WITHIN_MS = 10_000
const SUBPROTOCOL = 'ls.v1'

export interface Closing {
  readonly code: number
  readonly reason: string
}

/** A dial that was turned away: by an HTTP status, or before there was one. */
export class TurnedAway extends Error {
  readonly status: number | undefined
  /** Node's code of the TLS or socket error. */
  readonly code: string | undefined

  constructor(message: string, facts: { status?: number | undefined; code?: string | undefined; cause?: unknown }) {
    super(message, { cause: facts.cause })
    this.status = facts.status
    this.code = facts.code
  }
}

/** One open WebSocket over TLS that a test drives message by message, as well or as badly as it likes. */
export class PeerSocket {
  readonly webSocket: WebSocket
  readonly tls: TLSSocket
  /** RFC 9266 tls-exporter of this very connection. */
  readonly exporter: Buffer
  readonly closed: Promise<Closing>
  readonly #received: Buffer[] = []
  #waiting: (() => void) | undefined
  #isClosed = false

  constructor(webSocket: WebSocket, tls: TLSSocket) {
    this.webSocket = webSocket
    this.tls = tls
    this.exporter = tls.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
    webSocket.binaryType = 'nodebuffer'
    webSocket.on('error', () => {})
    webSocket.on('message', (data: Buffer) => {
      this.#received.push(data)
      this.#waiting?.()
    })
    this.closed = new Promise((resolve) => {
      webSocket.once('close', (code, reason) => {
        this.#isClosed = true
        this.#waiting?.()
        resolve({ code, reason: reason.toString() })
      })
    })
  }

  /** Messages that came and were not received yet. */
  get unread(): number {
    return this.#received.length
  }

  send(message: Buffer | string, options: { fin?: boolean } = {}): void {
    this.webSocket.send(message, { binary: typeof message !== 'string', ...options })
  }

  /** Bytes below the WebSocket: what is no frame at all. */
  sendBelow(bytes: Buffer): void {
    this.tls.write(bytes)
  }

  /** The next message. Rejects when the socket closes first. */
  async receive(): Promise<Buffer> {
    const untilMs = performance.now() + WITHIN_MS
    for (;;) {
      const message = this.#received.shift()
      if (message !== undefined) return message
      if (this.#isClosed) throw new Error('the peer closed the socket')
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0) throw new Error(`no message came within ${WITHIN_MS} ms`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs)
        this.#waiting = () => {
          clearTimeout(timer)
          this.#waiting = undefined
          resolve()
        }
      })
    }
  }

  /** From here on nothing is taken off the socket: the peer's writes pile up. */
  stopReading(): void {
    this.webSocket.pause()
    this.tls.pause()
  }

  /** Closes and waits until the socket is gone. */
  async close(): Promise<void> {
    this.webSocket.close()
    await this.closed
  }

  async terminate(): Promise<void> {
    this.webSocket.terminate()
    await this.closed
  }
}

export interface DialOptions {
  readonly port: number
  readonly host?: string
  /** Whose certificate to show; none where left out. */
  readonly node?: TestNode | undefined
  /** Laid over the options of the TLS connection. */
  readonly tls?: ConnectionOptions
  /** Address to connect from. */
  readonly localAddress?: string
  readonly path?: string
  readonly subprotocol?: string
}

/** Options by which a test connects as `node`, trusting every server. */
export function tlsOptionsOf({
  port,
  host = '127.0.0.1',
  node,
  tls = {},
  localAddress,
}: DialOptions): ConnectionOptions {
  return {
    host,
    port,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...(localAddress === undefined ? {} : { localAddress }),
    ...(node === undefined ? {} : secureContextOptions(node.material)),
    ...tls,
  }
}

/** Opens a channel's socket as far as the daemon lets it. Rejects with TurnedAway. */
export function dialPeer(options: DialOptions): Promise<PeerSocket> {
  const { path = '/channel', subprotocol = SUBPROTOCOL, host = '127.0.0.1', port } = options
  return new Promise((resolve, reject) => {
    let tls: TLSSocket | undefined
    const at = host.includes(':') ? `[${host}]` : host
    const webSocket = new WebSocket(`wss://${at}:${port}${path}`, subprotocol, {
      perMessageDeflate: false,
      createConnection: (() => {
        tls = tlsConnect(tlsOptionsOf(options))
        return tls
      }) as never,
    })
    webSocket.once('unexpected-response', (request, response) => {
      request.destroy()
      reject(new TurnedAway(`HTTP status ${response.statusCode}`, { status: response.statusCode }))
    })
    webSocket.on('error', (error: Error & { code?: string }) =>
      reject(new TurnedAway(error.message, { code: error.code, cause: error })),
    )
    webSocket.once('open', () => {
      if (tls === undefined) reject(new Error('the socket is open without TLS'))
      else resolve(new PeerSocket(webSocket, tls))
    })
  })
}

/** One https request. Rejects with TurnedAway when there is no answer. */
export function askHttps(
  options: DialOptions & { method?: string; body?: string; headers?: Record<string, string> },
): Promise<{ status: number; body: string }> {
  const { path = '/health', method = 'GET', body = '', headers = {} } = options
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      { path, method, headers, createConnection: () => tlsConnect(tlsOptionsOf(options)) },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          request.destroy()
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() })
        })
      },
    )
    request.on('error', (error: Error & { code?: string }) =>
      reject(new TurnedAway(error.message, { code: error.code, cause: error })),
    )
    request.end(body)
  })
}

export interface FakeListenerOptions {
  /** Laid over the options of the TLS server. */
  readonly tls?: TlsOptions
  /** Accepts TLS and never answers a byte of HTTP. */
  readonly silent?: boolean
  /** Answers every upgrade with these bytes in place of opening a channel. */
  readonly answer?: string
  readonly port?: number
}

/** Listens as a party would, with whatever certificate; gives out the channels that are opened to it. */
export class FakeListener {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #peers: PeerSocket[] = []
  readonly #waiting: ((peer: PeerSocket) => void)[] = []

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => this.#sockets.delete(socket))
    })
  }

  static async listen(node: TestNode, options: FakeListenerOptions = {}): Promise<FakeListener> {
    const server = createServer({
      ...secureContextOptions(node.material),
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      ...options.tls,
    })
    const listener = new FakeListener(server)
    const webSockets = new WebSocketServer({ noServer: true, clientTracking: false, perMessageDeflate: false })
    const http = createHttpServer()
    http.on('upgrade', (request, stream, head) => {
      if (options.answer !== undefined) {
        stream.end(options.answer)
        return
      }
      webSockets.handleUpgrade(request, stream, head, (webSocket) =>
        listener.#add(new PeerSocket(webSocket, stream as TLSSocket)),
      )
    })
    server.on('secureConnection', (socket) => {
      socket.on('error', () => {})
      if (options.silent !== true) http.emit('connection', socket)
    })
    server.on('tlsClientError', () => {})
    server.listen(options.port ?? 0, '127.0.0.1')
    await once(server, 'listening')
    return listener
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Sockets that are open at this end. */
  get connections(): number {
    return this.#sockets.size
  }

  /** The next channel that is opened to this listener, or was and still is. */
  nextPeer(): Promise<PeerSocket> {
    for (let peer = this.#peers.shift(); peer !== undefined; peer = this.#peers.shift()) {
      if (peer.webSocket.readyState === WebSocket.OPEN) return Promise.resolve(peer)
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`nobody connected within ${WITHIN_MS} ms`)), WITHIN_MS)
      this.#waiting.push((came) => {
        clearTimeout(timer)
        resolve(came)
      })
    })
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await once(this.#server, 'close')
  }

  #add(peer: PeerSocket): void {
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.#peers.push(peer)
    else waiting(peer)
  }
}

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
