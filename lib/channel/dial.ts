import { isIP } from 'node:net'
import { WebSocket } from 'ws'
import { type Clock, type ErrorCode, LsxError } from '../runtime/index.ts'
import { exportChannelBinding } from './channel-binding.ts'
import { CHANNEL_PATH, type ChannelSocket, SUBPROTOCOL, WebSocketChannelSocket, webSocketLimits } from './socket.ts'
import type { DropCause } from './state.ts'
import { type TlsFacts, tlsFactsOf } from './tls-facts.ts'
import { tlsHint, tlsReason } from './tls-hint.ts'
import { connectTlsPeer, type TlsPeer, type TlsTarget } from './tls-peer.ts'

export interface DialTarget extends TlsTarget {
  readonly maxFrameBytes: number
  readonly timeoutMs: number
}

export interface Dialled {
  readonly socket: ChannelSocket
  /** RFC 9266 tls-exporter, 32 bytes. */
  readonly exporter: Buffer
  readonly address: string
  readonly certificateNotAfter: Date
  readonly tls: TlsFacts
}

/** A dial that came to nothing, with the stage at which it did. */
export class DialError extends LsxError {
  readonly dropCause: DropCause

  constructor(dropCause: DropCause, code: ErrorCode, message: string, cause?: unknown) {
    super(code, message, { cause, facts: { dropCause } })
    this.dropCause = dropCause
  }
}

/**
 * RFC 6455, section 5.3, has clients mask what they send, so that nobody can make an intermediary read bytes of his choice
 * as something else. Here every byte is ciphertext to any intermediary, twice, and the mask would cost both ends a pass
 * over each frame. A mask of zero keeps the form; docs/adr/0016 has the reasons.
 */
function noMask(mask: Buffer): void {
  mask.fill(0)
}

/** Opens one wss socket with mutual TLS 1.3, always by a full handshake. @throws DialError, or the signal's reason. */
export function dialChannel(target: DialTarget, clock: Clock, signal: AbortSignal): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    let peer: TlsPeer | undefined
    const webSocket = new WebSocket(`wss://${urlHost(target.host)}:${target.port}${CHANNEL_PATH}`, SUBPROTOCOL, {
      ...webSocketLimits(target.maxFrameBytes),
      followRedirects: false,
      generateMask: noMask,
      // The typings ask for the arguments of net.connect; ws passes its options, of which the target has all that count.
      createConnection: (() => {
        peer = connectTlsPeer(target)
        return peer.socket
      }) as never,
    })
    const cause = (): DropCause => {
      const stage = peer?.stage() ?? 'tcp'
      return stage === 'open' ? 'upgrade' : stage
    }
    const timer = clock.startTimer(target.timeoutMs, () => {
      fail(new DialError(cause(), 'CHANNEL_DOWN', `no channel within ${target.timeoutMs} ms; stuck at ${cause()}`))
    })
    const onAbort = () => fail(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })

    const settle = () => {
      clock.cancelTimer(timer)
      signal.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown) => {
      settle()
      webSocket.on('error', ignore)
      webSocket.terminate()
      peer?.socket.destroy()
      reject(error)
    }
    webSocket.once('unexpected-response', (request, response) => {
      request.destroy()
      const hint = 'see its log for the reason'
      fail(
        new DialError(
          'upgrade',
          'REFUSED',
          `the peer answered the upgrade with HTTP status ${response.statusCode}; ${hint}`,
        ),
      )
    })
    webSocket.once('error', (error: Error & { code?: string }) =>
      fail(describeFailure(cause(), error, peer?.refusal(), target)),
    )
    webSocket.once('open', () => {
      settle()
      webSocket.removeAllListeners()
      const socket = new WebSocketChannelSocket(webSocket)
      const tlsSocket = peer?.socket
      if (tlsSocket === undefined || tlsSocket.isSessionReused()) {
        socket.terminate()
        reject(new DialError('tls', 'CERT_DENIED', 'the TLS session was resumed: it proves no certificate'))
        return
      }
      resolve({
        socket,
        exporter: exportChannelBinding(tlsSocket),
        address: tlsSocket.remoteAddress ?? '',
        certificateNotAfter: peer?.certificateNotAfter() ?? new Date(0),
        tls: tlsFactsOf(tlsSocket),
      })
    })
  })
}

function ignore(): void {}

function urlHost(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host
}

function describeFailure(
  cause: DropCause,
  error: Error & { code?: string },
  refusal: LsxError | undefined,
  target: DialTarget,
): DialError {
  if (refusal !== undefined) {
    return new DialError(refusal.code === 'IP_DENIED' ? 'policy' : 'tls', refusal.code, refusal.message)
  }
  const where = `${target.host}:${target.port}`
  const code = error.code ?? ''
  if (cause === 'tls' && (code === 'ECONNRESET' || code === 'EPIPE')) {
    const hint = 'the peer may not allow our address; see its log'
    return new DialError('tls', 'CHANNEL_DOWN', `${where} ended the connection during TLS: ${hint}`, error)
  }
  // TLS 1.3: the server's verdict on our certificate arrives after our side of the handshake is done.
  if (cause === 'tls' || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) {
    const why = tlsReason(error)
    return new DialError('tls', 'CERT_DENIED', `TLS with ${where} failed: ${why}; ${tlsHint(code, why)}`, error)
  }
  if (cause === 'upgrade') {
    const hint = 'it may have refused our certificate; see its log'
    return new DialError(
      'upgrade',
      'CHANNEL_DOWN',
      `${where} ended the connection before the upgrade: ${error.message}; ${hint}`,
      error,
    )
  }
  return new DialError(cause, 'CHANNEL_DOWN', `cannot reach ${where}: ${error.message}`, error)
}
