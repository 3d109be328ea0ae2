import { createServer } from 'node:https'
import { WebSocket, WebSocketServer } from 'ws'
import { Fifo } from '../fifo.ts'
import type { BenchClient, Done, Endpoint, OpenOptions } from '../system.ts'
import { clientTls, listening, serverTls } from './tls-server.ts'

/** One message through the process: what it makes of one that it is to send, and of one that came. */
export interface Codec {
  encode(message: Buffer): Buffer
  decode(message: Buffer): Buffer
}

const LIMITS = { perMessageDeflate: false, maxPayload: 1_048_576 } as const
const BINARY = { binary: true, compress: false }

/** A server that sends each message back over the same wss socket. */
export function serveWebSocket({ tls }: Endpoint, newCodec: () => Codec): Promise<{ port: number }> {
  const server = createServer(serverTls(tls))
  const sockets = new WebSocketServer({ server, clientTracking: false, ...LIMITS })
  sockets.on('connection', (socket) => {
    const codec = newCodec()
    socket.on('error', () => socket.terminate())
    socket.on('message', (message: Buffer) => socket.send(codec.encode(codec.decode(message)), BINARY))
  })
  return listening(server)
}

/** One socket, as our channel has one. Replies come in the order of the requests. */
export async function openWebSocket({ port, tls }: OpenOptions, codec: Codec): Promise<BenchClient> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}`, { ...LIMITS, ...clientTls(tls) })
  const waiting = new Fifo<Done>()
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
  })
  socket.on('message', (message: Buffer) => waiting.shift()?.(undefined, codec.decode(message)))
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      for (let done = waiting.shift(); done !== undefined; done = waiting.shift()) done(new Error('the socket closed'))
      resolve()
    })
  })
  return {
    request(body, done) {
      waiting.push(done)
      socket.send(codec.encode(body), BINARY)
    },
    close: () => {
      socket.close()
      return closed
    },
  }
}
