import { type ScanLimits, scanValue } from '../frames/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { Message } from './message.ts'
import { decodeValue } from './value-codec.ts'

/** Buffer's own slice without the argument checks of `toString`; Node has it, its type declarations do not. */
type Latin1Bytes = Buffer & { latin1Slice(start: number, end: number): string }

const LONGEST_SHORT_TEXT = 64
/** No message of ours has more. */
const MANY_FIELDS = 32
/** The bytes of a block up to here are copied once for all its messages, so that one of them may keep as much alive. */
const SHARED_COPY_BYTES = 8 * 1024

/** A short text as it is in msgpack, and as a string. */
interface CachedText {
  readonly bytes: Uint8Array
  readonly text: string
}

/** The fields of an earlier message, in their order, and its texts; null where these differ from message to message. */
interface Shape {
  readonly names: readonly CachedText[]
  readonly texts: (CachedText | null | undefined)[]
}

/**
 * Decodes the maps of one block, in order. Each keeps the rules of `scanValue` in lib/frames: no extensions, bounded
 * nesting and size, valid UTF-8, keys that are strings and not twice. What messages hold (short ASCII strings, small
 * numbers, bytes) is read here in one pass; a message with anything else is scanned and decoded there. Bytes are copied, so nothing
 * keeps the block alive. Throws BAD_REQUEST at the first map that breaks a rule; those before it have been received.
 */
export class MessageReader {
  readonly #limits: ScanLimits
  readonly #receive: (message: Message) => void
  /** By number of fields. */
  readonly #shapes: (Shape | undefined)[] = new Array<Shape | undefined>(MANY_FIELDS + 1).fill(undefined)
  #block: Latin1Bytes = Buffer.alloc(0) as Latin1Bytes
  #position = 0
  /** What the bytes of the block's messages are views of. */
  #copy: Buffer | undefined

  constructor(options: { limits: ScanLimits; receive: (message: Message) => void }) {
    this.#limits = options.limits
    this.#receive = options.receive
  }

  readBlock(block: Buffer): void {
    this.#block = block as Latin1Bytes
    this.#copy = undefined
    this.#position = 0
    while (this.#position < block.length) {
      const message = this.#readMessage()
      this.#receive(message)
    }
  }

