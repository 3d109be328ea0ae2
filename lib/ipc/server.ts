import { createServer, type Server, type Socket } from 'node:net'
import { type Clock, describeError, type Logger, type Service } from '../runtime/index.ts'
import type { IpcHandler } from './handler.ts'
import { completeLimits, type IpcLimits } from './limits.ts'
import { ServerConnection } from './server-connection.ts'
import { SocketFile, type SocketMode } from './socket-file.ts'

export interface IpcServerOptions {
  /** At most 107 bytes. */
  readonly path: string
  readonly mode: SocketMode
  readonly limits?: Partial<IpcLimits>
  readonly handler: IpcHandler
  readonly logger: Logger
  readonly clock: Clock
}

/** A unix socket that speaks both forms of the protocol and hands each message to one handler. */
export class IpcServer implements Service {
  readonly name = 'ipc'
  readonly path: string
  readonly #mode: SocketMode
  readonly #limits: IpcLimits
  readonly #handler: IpcHandler
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #connections = new Set<ServerConnection>()
  #server: Server | undefined
  #file: SocketFile | undefined
  #connectionCount = 0
  #droppedCount = 0
  readonly #waiting = new Set<() => void>()

  constructor(options: IpcServerOptions) {
    this.path = options.path
    this.#mode = options.mode
    this.#limits = completeLimits(options.limits)
    this.#handler = options.handler
    this.#logger = options.logger
    this.#clock = options.clock
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  /** Rejects with REFUSED when a daemon answers on the path already, or the path cannot be a socket. */
  async start(signal: AbortSignal): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket))
    server.maxConnections = this.#limits.maxConnections
    server.on('drop', () => this.#countDropped())
    this.#file = await SocketFile.listen(server, { path: this.path, mode: this.#mode, signal })
    this.#server = server
    // Out of descriptors, for one: the next accept may work again.
    server.on('error', (error) =>
      this.#logger.error({ path: this.path, error: describeError(error) }, 'ipc accept failed'),
    )
    this.#logger.info({ path: this.path }, 'ipc listens')
  }

  /** Takes no more connections or requests; what is being answered may finish and leave until `signal` aborts. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#file?.remove()
    this.#file = undefined
    this.#server?.close()
    this.#server = undefined
    for (const connection of this.#connections) connection.finish()
    await this.#untilAllClosed(signal)
    for (const connection of this.#connections) {
      connection.close()
      connection.destroy()
    }
    await this.#untilAllClosed()
  }

  /** Without a signal for connections that are destroyed: their end takes no more than a turn of the loop. */
  #untilAllClosed(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (this.#connections.size === 0 || signal?.aborted) {
        resolve()
        return
      }
      const done = (): void => {
        this.#waiting.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      this.#waiting.add(done)
      signal?.addEventListener('abort', done, { once: true })
    })
  }

  #accept(socket: Socket): void {
    this.#connections.add(
      new ServerConnection({
        id: ++this.#connectionCount,
        socket,
        limits: this.#limits,
        handler: this.#handler,
        logger: this.#logger,
        clock: this.#clock,
        onClosed: (connection) => this.#forget(connection),
      }),
    )
  }

  #forget(connection: ServerConnection): void {
    this.#connections.delete(connection)
    if (this.#connections.size === 0) for (const done of this.#waiting) done()
  }

  #countDropped(): void {
    this.#droppedCount++
    // One line as it begins and one at each doubling: a client in a loop must not fill the log.
    if ((this.#droppedCount & (this.#droppedCount - 1)) !== 0) return
    const facts = { path: this.path, maxConnections: this.#limits.maxConnections, dropped: this.#droppedCount }
    this.#logger.warn(facts, 'connections turned away: the limit is reached')
  }
}
