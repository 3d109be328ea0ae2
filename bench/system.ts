import type { TlsFiles } from '../lib/certs/index.ts'

/** Called once for each request: with the bytes of the reply, or with what went wrong. */
export type Done = (error: Error | undefined, reply?: Uint8Array) => void

/** The client of one system, as the load process drives it. */
export interface BenchClient {
  /** Asks for `body` back. What comes is compared with it, so no system can answer with something else. */
  request(body: Buffer, done: Done): void
  close(): Promise<void>
}

/** Where a server is, and with which files both ends do mutual TLS. */
export interface Endpoint {
  readonly tls: TlsFiles
  /** TCP on 127.0.0.1. */
  readonly port?: number
  /** The apps' socket of lsd. */
  readonly socketPath?: string
  readonly durable?: boolean
  readonly method?: string
}

export interface OpenOptions extends Endpoint {
  /** Requests that will be in flight: for clients that need a connection for each. */
  readonly concurrency: number
}

/** What a module of `systems` or `peers` exports; `serve` runs in a process of its own, `open` in the load process. */
export interface SystemModule {
  serve?(endpoint: Endpoint): Promise<{ readonly port: number }>
  open(options: OpenOptions): Promise<BenchClient>
}

/** Bytes that name one request and fill the body. */
export function bodyOf(sequence: number, bytes: number): Buffer {
  const body = Buffer.allocUnsafe(bytes)
  body.fill(FILLER)
  body.writeDoubleBE(sequence, 0)
  return body
}

const FILLER = 0x5a
