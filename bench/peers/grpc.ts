import { readFileSync } from 'node:fs'
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import type { BenchClient, Endpoint, OpenOptions } from '../system.ts'

/** The body travels as it is: no protobuf on either side, which only helps gRPC. */
const asItIs = (bytes: Buffer) => bytes
const PATH = '/bench.Echo/Echo'
const ECHO: ServiceDefinition = {
  echo: {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: asItIs,
    requestDeserialize: asItIs,
    responseSerialize: asItIs,
    responseDeserialize: asItIs,
  },
}
const MAX_STREAMS = 4_096

/** grpc-js, unary calls over mutual TLS 1.3, one channel, which is one HTTP/2 connection. */
export function serve({ tls }: Endpoint): Promise<{ port: number }> {
  const server = new Server({ 'grpc.max_concurrent_streams': MAX_STREAMS })
  const echo: UntypedServiceImplementation = {
    echo: (call: { request: Buffer }, callback: (error: null, reply: Buffer) => void) => callback(null, call.request),
  }
  server.addService(ECHO, echo)
  const pair = { private_key: readFileSync(tls.keyFile), cert_chain: readFileSync(tls.certFile) }
  const serverCredentials = ServerCredentials.createSsl(readFileSync(tls.caFile), [pair], true)
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', serverCredentials, (error, port) => (error ? reject(error) : resolve({ port })))
  })
}

export async function open({ port, tls }: OpenOptions): Promise<BenchClient> {
  const channelCredentials = credentials.createSsl(
    readFileSync(tls.caFile),
    readFileSync(tls.keyFile),
    readFileSync(tls.certFile),
  )
  const client = new Client(`127.0.0.1:${port}`, channelCredentials, { 'grpc.ssl_target_name_override': 'localhost' })
  await new Promise<void>((resolve, reject) => {
    client.waitForReady(Date.now() + 10_000, (error) => (error ? reject(error) : resolve()))
  })
  return {
    request(body, done) {
      client.makeUnaryRequest<Buffer, Buffer>(PATH, asItIs, asItIs, body, (error, reply) => {
        if (error !== null) done(error)
        else done(undefined, reply)
      })
    },
    close: async () => client.close(),
  }
}
