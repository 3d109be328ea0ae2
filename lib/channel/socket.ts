import type { WebSocket } from 'ws'
import { LsxError } from '../runtime/index.ts'

/** What happens on a socket. After `onClosed` or `onFailed` nothing more comes. */
export interface SocketListener {
  onFrame(frame: Buffer): void
  onClosed(closeCode: number, reason: string): void
  onFailed(error: LsxError): void
}

/** The smallest socket a channel needs: whole binary messages, a close with a reason, and how much is still unwritten. */
export interface ChannelSocket {
  readonly bufferedBytes: number
  listen(listener: SocketListener): void
  /** `onWritten` is called when the frame has left this process, or never. */
  send(frame: Buffer, onWritten?: () => void): void
  close(closeCode: number, reason: string): void
  terminate(): void
}

export const SUBPROTOCOL = 'ls.v1'
export const CHANNEL_PATH = '/channel'

/** ws settings that both ends share: its defaults allow 100 MiB messages, 16,384 fragments, deflate and a 30 s close. */
export function webSocketLimits(maxFrameBytes: number): {
  maxPayload: number
  maxFragments: number
  perMessageDeflate: false
  closeTimeout: number
  autoPong: false
} {
  return { maxPayload: maxFrameBytes, maxFragments: 16, perMessageDeflate: false, closeTimeout: 2_000, autoPong: false }
}

/** An open `ws` socket as the channel sees it. Holds back what arrives until `listen` is called. */
export class WebSocketChannelSocket implements ChannelSocket {
  readonly #webSocket: WebSocket

  constructor(webSocket: WebSocket) {
    this.#webSocket = webSocket
    webSocket.binaryType = 'nodebuffer'
    webSocket.pause()
    // Until a listener is there a failure must not end the process; the close that follows it is seen by the listener.
    webSocket.on('error', ignoreUntilListening)
  }

  get bufferedBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  listen(listener: SocketListener): void {
    const webSocket = this.#webSocket
    webSocket.off('error', ignoreUntilListening)
    webSocket.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) listener.onFrame(data)
      else listener.onFailed(new LsxError('FRAME_INVALID', 'the peer sent a text message'))
    })
    webSocket.on('error', (error: Error & { code?: string }) => {
      listener.onFailed(
        error.code?.startsWith('WS_ERR') === true
          ? new LsxError('FRAME_INVALID', `the peer broke the WebSocket protocol: ${error.message}`, { cause: error })
          : new LsxError('CHANNEL_DOWN', `the socket failed: ${error.message}`, { cause: error }),
      )
    })
    webSocket.on('close', (closeCode: number, reason: Buffer) => listener.onClosed(closeCode, printable(reason)))
    if (webSocket.readyState === webSocket.CLOSED) {
      queueMicrotask(() => listener.onClosed(1006, ''))
      return
    }
    webSocket.resume()
  }

  send(frame: Buffer, onWritten?: () => void): void {
    // A failure to write shows as an error or a close of the socket; the callback's error says nothing more.
    if (onWritten === undefined) this.#webSocket.send(frame, BINARY)
    else this.#webSocket.send(frame, BINARY, (error) => (error == null ? onWritten() : undefined))
  }

  close(closeCode: number, reason: string): void {
    this.#webSocket.close(closeCode, reason)
  }

  terminate(): void {
    this.#webSocket.terminate()
  }
}

const BINARY = { binary: true, compress: false }

function ignoreUntilListening(): void {}

/** A peer's close reason goes to the log only: at most 123 bytes by RFC 6455, without control characters. */
function printable(reason: Buffer): string {
  return reason.toString('latin1').replace(/[^\x20-\x7e]/g, '?')
}
