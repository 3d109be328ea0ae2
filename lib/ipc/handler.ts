import type { Message } from './message.ts'

export type IpcForm = 'unknown' | 'fast' | 'human'

/** One client of the server, as the handler sees it. */
export interface IpcConnection {
  /** Counts the connections of this server, from 1. */
  readonly id: number
  readonly form: IpcForm
  readonly closed: boolean
  /**
   * Sends a message; the replies of one tick leave in one write. Every message wants exactly one answer: a reply with
   * its id that is neither `outcome: "pending"` nor an `event`. Dropped in silence when the client is gone.
   */
  reply(message: Message): void
  /** Sends what is queued, then ends the connection. */
  close(): void
}

/** What the daemon does with messages. */
export interface IpcHandler {
  /**
   * `op` is a string, `id` a whole number or a string of 1 to 64, `payload` a Buffer or absent. An LsxError thrown here
   * becomes the refusal of this message.
   */
  onMessage(connection: IpcConnection, message: Message): void
  /** The client is gone, with or without answers still to come. Called once. */
  onClose(connection: IpcConnection): void
}
