import { connect, createSecureServer, type ServerHttp2Stream } from 'node:http2'
import type { Server } from 'node:net'
import type { BenchClient, Endpoint, OpenOptions } from '../system.ts'
import { clientTls, listening, serverTls } from './tls-server.ts'

/** Above the highest concurrency, so that no stream waits for another. */
const SETTINGS = { maxConcurrentStreams: 4_096, initialWindowSize: 1_048_576 }

/** Node's own http2 over mutual TLS 1.3, one session; a POST for each request. */
export function serve({ tls }: Endpoint): Promise<{ port: number }> {
  const server = createSecureServer({ ...serverTls(tls), settings: SETTINGS })
  server.on('stream', (stream: ServerHttp2Stream) => {
    const chunks: Buffer[] = []
    stream.on('error', () => {})
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      stream.respond({ ':status': 200 })
      stream.end(whole(chunks))
    })
  })
  return listening(server as unknown as Server)
}

export async function open({ port, tls }: OpenOptions): Promise<BenchClient> {
  const session = connect(`https://127.0.0.1:${port}`, { ...clientTls(tls), settings: SETTINGS })
  await new Promise<void>((resolve, reject) => {
    session.once('remoteSettings', () => resolve())
    session.once('error', reject)
  })
  session.on('error', () => {})
  return {
    request(body, done) {
      const stream = session.request({ ':method': 'POST', ':path': '/' })
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.once('end', () => done(undefined, whole(chunks)))
      stream.once('error', done)
      stream.end(body)
    },
    close: () => new Promise((resolve) => session.close(() => resolve())),
  }
}

function whole(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks
  return chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks)
}
