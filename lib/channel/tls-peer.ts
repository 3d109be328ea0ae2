import { isIP } from 'node:net'
import { connect, type DetailedPeerCertificate, type SecureContext, type TLSSocket } from 'node:tls'
import { spiffeIdOf } from '../certs/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { AllowList } from './allow-list.ts'

export interface TlsTarget {
  readonly host: string
  readonly port: number
  readonly secureContext: SecureContext
  /** The SPIFFE id that the peer's certificate must name; host names decide nothing. */
  readonly expectedSpiffeId: string
  /** Addresses that the host may resolve to. */
  readonly allowList: AllowList
}

/** Where a connection has got to; for a failure, where it happened. */
export type TlsStage = 'dns' | 'tcp' | 'tls' | 'open'

/** A TLS connection to a known party under way. */
export interface TlsPeer {
  readonly socket: TLSSocket
  stage(): TlsStage
  /** Of the peer's certificate; undefined before the handshake is done. */
  certificateNotAfter(): Date | undefined
  /** Set when the connection was ended by our own rules: CERT_DENIED or IP_DENIED. */
  refusal(): LsxError | undefined
}

const NOT_LOOKED_AT = {} as DetailedPeerCertificate

/** Connects with mutual TLS 1.3 by a full handshake: no session is ever handed in. */
export function connectTlsPeer(target: TlsTarget): TlsPeer {
  const { host, port, secureContext, expectedSpiffeId, allowList } = target
  let stage: TlsStage = isIP(host) === 0 ? 'dns' : 'tcp'
  let refusal: LsxError | undefined
  let certificateNotAfter: Date | undefined
  const socket: TLSSocket = connect({
    host,
    port,
    secureContext,
    ALPNProtocols: ['http/1.1'],
    ...(isIP(host) === 0 ? { servername: host } : {}),
    checkServerIdentity: () => {
      const certificate = socket.getPeerX509Certificate()
      const shown = certificate === undefined ? undefined : spiffeIdOf(certificate)
      if (certificate !== undefined) certificateNotAfter = new Date(certificate.validTo)
      if (shown === expectedSpiffeId) return undefined
      refusal = new LsxError(
        'CERT_DENIED',
        `the peer's certificate names ${shown ?? 'no SPIFFE id'}, not ${expectedSpiffeId}`,
      )
      return refusal
    },
  })
  // Node would take the peer's chain apart for the check above, which costs 1 ms of each dial and is not looked at.
  socket.getPeerCertificate = () => NOT_LOOKED_AT
  socket.setNoDelay(true)
  socket.once('lookup', (error: Error | null) => {
    if (error === null) stage = 'tcp'
  })
  // Before the TLS socket's own listener, which sends the ClientHello.
  socket.prependOnceListener('connect', () => {
    stage = 'tls'
    const { remoteAddress } = socket
    if (remoteAddress === undefined) {
      // Reset already: no matter of the allow-list.
      socket.destroy(Object.assign(new Error('the peer reset the connection'), { code: 'ECONNRESET' }))
      return
    }
    if (allowList.permits(remoteAddress)) return
    refusal = new LsxError('IP_DENIED', `${host} is at ${remoteAddress}, which is not on the allow-list`)
    socket.destroy(refusal)
  })
  // Not yet a success: the server may still refuse our certificate.
  socket.once('secureConnect', () => {
    stage = 'open'
  })
  return { socket, stage: () => stage, certificateNotAfter: () => certificateNotAfter, refusal: () => refusal }
}
