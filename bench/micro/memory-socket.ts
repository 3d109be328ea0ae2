import type { ChannelSocket } from '../../lib/channel/index.ts'

type Listener = Parameters<ChannelSocket['listen']>[0]

/** One end of a socket in memory: what is sent arrives at the other end at once. */
class MemorySocket implements ChannelSocket {
  readonly bufferedBytes = 0
  peer: MemorySocket | undefined
  #listener: Listener | undefined
  #early: Buffer[] = []

  listen(listener: Listener): void {
    this.#listener = listener
    for (const frame of this.#early.splice(0)) listener.onFrame(frame)
  }

  send(frame: Buffer, onWritten?: () => void): void {
    this.peer?.receive(frame)
    onWritten?.()
  }

  receive(frame: Buffer): void {
    if (this.#listener === undefined) this.#early.push(frame)
    else this.#listener.onFrame(frame)
  }

  close(closeCode: number, reason: string): void {
    this.peer?.closed(closeCode, reason)
  }

  closed(closeCode: number, reason: string): void {
    this.#listener?.onClosed(closeCode, reason)
  }

  terminate(): void {
    this.close(1006, '')
  }
}

export function memorySockets(): [ChannelSocket, ChannelSocket] {
  const [one, other] = [new MemorySocket(), new MemorySocket()]
  one.peer = other
  other.peer = one
  return [one, other]
}
