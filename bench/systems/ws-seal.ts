import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { Endpoint, OpenOptions } from '../system.ts'
import { type Codec, openWebSocket, serveWebSocket } from './web-socket.ts'

const TAG_BYTES = 16
/** Both ends know it; what is measured is the cipher, not how they agreed. */
const KEY = Buffer.alloc(32, 7)

/** `ws` with one AES-256-GCM seal for each message in each direction: what a channel costs that does not batch. */
function sealing(): Codec {
  let sent = 0
  let received = 0
  return {
    encode(message) {
      const cipher = createCipheriv('aes-256-gcm', KEY, nonceOf(sent++), { authTagLength: TAG_BYTES })
      return Buffer.concat([cipher.update(message), cipher.final(), cipher.getAuthTag()])
    },
    decode(message) {
      const end = message.length - TAG_BYTES
      const decipher = createDecipheriv('aes-256-gcm', KEY, nonceOf(received++), { authTagLength: TAG_BYTES })
      decipher.setAuthTag(message.subarray(end))
      const plaintext = decipher.update(message.subarray(0, end))
      decipher.final()
      return plaintext
    },
  }
}

function nonceOf(sequence: number): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeDoubleBE(sequence, 4)
  return nonce
}

export const serve = (endpoint: Endpoint) => serveWebSocket(endpoint, sealing)
export const open = (options: OpenOptions) => openWebSocket(options, sealing())
