import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { WebSocketServer } from 'ws'
import { secureContextOptions, spiffeIdOf, type TlsMaterial } from '../certs/index.ts'
import { type ErrorCode, type Logger, LsxError, type Service, toLsxError } from '../runtime/index.ts'
import { exportChannelBinding } from './channel-binding.ts'
import type { RefusalLog } from './refusals.ts'
import { CHANNEL_PATH, type ChannelSocket, SUBPROTOCOL, WebSocketChannelSocket, webSocketLimits } from './socket.ts'
import { type TlsFacts, tlsFactsOf } from './tls-facts.ts'
import { tlsHint, tlsReason } from './tls-hint.ts'

/** A TLS peer whose certificate chains to our CA. What it may do is for the gate to say. */
export interface ListenerPeer {
  readonly address: string
  readonly spiffeId: string | undefined
  readonly certificateNotAfter: Date
  /** What was negotiated; left out by peers of tests. */
  readonly tls?: TlsFacts
}

/** What the daemon decides. Each refusal is an LsxError: its code and message go to the log, the peer learns a status. */
export interface ListenerGate {
  /** Before TLS: may this address connect at all? */
  permitsAddress(address: string | undefined): boolean
  /** May this peer open a channel? Throws NOT_LS, CERT_DENIED, IP_DENIED, QUARANTINED or SHUTTING_DOWN. */
  admitChannel(peer: ListenerPeer): void
  onChannel(peer: ListenerPeer, socket: ChannelSocket, exporter: Buffer): void
  /** An https request that is no channel: health and the like. */
  onRequest(peer: ListenerPeer, request: IncomingMessage, response: ServerResponse): void
}

export interface ChannelListenerOptions {
  readonly host: string
  readonly port: number
  readonly material: TlsMaterial
  readonly maxFrameBytes: number
  readonly maxConnections: number
  readonly gate: ListenerGate
  readonly refusals: RefusalLog
  readonly logger: Logger
}

const HANDSHAKE_TIMEOUT_MS = 5_000
const REQUEST_TIMEOUT_MS = 5_000
/** Node looks for requests that are overdue only so often; its default of 30 s would be the real time-out. */
const REQUEST_TIMEOUT_CHECK_MS = 1_000

/** All that a peer learns of a refusal; any other code is 403. */
const STATUS_OF: Partial<Record<ErrorCode, string>> = {
  BAD_REQUEST: '400 Bad Request',
  RATE_LIMITED: '429 Too Many Requests',
  SHUTTING_DOWN: '503 Service Unavailable',
}

/** The https listener of both daemons: mutual TLS 1.3 for everybody, a channel for those whom the gate admits. */
export class ChannelListener implements Service {
  readonly name = 'channel-listener'
  readonly #options: ChannelListenerOptions
  readonly #server: Server
  readonly #webSockets: WebSocketServer
  readonly #sockets = new Set<Socket>()
  readonly #tlsErrors = new WeakSet<Error>()

