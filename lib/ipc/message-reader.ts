import { type ScanLimits, scanValue } from '../frames/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { Message } from './message.ts'
import { decodeValue } from './value-codec.ts'

/** Buffer's own slice without the argument checks of `toString`; Node has it, its type declarations do not. */
type Latin1Bytes = Buffer & { latin1Slice(start: number, end: number): string }

const LONGEST_SHORT_TEXT = 64
/** No message of ours has more. */
const MANY_FIELDS = 32

/**
 * Decodes the maps of one block, in order. Each keeps the rules of `scanValue` in lib/frames: no extensions, bounded
 * nesting and size, valid UTF-8, keys that are strings and not twice. What messages hold (short ASCII strings, small
 * numbers, bytes) is read here in one pass; a message with anything else is scanned and decoded there. Bytes are copied, so nothing
 * keeps the block alive. Throws BAD_REQUEST at the first map that breaks a rule; those before it have been received.
 */
export class MessageReader {
  readonly #limits: ScanLimits
  readonly #receive: (message: Message) => void
  #block: Latin1Bytes = Buffer.alloc(0) as Latin1Bytes
  #position = 0

  constructor(options: { limits: ScanLimits; receive: (message: Message) => void }) {
    this.#limits = options.limits
    this.#receive = options.receive
  }

  readBlock(block: Buffer): void {
    this.#block = block as Latin1Bytes
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
    const message: Message = {}
    for (let index = 0; index < count; index++) {
      const name = this.#readShortText()
      const isNew = name !== undefined && name !== '__proto__' && !Object.hasOwn(message, name)
      const value = isNew ? this.#readSimpleValue() : undefined
      if (!isNew || value === undefined) {
        this.#position = start
        return this.#readElsewhere() as Message
      }
      message[name] = value
    }
    return message
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
    if (start > this.#block.length) return undefined
    const end = start + this.#block.readUIntBE(this.#position + 1, start - this.#position - 1)
    if (end > this.#block.length) return undefined
    this.#position = end
    return Buffer.from(this.#block.subarray(start, end))
  }

  /** Undefined when it is cut short. */
  #readUint(token: number): number | undefined {
    const end = this.#position + 1 + (1 << (token - 0xcc))
    if (end > this.#block.length) return undefined
    const value = this.#block.readUIntBE(this.#position + 1, end - this.#position - 1)
    this.#position = end
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
