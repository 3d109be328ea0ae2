import type { ChannelSocket, SocketListener } from '../../lib/channel/socket.ts'
import type { Clock, LsxError, TimerHandle } from '../../lib/runtime/index.ts'

export type Direction = 'toXchange' | 'toLs'

/** What crosses a link; `reset` is a TCP reset or the end of a process. */
type Packet =
  | { readonly kind: 'frame'; readonly frame: Buffer; readonly onWritten: (() => void) | undefined }
  | { readonly kind: 'close'; readonly closeCode: number; readonly reason: string }
  | { readonly kind: 'reset' }

interface Wire {
  readonly direction: Direction
  readonly deliver: (packet: Packet) => void
  held: Packet[] | undefined
  cut: boolean
  lastArrivalMs: number
}

/** As the real socket: who gets no answer to its close frame is closed after this. */
const CLOSE_TIMEOUT_MS = 2_000

export interface SentFrame {
  readonly direction: Direction
  readonly frame: Buffer
}

/** Two sockets joined by a network of virtual time: ordered and reliable as TCP is, with latency, stalls and cuts. */
export class VirtualLink {
  readonly lsSocket: VirtualSocket
  readonly xchangeSocket: VirtualSocket
  /** All frames handed to either socket while it was open, in order. */
  readonly frames: SentFrame[] = []
  latencyMs: number
  /** Gets each frame as it leaves, and returns what is to arrive in its place. */
  tamper: (frame: Buffer, direction: Direction) => readonly Buffer[] = (frame) => [frame]
  readonly #clock: Clock
  readonly #wires: Record<Direction, Wire>

  constructor(clock: Clock, latencyMs = 5) {
    this.#clock = clock
    this.latencyMs = latencyMs
    const wire = (direction: Direction, deliver: (packet: Packet) => void): Wire => {
      return { direction, deliver, held: undefined, cut: false, lastArrivalMs: 0 }
    }
    this.#wires = {
      toXchange: wire('toXchange', (packet) => this.xchangeSocket.arrived(packet)),
      toLs: wire('toLs', (packet) => this.lsSocket.arrived(packet)),
    }
    this.lsSocket = new VirtualSocket(clock, (packet) => this.#leave('toXchange', packet))
    this.xchangeSocket = new VirtualSocket(clock, (packet) => this.#leave('toLs', packet))
  }

  /** From now on nothing arrives in these directions, and nobody is told: a half-open connection. */
  cut(...directions: readonly Direction[]): void {
    for (const direction of directions) this.#wires[direction].cut = true
  }

  /** What is sent from now on lies in the sender's buffer until `release`: the receiver does not read. */
  hold(direction: Direction): void {
    this.#wires[direction].held ??= []
  }

  release(direction: Direction): void {
    const wire = this.#wires[direction]
    const held = wire.held ?? []
    wire.held = undefined
    for (const packet of held) this.#transmit(wire, packet)
  }

  #leave(direction: Direction, packet: Packet): void {
    const wire = this.#wires[direction]
    if (packet.kind !== 'frame') {
      this.#holdOrTransmit(wire, packet)
      return
    }
    this.frames.push({ direction, frame: packet.frame })
    const arriving = this.tamper(packet.frame, direction)
    for (const frame of arriving) this.#holdOrTransmit(wire, { ...packet, frame })
  }

  #holdOrTransmit(wire: Wire, packet: Packet): void {
    if (wire.held === undefined) this.#transmit(wire, packet)
    else {
      this.#sender(wire).bufferedBytes += bytesOf(packet)
      wire.held.push({ ...packet })
    }
  }

  #sender(wire: Wire): VirtualSocket {
    return wire.direction === 'toXchange' ? this.lsSocket : this.xchangeSocket
  }

  #transmit(wire: Wire, packet: Packet): void {
    const sender = this.#sender(wire)
    sender.bufferedBytes = Math.max(0, sender.bufferedBytes - bytesOf(packet))
    if (packet.kind === 'frame') packet.onWritten?.()
    if (wire.cut) return
    const nowMs = this.#clock.monotonicMs()
    // Nothing overtakes, also where the latency has become less.
    wire.lastArrivalMs = Math.max(wire.lastArrivalMs, nowMs + this.latencyMs)
    this.#clock.startTimer(wire.lastArrivalMs - nowMs, () => {
      if (!wire.cut) wire.deliver(packet)
    })
  }
}

function bytesOf(packet: Packet): number {
  return packet.kind === 'frame' ? packet.frame.length : 0
}

/** One end of a virtual link, with the close handshake of RFC 6455. */
export class VirtualSocket implements ChannelSocket {
  bufferedBytes = 0
  /** How this end closed the socket, if it did. */
  closedWith: { readonly closeCode: number; readonly reason: string } | 'terminated' | undefined
  readonly #clock: Clock
  readonly #leave: (packet: Packet) => void
  #state: 'open' | 'closing' | 'closed' = 'open'
  #listener: SocketListener | undefined
  #closeTimer: TimerHandle | undefined

  constructor(clock: Clock, leave: (packet: Packet) => void) {
    this.#clock = clock
    this.#leave = leave
  }

  get isClosed(): boolean {
    return this.#state === 'closed'
  }

  listen(listener: SocketListener): void {
    this.#listener = listener
  }

  send(frame: Buffer, onWritten?: () => void): void {
    if (this.#state === 'open') this.#leave({ kind: 'frame', frame, onWritten })
  }

  close(closeCode: number, reason: string): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    this.closedWith = { closeCode, reason }
    this.#leave({ kind: 'close', closeCode, reason })
    this.#closeTimer = this.#clock.startTimer(CLOSE_TIMEOUT_MS, () => this.#end(1006, ''))
  }

  terminate(): void {
    if (this.#state === 'closed') return
    this.closedWith ??= 'terminated'
    this.#leave({ kind: 'reset' })
    this.#end(1006, '')
  }

  /** This end's socket breaks, as by a protocol error or a failed write. */
  fail(error: LsxError): void {
    this.#listener?.onFailed(error)
  }

  /** A frame arrives here that the other end never sent. */
  inject(frame: Buffer): void {
    this.arrived({ kind: 'frame', frame, onWritten: undefined })
  }

  /** What the other end sent is here. */
  arrived(packet: Packet): void {
    if (this.#state === 'closed') return
    switch (packet.kind) {
      case 'frame':
        this.#listener?.onFrame(packet.frame)
        break
      case 'close':
        if (this.#state === 'open') this.#leave(packet)
        this.#end(packet.closeCode, packet.reason)
        break
      case 'reset':
        this.#end(1006, '')
        break
    }
  }

  #end(closeCode: number, reason: string): void {
    this.#state = 'closed'
    if (this.#closeTimer !== undefined) this.#clock.cancelTimer(this.#closeTimer)
    this.#closeTimer = undefined
    this.#listener?.onClosed(closeCode, reason)
  }
}
