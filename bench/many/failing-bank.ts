import { createServer, type Server, type Socket } from 'node:net'

export type FailingMode = 'reset' | 'black-hole'

/** A bank that takes connections and resets them, or takes them and never says a word. */
export class FailingBank {
  mode: FailingMode = 'reset'
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  constructor() {
    this.#server = createServer((socket) => {
      socket.on('error', () => {})
      if (this.mode === 'reset') {
        socket.resetAndDestroy()
        return
      }
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      socket.resume()
    })
  }

  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, '127.0.0.1', () => {
        const address = this.#server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : 0)
      })
    })
  }

  stop(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }
}
