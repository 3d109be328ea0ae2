import { once } from 'node:events'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls'
import type { Test } from 'tap'
import { createSecureContext, secureContextOptions, type TlsMaterial } from '../../lib/certs/index.ts'
import { AllowList } from '../../lib/channel/allow-list.ts'
import { type DialError, type Dialled, type DialTarget, dialChannel } from '../../lib/channel/dial.ts'
import { ChannelListener, type ListenerGate, type ListenerPeer } from '../../lib/channel/listen.ts'
import { RefusalLog } from '../../lib/channel/refusals.ts'
import type { ChannelSocket, SocketListener } from '../../lib/channel/socket.ts'
import type { LsxError } from '../../lib/runtime/index.ts'
import { type RecordingLogger, recordingLogger } from './channel-log.ts'
import { VirtualClock } from './virtual-clock.ts'

export const LOOPBACK = '127.0.0.1'
const NEVER = new AbortController().signal

export interface AcceptedChannel {
  readonly peer: ListenerPeer
  readonly socket: ChannelSocket
  readonly exporter: Buffer
}

export interface TestListener {
  readonly listener: ChannelListener
  readonly port: number
  readonly log: RecordingLogger
  /** Changed by a test, they hold for the next peer. */
  readonly gate: Partial<ListenerGate>
  /** The oldest channel that was accepted and not asked for yet; waits for one. */
  accepted(): Promise<AcceptedChannel>
  /** The oldest refusal that was written down and not asked for yet; waits for one. */
  refused(): Promise<{ readonly code: unknown; readonly message: string; readonly address: unknown }>
}

/** A queue whose reader waits. */
function mailbox<T>(): { put(item: T): void; take(): Promise<T> } {
  const items: T[] = []
  const readers: ((item: T) => void)[] = []
  return {
    put: (item) => {
      const reader = readers.shift()
      if (reader === undefined) items.push(item)
      else reader(item)
    },
    take: () => {
      const item = items.shift()
      return item === undefined ? new Promise((resolve) => readers.push(resolve)) : Promise.resolve(item)
    },
  }
}

/** A listener that admits everybody whose certificate is from the CA of `material`; stopped when the test ends. */
export async function startListener(
  t: Test,
  options: { material: TlsMaterial; maxFrameBytes?: number; maxConnections?: number },
): Promise<TestListener> {
  const channels = mailbox<AcceptedChannel>()
  const refusals = mailbox<{ code: unknown; message: string; address: unknown }>()
  const log = recordingLogger()
  const push = log.lines.push.bind(log.lines)
  log.lines.push = (...lines) => {
    for (const { facts, message } of lines) {
      if (facts.audit === true) refusals.put({ code: facts.code, message, address: facts.address })
    }
    return push(...lines)
  }
  const gate: Partial<ListenerGate> = {}
  const listener = new ChannelListener({
    host: LOOPBACK,
    port: 0,
    maxFrameBytes: 65_536,
    maxConnections: 100,
    ...options,
    gate: {
      permitsAddress: (address) => gate.permitsAddress?.(address) ?? true,
      admitChannel: (peer) => gate.admitChannel?.(peer),
      onChannel: (peer, socket, exporter) => channels.put({ peer, socket, exporter }),
      onRequest: (peer, request, response) => {
        if (gate.onRequest === undefined) response.writeHead(404).end()
        else gate.onRequest(peer, request, response)
      },
    },
    refusals: new RefusalLog(log, new VirtualClock()),
    logger: log,
  })
  await listener.start()
  t.teardown(() => listener.stop())
  return { listener, port: listener.port, log, gate, accepted: channels.take, refused: refusals.take }
}

export interface TestDial {
  readonly port: number
  readonly material: TlsMaterial
  readonly expectedSpiffeId: string
}

export function dialTarget(dial: TestDial, overrides: Partial<DialTarget> = {}): DialTarget {
  return {
    host: LOOPBACK,
    port: dial.port,
    secureContext: createSecureContext(dial.material),
    expectedSpiffeId: dial.expectedSpiffeId,
    allowList: new AllowList(['127.0.0.0/8', '::1']),
    maxFrameBytes: 65_536,
    timeoutMs: 5_000,
    ...overrides,
  }
}

/** Dials, and fails the test where a timer is left behind. */
export async function dial(t: Test, target: DialTarget, signal: AbortSignal = NEVER): Promise<Dialled> {
  const clock = new VirtualClock()
  try {
    return await dialChannel(target, clock, signal)
  } finally {
    t.equal(clock.pendingTimers, 0, 'the dial leaves no timer behind')
  }
}

/** The error of a dial that must come to nothing. */
export async function dialError(t: Test, target: DialTarget): Promise<DialError> {
  try {
    const dialled = await dial(t, target)
    dialled.socket.terminate()
  } catch (error) {
    return error as DialError
  }
  throw new Error('the dial succeeded')
}

/** Remembers what happens on a socket from the moment it is made. */
export class SocketEvents implements SocketListener {
  readonly frames: Buffer[] = []
  readonly failed: Promise<LsxError>
  readonly closed: Promise<{ closeCode: number; reason: string }>
  onFailed: (error: LsxError) => void = () => {}
  onClosed: (closeCode: number, reason: string) => void = () => {}
  readonly #frame = mailbox<Buffer>()

  constructor(socket: ChannelSocket) {
    this.failed = new Promise((resolve) => {
      this.onFailed = resolve
    })
    this.closed = new Promise((resolve) => {
      this.onClosed = (closeCode, reason) => resolve({ closeCode, reason })
    })
    socket.listen(this)
  }

  onFrame(frame: Buffer): void {
    this.frames.push(frame)
    this.#frame.put(frame)
  }

  nextFrame(): Promise<Buffer> {
    return this.#frame.take()
  }
}

/** Resolves when the socket is closed, for whatever reason. */
export function untilClosed(socket: Socket): Promise<void> {
  socket.on('error', () => {}).resume()
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

/** A TCP server that is no daemon of ours; closed, with all its connections, when the test ends. */
export async function startTcpServer(t: Test, onSocket: (socket: Socket) => void): Promise<number> {
  return await listen(t, createTcpServer(ignoringErrors(onSocket)))
}

/** A TLS server with certificates of ours that does as it likes. */
export async function startTlsServer(
  t: Test,
  material: TlsMaterial,
  onSocket: (socket: TLSSocket) => void,
  options: TlsOptions = {},
): Promise<number> {
  const server = createTlsServer({ ...secureContextOptions(material), ...options }, ignoringErrors(onSocket))
  return await listen(t, server)
}

function ignoringErrors<S extends Socket>(onSocket: (socket: S) => void): (socket: S) => void {
  return (socket) => {
    socket.on('error', () => {})
    onSocket(socket)
  }
}

async function listen(t: Test, server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    socket.on('error', () => {})
    sockets.add(socket)
  })
  server.on('tlsClientError', () => {})
  server.listen(0, LOOPBACK)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
