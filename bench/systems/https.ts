import { createServer } from 'node:https'
import { Pool } from 'undici'
import { loadTlsMaterial } from '../../lib/certs/index.ts'
import type { BenchClient, Endpoint, OpenOptions } from '../system.ts'
import { listening, serverTls } from './tls-server.ts'

/** HTTP/1.1 has one request at a time on a connection; with more connections than this it was slower here. */
const MAX_CONNECTIONS = 64

/** undici to node:https over mutual TLS 1.3 with keep-alive; a POST for each request. */
export function serve({ tls }: Endpoint): Promise<{ port: number }> {
  const server = createServer({ ...serverTls(tls), keepAlive: true }, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      response.writeHead(200, { 'content-length': body.length })
      response.end(body)
    })
  })
  server.keepAliveTimeout = 60_000
  return listening(server)
}

export async function open({ port, tls, concurrency }: OpenOptions): Promise<BenchClient> {
  const { key, cert, ca } = loadTlsMaterial(tls)
  const pool = new Pool(`https://127.0.0.1:${port}`, {
    connections: Math.min(concurrency, MAX_CONNECTIONS),
    pipelining: 1,
    connect: { key, cert, ca, minVersion: 'TLSv1.3' },
  })
  return {
    request(body, done) {
      pool
        .request({ method: 'POST', path: '/', body })
        .then((response) => response.body.arrayBuffer())
        .then(
          (reply) => done(undefined, Buffer.from(reply)),
          (error: Error) => done(error),
        )
    },
    close: () => pool.close(),
  }
}
