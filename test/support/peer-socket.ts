import { request as httpsRequest } from 'node:https'
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls'
import { WebSocket } from 'ws'
import { secureContextOptions } from '../../lib/certs/index.ts'
import type { TestNode } from './pki.ts'

/** How long a test waits for a peer. */
export const WITHIN_MS = 10_000
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
