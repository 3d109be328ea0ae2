import type { Socket } from 'node:net'
import { LENGTH_BYTES } from './block-reader.ts'
import type { Message } from './message.ts'
import { MessageWriter } from './message-writer.ts'

/**
 * A batch leaves at this size even within a tick. Two processes that each flush once a tick move all calls as one
 * convoy and work in turns; smaller batches let them overlap. Measured with 256 small requests in flight: 4 KiB (some 30
 * of them) gave half as much again as 32 KiB; below 2 KiB the system calls weigh more than the overlap brings.
 */
const FLUSH_BYTES = 4 * 1024
/** Messages with packets and proofs fill that with four of them: then it is their number that counts. */
const FLUSH_MESSAGES = 16
const MAX_FLUSH_BYTES = 32 * 1024

/**
 * Gathers the messages of one tick and writes them at once: as one block in the fast form, as lines in the human form.
 * It never waits: who appends looks at `unwrittenBytes`.
 */
export class Outbox {
  readonly #socket: Socket
  readonly #framed: boolean
  readonly #maxMessageBytes: number
  readonly #writer: MessageWriter
  readonly #flushAtEndOfTick = (): void => {
    this.#flushPlanned = false
    this.flush()
  }
  #flushPlanned = false
  #messages = 0

  constructor(socket: Socket, options: { framed: boolean; maxMessageBytes: number }) {
    this.#socket = socket
    this.#framed = options.framed
    this.#maxMessageBytes = options.maxMessageBytes
    this.#writer = new MessageWriter(options.framed ? LENGTH_BYTES : 0)
  }

  /** Bytes that the kernel has not taken. */
  get unwrittenBytes(): number {
    return this.#writer.byteLength + this.#socket.writableLength
  }

  /** False, and nothing is appended, when the message is over its limit. Throws INTERNAL when it cannot be encoded. */
  appendMessage(message: Message): boolean {
    return this.#leave(this.#writer.appendMessage(message))
  }

  /** The same for a message that is encoded already. */
  appendBytes(bytes: Uint8Array): boolean {
    return this.#leave(this.#writer.appendBytes(bytes))
  }

  flush(): void {
    this.#write(this.#writer.byteLength)
  }

  #leave(messageBytes: number): boolean {
    const batchBytes = this.#writer.byteLength
    const earlierBytes = batchBytes - messageBytes
    if (messageBytes > this.#maxMessageBytes) {
      this.#writer.rewind(earlierBytes)
      return false
    }
    this.#messages++
    const isFull = batchBytes >= FLUSH_BYTES && (this.#messages >= FLUSH_MESSAGES || batchBytes >= MAX_FLUSH_BYTES)
    if (isFull || messageBytes >= FLUSH_BYTES) {
      // A large message is a block of its own: gathered, a block might pass the limit of a message.
      if (messageBytes >= FLUSH_BYTES) this.#write(earlierBytes)
      this.flush()
    } else if (!this.#flushPlanned) {
      this.#flushPlanned = true
      process.nextTick(this.#flushAtEndOfTick)
    }
    return true
  }

  #write(bytes: number): void {
    this.#messages = 0
    if (bytes === 0) return
    const batch = this.#writer.take(bytes)
    if (this.#framed) batch.writeUInt32BE(bytes, 0)
    if (this.#socket.writable) this.#socket.write(batch)
  }
}