  constructor(options: ChannelListenerOptions) {
    this.#options = options
    this.#server = createServer({
      ...secureContextOptions(options.material),
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: REQUEST_TIMEOUT_CHECK_MS,
      maxHeaderSize: 8_192,
      ALPNProtocols: ['http/1.1'],
      noDelay: true,
    })
    this.#server.maxConnections = options.maxConnections
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
      ...webSocketLimits(options.maxFrameBytes),
    })
    this.#server.on('connection', (socket: Socket) => this.#onConnection(socket))
    // Before node's own listener, which reports the same error once more as a broken request.
    this.#server.prependListener('tlsClientError', (error: Error & { code?: string }, socket: TLSSocket) => {
      this.#tlsErrors.add(error)
      this.#onTlsRefused(error, socket)
    })
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      if (socket.isSessionReused()) {
        this.#refuse(new LsxError('CERT_DENIED', 'a resumed TLS session proves no certificate'), socket.remoteAddress)
        socket.destroy()
      }
    })
    this.#server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head))
    this.#server.on('request', (request, response) => this.#onRequest(request, response))
    this.#server.on('clientError', (error: Error & { code?: string }, socket) =>
      this.#onBrokenRequest(error, socket as TLSSocket),
    )
    this.#server.on('drop', (dropped?: { remoteAddress?: string }) =>
      this.#refuse(
        new LsxError(
          'BUSY',
          `${options.maxConnections} connections are open; more need a higher listen.maxConnections`,
          {
            party: 'self',
          },
        ),
        dropped?.remoteAddress,
      ),
    )
  }

  /** The port in use, also where 0 was asked for. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Sockets that are open, channels among them. */
  get connections(): number {
    return this.#sockets.size
  }

  async start(): Promise<void> {
    const { host, port } = this.#options
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(new LsxError('INTERNAL', `cannot listen on ${host}:${port}: ${error.message}`, { cause: error }))
      })
      this.#server.listen(port, host, resolve)
    })
    this.#server.removeAllListeners('error')
    this.#server.on('error', (error) => this.#options.logger.error({ message: error.message }, 'the listener failed'))
  }

  /** Takes new keys and certificates for connections from now on. */
  renewMaterial(material: TlsMaterial): void {
    this.#server.setSecureContext(secureContextOptions(material))
  }

  /** Listens no more, and ends what is still open; channels were drained before by their owner. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #onConnection(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    if (this.#options.gate.permitsAddress(socket.remoteAddress)) return
    this.#refuse(
      new LsxError('IP_DENIED', 'the address is not on the allow-list; add it to `allow` if it should be'),
      socket.remoteAddress,
    )
    socket.destroy()
  }

  #onTlsRefused(error: Error & { code?: string }, socket: TLSSocket): void {
    const verdict = socket.authorizationError as unknown
    const why = verdict == null ? tlsReason(error) : verdict instanceof Error ? verdict.message : String(verdict)
    // Who leaves in the middle of a handshake, as a port scan does, is no news.
    if (verdict == null && (error.code === 'ECONNRESET' || error.code === 'EPIPE')) return
    this.#refuse(new LsxError('CERT_DENIED', `TLS was refused: ${why}; ${tlsHint(error.code, why)}`), addressOf(socket))
  }

  #onBrokenRequest(error: Error & { code?: string }, socket: TLSSocket): void {
    const address = addressOf(socket)
    socket.destroy()
    if (this.#tlsErrors.has(error) || error.code === 'ECONNRESET' || error.code === 'EPIPE') return
    const why =
      error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? `no whole request came within ${REQUEST_TIMEOUT_MS} ms of the TLS handshake`
        : `what came is no HTTP request (${error.code ?? error.message})`
    this.#refuse(new LsxError('BAD_REQUEST', `${why}; is the peer a daemon of ours?`, { party: 'peer' }), address)
  }

  #peerOf(socket: TLSSocket): ListenerPeer {
    const certificate = socket.getPeerX509Certificate()
    return {
      address: socket.remoteAddress ?? '',
      spiffeId: certificate === undefined ? undefined : spiffeIdOf(certificate),
      certificateNotAfter: new Date(certificate?.validTo ?? 0),
      tls: tlsFactsOf(socket),
    }
  }

  #onUpgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    const socket = stream as TLSSocket
    socket.on('error', () => socket.destroy())
    const peer = this.#peerOf(socket)
    try {
      if (request.url !== CHANNEL_PATH)
        throw new LsxError('BAD_REQUEST', 'a channel was asked for at another path', { party: 'peer' })
      if (!offersSubprotocol(request))
        throw new LsxError('BAD_REQUEST', `the peer does not offer ${SUBPROTOCOL}`, { party: 'peer' })
      this.#options.gate.admitChannel(peer)
    } catch (thrown) {
      const error = toLsxError(thrown)
      this.#refuse(error, peer.address, peer.spiffeId)
      endWithStatus(socket, STATUS_OF[error.code] ?? '403 Forbidden')
      return
    }
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      const channelSocket = new WebSocketChannelSocket(webSocket)
      this.#options.gate.onChannel(peer, channelSocket, exportChannelBinding(socket))
    })
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    response.setHeader('connection', 'close')
    this.#options.gate.onRequest(this.#peerOf(request.socket as TLSSocket), request, response)
  }

  #refuse(error: LsxError, address: string | undefined, spiffeId?: string): void {
    this.#options.refusals.record(error, { address, ...(spiffeId === undefined ? {} : { spiffeId }) })
  }
}

function offersSubprotocol(request: IncomingMessage): boolean {
  const offered = request.headers['sec-websocket-protocol'] ?? ''
  return offered.split(',').some((name) => name.trim() === SUBPROTOCOL)
}

function endWithStatus(socket: TLSSocket, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () => socket.destroySoon())
}

/** A TLS socket that was destroyed has forgotten its address; the TCP socket below it, which was asked before, has not. */
function addressOf(socket: TLSSocket): string | undefined {
  const below = Reflect.get(socket, '_parent') as Socket | null | undefined
  return socket.remoteAddress ?? below?.remoteAddress
}
