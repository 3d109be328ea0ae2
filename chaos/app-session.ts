import { setTimeout as delay } from 'node:timers/promises'
import { connect, type LsClient } from '../lib/ipc/index.ts'

const RECONNECT_PAUSE_MS = 25

/** An app's connection to lsd, made again whenever it is lost. */
export class AppSession {
  readonly #path: string
  #client: LsClient | undefined
  #connecting: Promise<LsClient> | undefined
  #connects = 0

  constructor(path: string) {
    this.#path = path
  }

  get connects(): number {
    return this.#connects
  }

  /** An open connection, as soon as there is one. Rejects when `signal` aborts. */
  client(signal: AbortSignal): Promise<LsClient> {
    if (this.#client !== undefined && !this.#client.closed) return Promise.resolve(this.#client)
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  async close(): Promise<void> {
    await this.#client?.close()
  }

  async #connect(signal: AbortSignal): Promise<LsClient> {
    for (;;) {
      signal.throwIfAborted()
      try {
        this.#client = await connect(this.#path)
        this.#connects++
        return this.#client
      } catch {
        // lsd is away: that is what this is about.
        await delay(RECONNECT_PAUSE_MS, undefined, { signal })
      }
    }
  }
}
