import { connect, type NatsConnection } from '@nats-io/transport-node'
import type { BenchClient, Endpoint, OpenOptions } from '../system.ts'

const SUBJECT = 'bench.echo'
const REQUEST_TIMEOUT_MS = 30_000

/** Request and reply through nats-server over mutual TLS: client, broker and responder are processes of their own. */
export async function serve(endpoint: Endpoint): Promise<{ port: number }> {
  const connection = await connectTo(endpoint)
  connection.subscribe(SUBJECT, {
    callback: (error, message) => {
      if (error === null) message.respond(message.data)
    },
  })
  await connection.flush()
  return { port: endpoint.port ?? 0 }
}

export async function open(options: OpenOptions): Promise<BenchClient> {
  const connection = await connectTo(options)
  return {
    request(body, done) {
      // One inbox for all requests of the connection, as is this client's default.
      connection.request(SUBJECT, body, { timeout: REQUEST_TIMEOUT_MS }).then(
        (reply) => done(undefined, reply.data),
        (error: Error) => done(error),
      )
    },
    close: () => connection.close(),
  }
}

function connectTo({ port, tls }: Endpoint): Promise<NatsConnection> {
  const { keyFile, certFile, caFile } = tls
  return connect({ servers: `127.0.0.1:${port}`, reconnect: false, tls: { keyFile, certFile, caFile } })
}
