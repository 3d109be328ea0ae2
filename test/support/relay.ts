import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls'
import { secureContextOptions } from '../../lib/certs/index.ts'
import type { TestNode } from './pki.ts'

/** Every byte of one connection, as it passed. */
export interface Recording {
  readonly fromClient: Buffer[]
  readonly fromServer: Buffer[]
}

/** A TCP relay on 127.0.0.1 that writes down what passes. */
export class RecordingRelay {
  readonly recordings: Recording[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(toPort: () => number) {
    this.#server = createServer((client) => {
      const recording: Recording = { fromClient: [], fromServer: [] }
      this.recordings.push(recording)
      const server = connect(toPort(), '127.0.0.1')
      join(client, server, recording)
      for (const socket of [client, server]) {
        this.#sockets.add(socket)
        socket.once('close', () => this.#sockets.delete(socket))
      }
    })
  }

  static async listen(toPort: () => number): Promise<RecordingRelay> {
    const relay = new RecordingRelay(toPort)
    relay.#server.listen(0, '127.0.0.1')
    await once(relay.#server, 'listening')
    return relay
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await once(this.#server, 'close')
  }
}

/**
 * Ends TLS on both sides and passes on what is inside: a proxy in the middle that has got hold of valid certificates.
 * `passed` counts the connections on which both handshakes succeeded.
 */
export class TlsProxy {
  passed = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(serverNode: TestNode, clientNode: TestNode, toPort: () => number) {
    this.#server = createTlsServer(
      { ...secureContextOptions(serverNode.material), requestCert: true, ALPNProtocols: ['http/1.1'] },
      (client) => {
        const server = tlsConnect({
          ...secureContextOptions(clientNode.material),
          host: '127.0.0.1',
          port: toPort(),
          rejectUnauthorized: false,
          ALPNProtocols: ['http/1.1'],
        })
        server.once('secureConnect', () => this.passed++)
        join(client, server)
        for (const socket of [client, server]) {
          this.#sockets.add(socket)
          socket.once('close', () => this.#sockets.delete(socket))
        }
      },
    )
  }

  static async listen(options: {
    serverNode: TestNode
    clientNode: TestNode
    toPort: () => number
  }): Promise<TlsProxy> {
    const proxy = new TlsProxy(options.serverNode, options.clientNode, options.toPort)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await once(this.#server, 'close')
  }
}

function join(client: Socket, server: Socket, recording?: Recording): void {
  client.on('data', (chunk: Buffer) => {
    recording?.fromClient.push(chunk)
    server.write(chunk)
  })
  server.on('data', (chunk: Buffer) => {
    recording?.fromServer.push(chunk)
    client.write(chunk)
  })
  for (const [socket, other] of [
    [client, server],
    [server, client],
  ] as const) {
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('end', () => other.end())
    socket.on('close', () => other.destroy())
  }
}
