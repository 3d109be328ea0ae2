import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Prng } from './prng.ts'
import { type LaneMode, ProxyLane } from './proxy-lane.ts'

/** A connection through the proxy: two sockets, a lane each way. */
class ProxyConnection {
  readonly #client: Socket
  readonly #server: Socket
  readonly #lanes: readonly ProxyLane[]
  /** Once a hole, always a hole: what was swallowed is missing in the stream. */
  #isHole = false
  #openSockets = 2

  constructor(options: { client: Socket; port: number; mode: () => LaneMode; prng: Prng; onClosed: () => void }) {
    const { client, prng } = options
    this.#client = client
    this.#server = connect({ port: options.port, host: '127.0.0.1', allowHalfOpen: true })
    const mode = (): LaneMode => {
      if (options.mode() === 'black-hole') this.#isHole = true
      return this.#isHole ? 'black-hole' : options.mode()
    }
    this.#lanes = [
      new ProxyLane({ from: client, to: this.#server, mode, prng }),
      new ProxyLane({ from: this.#server, to: client, mode, prng }),
    ]
    for (const socket of [client, this.#server]) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#openSockets--
        if (this.#openSockets === 0) options.onClosed()
      })
    }
  }

  pump(): void {
    for (const lane of this.#lanes) lane.pump()
  }

  /** FIN to both ends. */
  cut(): void {
    for (const socket of [this.#client, this.#server]) socket.end()
    // Whoever does not answer with its own FIN is left with a reset.
    setTimeout(() => this.reset(), 500).unref()
  }

  /** RST to both ends. */
  reset(): void {
    for (const lane of this.#lanes) lane.stop()
    for (const socket of [this.#client, this.#server]) socket.resetAndDestroy()
  }
}

/** A TCP relay on 127.0.0.1 that does to its connections what networks do. */
export class FaultProxy {
  readonly #prng: Prng
  readonly #server: Server
  readonly #connections = new Set<ProxyConnection>()
  #mode: LaneMode = 'clear'
  #targetPort: number | undefined

  private constructor(prng: Prng) {
    this.#prng = prng
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
  }

  static async listen(prng: Prng): Promise<FaultProxy> {
    const proxy = new FaultProxy(prng)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Where connections go; undefined while nobody listens there. */
  set targetPort(port: number | undefined) {
    this.#targetPort = port
  }

  get mode(): LaneMode {
    return this.#mode
  }

  /** For all connections, those to come as well. */
  set mode(mode: LaneMode) {
    this.#mode = mode
    for (const connection of this.#connections) connection.pump()
  }

  cut(): void {
    for (const connection of this.#connections) connection.cut()
  }

  reset(): void {
    for (const connection of this.#connections) connection.reset()
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.reset()
    await once(this.#server, 'close')
  }

  #accept(client: Socket): void {
    const port = this.#targetPort
    if (port === undefined) {
      client.on('error', () => {})
      client.resetAndDestroy()
      return
    }
    const connection: ProxyConnection = new ProxyConnection({
      client,
      port,
      mode: () => this.#mode,
      prng: this.#prng,
      onClosed: () => this.#connections.delete(connection),
    })
    this.#connections.add(connection)
    if (this.#mode === 'black-hole') connection.pump()
  }
}
