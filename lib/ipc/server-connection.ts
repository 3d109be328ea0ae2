import type { Socket } from 'node:net'
import { type Clock, describeError, type Logger, LsxError, type TimerHandle, toLsxError } from '../runtime/index.ts'
import { isMessageId } from './app-request.ts'
import { BlockReader } from './block-reader.ts'
import type { IpcConnection, IpcForm, IpcHandler } from './handler.ts'
import { formatLine, isBlankLine, parseLine, payloadFromJson } from './human-form.ts'
import { type IpcLimits, LAST_ANSWERS_MS, LINGER_MS, MAX_BROKEN_IN_A_ROW, MESSAGE_SCAN_LIMITS } from './limits.ts'
import { LineReader } from './line-reader.ts'
import type { Message } from './message.ts'
import { MessageDeadline } from './message-deadline.ts'
import { MessageReader } from './message-reader.ts'
import { Outbox } from './outbox.ts'
import { refusalOf } from './refusal.ts'

/*
 * serving ──client ended its side, or the server stops──> finishing ──nothing left to answer──> closing ──> closed
 *    └──────────────────framing lost, or close()─────────────────────────────────────────────────┘
 * Any state goes to closed when the socket does.
 *
 * finishing: answers what it has taken, refuses what still comes. closing: our side ends; what comes is thrown away until
 * LINGER_MS after our last byte, because a client that is cut off while it writes would not read why.
 */
type State = 'serving' | 'finishing' | 'closing' | 'closed'

const OPENING_BRACE = 0x7b
const NOTHING = Buffer.alloc(0)

export interface ServerConnectionOptions {
  readonly id: number
  readonly socket: Socket
  readonly limits: IpcLimits
  readonly handler: IpcHandler
  readonly logger: Logger
  readonly clock: Clock
  readonly onClosed: (connection: ServerConnection) => void
}

export class ServerConnection implements IpcConnection {
  readonly id: number
  readonly #socket: Socket
  readonly #limits: IpcLimits
  readonly #handler: IpcHandler
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #onClosed: (connection: ServerConnection) => void
  readonly #deadline: MessageDeadline
  #state: State = 'serving'
  #form: IpcForm = 'unknown'
  #reader: BlockReader | LineReader | undefined
  #outbox: Outbox
  #pending = 0
  #brokenInARow = 0
  #endTimer: TimerHandle | undefined

