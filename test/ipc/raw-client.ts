import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { Packr, Unpackr } from 'msgpackr'

const packr = new Packr({ useRecords: false })
const unpackr = new Unpackr({ useRecords: false })

export type Fields = Record<string, unknown>

/** One block of the fast form, written by msgpackr rather than by the code under test. */
export function block(...messages: Fields[]): Buffer {
  const body = Buffer.concat(messages.map((message) => packr.pack(message)))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  return Buffer.concat([length, body])
}

export function pack(value: unknown): Buffer {
  return packr.pack(value)
}

export function unpack(bytes: Buffer): unknown {
  return unpackr.unpack(bytes)
}

/** Cuts what a server sent into blocks, each a list of messages. */
export function blocksOf(bytes: Buffer): Fields[][] {
  const blocks: Fields[][] = []
  for (let offset = 0; offset < bytes.length; ) {
    const end = offset + 4 + bytes.readUInt32BE(offset)
    blocks.push(unpackr.unpackMultiple(bytes.subarray(offset + 4, end)) as Fields[])
    offset = end
  }
  return blocks
}

/** A client of plain bytes, for everything that a proper client would not do. */
export class RawClient {
  readonly socket: Socket
  #received: Buffer = Buffer.alloc(0)

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
    })
    socket.on('error', () => {})
  }

  static async connect(path: string): Promise<RawClient> {
    const client = new RawClient(createConnection({ path, allowHalfOpen: true }))
    await once(client.socket, 'connect')
    return client
  }

  get received(): Buffer {
    return this.#received
  }

  send(bytes: Buffer | string): void {
    this.socket.write(bytes)
  }

  /** Resolves with all blocks so far as soon as they hold `count` messages. */
  async messages(count: number): Promise<Fields[]> {
    for (;;) {
      const messages = completeBlocks(this.#received)
      if (messages.length >= count) return messages
      await this.#more()
    }
  }

  async lines(count: number): Promise<Fields[]> {
    for (;;) {
      const lines = this.#received.toString().split('\n').slice(0, -1)
      if (lines.length >= count) return lines.map((line) => JSON.parse(line) as Fields)
      await this.#more()
    }
  }

  /** Resolves when the server has ended its side. */
  async ended(): Promise<void> {
    if (this.socket.readableEnded || this.socket.destroyed) return
    await new Promise<void>((resolve) => {
      this.socket.once('end', resolve)
      this.socket.once('close', () => resolve())
    })
  }

  #more(): Promise<void> {
    return new Promise((resolve, reject) => {
      const { socket } = this
      const settle = (): void => {
        socket.off('data', settle)
        socket.off('end', fail)
        socket.off('close', fail)
        resolve()
      }
      const fail = (): void => reject(new Error(`ended after ${this.#received.length} bytes: ${this.#received}`))
      if (socket.readableEnded || socket.destroyed) {
        fail()
        return
      }
      socket.on('data', settle)
      socket.on('end', fail)
      socket.on('close', fail)
    })
  }
}

function completeBlocks(bytes: Buffer): Fields[] {
  let end = 0
  while (end + 4 <= bytes.length && end + 4 + bytes.readUInt32BE(end) <= bytes.length)
    end += 4 + bytes.readUInt32BE(end)
  return blocksOf(bytes.subarray(0, end)).flat()
}