  #readMessage(): Message {
    try {
      const lead = this.#block[this.#position] as number
      if ((lead & 0xf0) === 0x80) return this.#readFields(lead & 0x0f, 1)
      // Two more bytes of count: what msgpackr writes for every object unless told otherwise.
      if (lead === 0xde && this.#block[this.#position + 1] === 0) {
        const count = this.#block[this.#position + 2]
        if (count !== undefined && count <= MANY_FIELDS) return this.#readFields(count, 3)
      }
      if (lead === 0xde || lead === 0xdf) return this.#readElsewhere() as Message
    } catch (error) {
      throw new LsxError('BAD_REQUEST', `message: ${(error as Error).message}`, { cause: error })
    }
    throw new LsxError('BAD_REQUEST', 'message: a block holds msgpack maps and nothing else')
  }

  #readFields(count: number, headerBytes: number): Message {
    const start = this.#position
    this.#position += headerBytes
    const known = this.#shapes[count]
    return (
      (known === undefined ? undefined : this.#readKnownFields(known)) ?? this.#readNewFields(count, start, headerBytes)
    )
  }

  /** Messages mostly look like the one before: then no name is made anew, nor a text that is the same again. */
  #readKnownFields({ names, texts }: Shape): Message | undefined {
    const message: Message = {}
    for (let index = 0; index < names.length; index++) {
      const name = names[index] as CachedText
      if (!this.#skipSame(name)) return undefined
      const text = texts[index]
      if (text !== undefined && text !== null && this.#skipSame(text)) {
        message[name.text] = text.text
        continue
      }
      const valueStart = this.#position
      const value = this.#readSimpleValue()
      if (value === undefined) return undefined
      // What differs once is taken to differ always: keys do.
      if (text !== undefined) texts[index] = null
      else if (typeof value === 'string') texts[index] = this.#cached(valueStart, value)
      message[name.text] = value
    }
    return message
  }

  #readNewFields(count: number, start: number, headerBytes: number): Message {
    this.#position = start + headerBytes
    const message: Message = {}
    const names: CachedText[] = []
    for (let index = 0; index < count; index++) {
      const nameStart = this.#position
      const name = this.#readShortText()
      const isNew = name !== undefined && name !== '__proto__' && !Object.hasOwn(message, name)
      if (isNew) names.push(this.#cached(nameStart, name))
      const value = isNew ? this.#readSimpleValue() : undefined
      if (!isNew || value === undefined) {
        this.#position = start
        return this.#readElsewhere() as Message
      }
      message[name] = value
    }
    this.#shapes[count] = { names, texts: new Array<CachedText | null | undefined>(count).fill(undefined) }
    return message
  }

  /** What was just read from `start` on, as `text`. */
  #cached(start: number, text: string): CachedText {
    return { bytes: Uint8Array.prototype.slice.call(this.#block, start, this.#position), text }
  }

  /** Moves over this very text where it comes next. */
  #skipSame({ bytes }: CachedText): boolean {
    const block = this.#block
    const position = this.#position
    // From the end: what differs between two keys of one moment is there.
    for (let index = bytes.length - 1; index >= 0; index--) {
      if (block[position + index] !== bytes[index]) return false
    }
    this.#position = position + bytes.length
    return true
  }

  /** Undefined for a value that is nested, unusual or wrong. */
  #readSimpleValue(): unknown {
    const token = this.#block[this.#position] as number
    if (token < 0x80) {
      this.#position++
      return token
    }
    switch (token) {
      case 0xc0:
        this.#position++
        return null
      case 0xc2:
      case 0xc3:
        this.#position++
        return token === 0xc3
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#readBin(token)
      case 0xcb:
        return this.#readDouble()
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#readUint(token)
      default:
        return this.#readShortText()
    }
  }

  /** Undefined for anything but a short ASCII string that is all there. */
  #readShortText(): string | undefined {
    const block = this.#block
    const token = block[this.#position] as number
    let start = this.#position + 1
    let length: number
    if ((token & 0xe0) === 0xa0) length = token & 0x1f
    else if (token === 0xd9) length = block[start++] as number
    else return undefined
    const end = start + length
    if (!(length <= LONGEST_SHORT_TEXT && end <= block.length)) return undefined
    for (let index = start; index < end; index++) if ((block[index] as number) >= 0x80) return undefined
    this.#position = end
    return block.latin1Slice(start, end)
  }

  /** Undefined when it is cut short. */
  #readBin(token: number): Buffer | undefined {
    const start = this.#position + 1 + (1 << (token - 0xc4))
    const length = this.#uint(this.#position + 1, start)
    const end = start + length
    if (length < 0 || end > this.#block.length) return undefined
    this.#position = end
    if (this.#block.length > SHARED_COPY_BYTES) return Buffer.from(this.#block.subarray(start, end))
    this.#copy ??= Buffer.from(this.#block)
    return this.#copy.subarray(start, end)
  }

  /** Undefined when it is cut short. */
  #readUint(token: number): number | undefined {
    const end = this.#position + 1 + (1 << (token - 0xcc))
    const value = this.#uint(this.#position + 1, end)
    if (value < 0) return undefined
    this.#position = end
    return value
  }

  /** -1 when it is cut short. */
  #uint(start: number, end: number): number {
    if (end > this.#block.length) return -1
    let value = 0
    for (let index = start; index < end; index++) value = value * 0x100 + (this.#block[index] as number)
    return value
  }

  #readDouble(): number | undefined {
    const start = this.#position + 1
    if (start + 8 > this.#block.length) return undefined
    this.#position = start + 8
    return this.#block.readDoubleBE(start)
  }

  /** Any message, by the code that knows all values and has the words for what is wrong. */
  #readElsewhere(): unknown {
    const start = this.#position
    const end = scanValue(this.#block, start, this.#limits)
    this.#position = end
    return decodeValue(this.#block.subarray(start, end), this.#limits)
  }
}