  constructor(options: ServerConnectionOptions) {
    this.id = options.id
    this.#socket = options.socket
    this.#limits = options.limits
    this.#handler = options.handler
    this.#logger = options.logger
    this.#clock = options.clock
    this.#onClosed = options.onClosed
    this.#outbox = new Outbox(options.socket, { framed: true, maxMessageBytes: this.#limits.maxMessageBytes })
    const socket = options.socket
    this.#deadline = new MessageDeadline({
      clock: options.clock,
      isPaused: () => socket.isPaused(),
      onOverdue: () => this.#endForBadFraming(new LsxError('BAD_REQUEST', 'a message did not arrive whole in time')),
    })
    socket.on('data', (chunk: Buffer) => this.#receiveChunk(chunk))
    socket.on('drain', () => socket.resume())
    socket.on('end', () => this.#receiveEnd())
    // A client that goes away mid-write is no fault of ours, and 'close' follows.
    socket.on('error', (error) =>
      this.#logger.debug({ connection: this.id, error: describeError(error) }, 'ipc socket'),
    )
    socket.on('close', () => this.#receiveClose())
  }

  get form(): IpcForm {
    return this.#form
  }

  get closed(): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  reply(message: Message): void {
    if (this.closed) return
    this.#append(message)
    const unwrittenBytes = this.#outbox.unwrittenBytes
    if (unwrittenBytes > this.#limits.maxBufferedBytes) {
      this.#logger.warn({ connection: this.id, unwrittenBytes }, 'a client does not read its answers; cut off')
      this.destroy()
      return
    }
    if (unwrittenBytes > this.#limits.maxBufferedBytes / 2 && this.#socket.writableNeedDrain) this.#socket.pause()
    if (isFinal(message) && this.#pending > 0) this.#pending--
    this.#endWhenFinished()
  }

  close(): void {
    if (this.closed) return
    this.#state = 'closing'
    this.#deadline.stop()
    this.#outbox.flush()
    this.#endTimer = this.#clock.startTimer(LAST_ANSWERS_MS, () => this.destroy())
    this.#socket.end(() => {
      this.#stopEndTimer()
      if (this.#state === 'closing') this.#endTimer = this.#clock.startTimer(LINGER_MS, () => this.destroy())
    })
    this.#socket.resume()
  }

  /** Answers what has been taken, refuses what still comes, then ends. */
  finish(): void {
    if (this.#state !== 'serving') return
    this.#state = 'finishing'
    this.#endWhenFinished()
  }

  destroy(): void {
    this.#state = 'closed'
    this.#socket.destroy()
  }

  #receiveChunk(chunk: Buffer): void {
    if (this.closed) return
    try {
      const reader = this.#reader ?? this.#chooseForm(chunk)
      const completed = reader.completed
      reader.push(chunk)
      if (reader.partial) this.#deadline.partial({ isNew: reader.completed !== completed })
      else this.#deadline.complete()
    } catch (error) {
      if (!this.closed) this.#endForBadFraming(toLsxError(error))
    }
  }

  #receiveEnd(): void {
    if (this.closed) return
    this.#deadline.stop()
    if (this.#reader instanceof LineReader) this.#reader.end()
    this.finish()
    // To have ended a side and to be gone look the same from here. A write of nothing tells: it fails when there is
    // nobody to read. Without it the connection of a dead client would stay until its last answer.
    if (!this.closed) this.#socket.write(NOTHING)
  }

  #receiveClose(): void {
    this.#state = 'closed'
    this.#deadline.stop()
    this.#stopEndTimer()
    this.#onClosed(this)
    try {
      this.#handler.onClose(this)
    } catch (error) {
      this.#logger.error({ connection: this.id, error: describeError(error) }, 'closing a connection failed')
    }
  }

  #chooseForm(chunk: Buffer): BlockReader | LineReader {
    if (chunk[0] === OPENING_BRACE) return this.#speakHuman()
    if (isPrintable(chunk[0])) {
      this.#speakHuman()
      throw new LsxError('BAD_REQUEST', 'this socket takes one JSON object a line, or blocks of msgpack maps')
    }
    this.#form = 'fast'
    const messages = new MessageReader({
      limits: MESSAGE_SCAN_LIMITS,
      receive: (message) => this.#receiveMessage(message),
    })
    this.#reader = new BlockReader({
      maxBlockBytes: this.#limits.maxMessageBytes,
      receiveBlock: (block) => messages.readBlock(block),
    })
    return this.#reader
  }

  #speakHuman(): LineReader {
    this.#form = 'human'
    this.#outbox = new Outbox(this.#socket, { framed: false, maxMessageBytes: this.#limits.maxMessageBytes })
    const reader = new LineReader({
      maxLineBytes: this.#limits.maxMessageBytes,
      receiveLine: (line) => this.#receiveLine(line),
    })
    this.#reader = reader
    return reader
  }

  #receiveLine(line: Buffer): void {
    if (isBlankLine(line)) return
    // Unwinds the reader: each broken line that is left would be answered and logged once more.
    if (this.closed) throw new LsxError('SHUTTING_DOWN', 'the connection has ended')
    let message: Message
    try {
      message = parseLine(line)
    } catch (error) {
      this.#pending++
      this.#refuseBroken({}, toLsxError(error))
      return
    }
    this.#receiveMessage(message)
  }

  #receiveMessage(message: Message): void {
    // Unwinds the readers: what else is in the chunk is not worth decoding.
    if (this.closed) throw new LsxError('SHUTTING_DOWN', 'the connection has ended')
    this.#pending++
    try {
      this.#checkMessage(message)
    } catch (error) {
      this.#refuseBroken(message, toLsxError(error))
      return
    }
    this.#brokenInARow = 0
    try {
      this.#refuseBeyondBounds()
      this.#handler.onMessage(this, message)
    } catch (error) {
      const refused = toLsxError(error)
      if (refused.code === 'INTERNAL') {
        this.#logger.error({ connection: this.id, op: message.op, error: describeError(error) }, 'a message failed')
      }
      this.reply(refusalOf(message, refused))
    }
  }

  /** To refuse is dearer than to send: a client that sends nothing but broken messages is ended. */
  #refuseBroken(message: Message, error: LsxError): void {
    this.reply(refusalOf(message, error))
    if (++this.#brokenInARow >= MAX_BROKEN_IN_A_ROW) this.#endForBadFraming(error)
  }

  #checkMessage(message: Message): void {
    if (!isMessageId(message.id)) {
      throw new LsxError('BAD_REQUEST', 'id: must be a whole number from 0, or a string of 1 to 64 characters')
    }
    if (typeof message.op !== 'string') throw new LsxError('BAD_REQUEST', 'op: must be a string')
    if (this.#form === 'human') payloadFromJson(message)
    else if (message.payload !== undefined && !Buffer.isBuffer(message.payload)) {
      throw new LsxError('BAD_REQUEST', 'payload: must be bytes (msgpack bin)')
    }
  }

  #refuseBeyondBounds(): void {
    if (this.#state === 'finishing') throw new LsxError('SHUTTING_DOWN', 'the daemon takes no more requests')
    if (this.#pending > this.#limits.maxPendingPerConnection) {
      throw new LsxError('BUSY', `${this.#limits.maxPendingPerConnection} messages of this connection are unanswered`)
    }
  }

  #append(message: Message): void {
    const { maxMessageBytes } = this.#limits
    try {
      if (this.#appendInForm(message)) return
      this.#logger.warn({ connection: this.id, maxMessageBytes }, 'an answer is over the limit of this socket')
      const tooLarge = new LsxError('TOO_LARGE', `the answer is over ${maxMessageBytes} bytes`)
      this.#appendInForm(withoutContent(message, tooLarge))
    } catch (error) {
      this.#logger.error({ connection: this.id, error: describeError(error) }, 'an answer cannot be encoded')
      this.#appendInForm(withoutContent(message, new LsxError('INTERNAL', 'the answer cannot be encoded')))
    }
  }

  #appendInForm(message: Message): boolean {
    if (this.#form === 'human') return this.#outbox.appendBytes(Buffer.from(formatLine(message)))
    return this.#outbox.appendMessage(message)
  }

  #endWhenFinished(): void {
    if (this.#state === 'finishing' && this.#pending === 0) this.close()
  }

  /** What follows cannot be understood: says so if the client can still be told, and ends. */
  #endForBadFraming(error: LsxError): void {
    this.#logger.warn(
      { connection: this.id, form: this.#form, error: describeError(error) },
      'a client broke the protocol',
    )
    this.reply(refusalOf({}, error))
    this.close()
  }

  #stopEndTimer(): void {
    if (this.#endTimer !== undefined) this.#clock.cancelTimer(this.#endTimer)
    this.#endTimer = undefined
  }
}

/** Same id, same outcome, but an error in place of what it carried. */
function withoutContent(message: Message, error: LsxError): Message {
  const failure = { code: error.code, message: error.message }
  const { id, outcome, key, ms, event } = message
  if (event !== undefined) return { id, event, ...failure }
  return outcome === undefined ? { id, ok: false, ...failure } : { id, outcome, key, ms, ...failure }
}

function isFinal(message: Message): boolean {
  return message.outcome !== 'pending' && message.event === undefined
}

/** Text, where a length was expected: a person or a program with another protocol in mind. */
function isPrintable(byte: number | undefined): boolean {
  return byte !== undefined && ((byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d || byte === 0x09)
}
