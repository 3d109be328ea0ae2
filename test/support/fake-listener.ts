import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls'
import { WebSocket, WebSocketServer } from 'ws'
import { secureContextOptions } from '../../lib/certs/index.ts'
import { PeerSocket, WITHIN_MS } from './peer-socket.ts'
import type { TestNode } from './pki.ts'

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
