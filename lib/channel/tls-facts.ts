import type { TLSSocket } from 'node:tls'

/** What a TLS connection has agreed on. */
export interface TlsFacts {
  /** Such as `TLSv1.3`. */
  readonly protocol: string
  /** By its name in the standard, such as `TLS_AES_256_GCM_SHA384`. */
  readonly cipher: string
}

export function tlsFactsOf(socket: TLSSocket): TlsFacts {
  // Without a cipher there is none yet, whatever the typings say.
  const cipher = socket.getCipher() as { standardName?: string; name?: string } | undefined
  return { protocol: socket.getProtocol() ?? 'none', cipher: cipher?.standardName ?? cipher?.name ?? 'none' }
}
