import { createDecipheriv, createHmac } from 'node:crypto'
import type { Recording } from './relay.ts'

/** Secrets of one TLS connection by their NSS label, as `--tls-keylog` and the `keylog` event write them. */
type Secrets = ReadonlyMap<string, Buffer>

/** An NSS key log: `LABEL client-random secret`, one a line. By client random, in hex. */
export function parseKeyLog(text: string): ReadonlyMap<string, Secrets> {
  const byRandom = new Map<string, Map<string, Buffer>>()
  for (const line of text.split('\n')) {
    const [label, random, secret] = line.trim().split(' ')
    if (label === undefined || random === undefined || secret === undefined) continue
    const secrets = byRandom.get(random) ?? new Map<string, Buffer>()
    byRandom.set(random, secrets.set(label, Buffer.from(secret, 'hex')))
  }
  return byRandom
}

/** Application data of a recorded TLS 1.3 connection, in the clear, by direction. */
export interface Decrypted {
  readonly fromClient: Buffer
  readonly fromServer: Buffer
}

/** Throws when the key log lacks the connection, or a record does not verify: what it returns is what was sent. */
export function decryptTls(recording: Recording, keyLog: ReadonlyMap<string, Secrets>): Decrypted {
  const fromClient = Buffer.concat(recording.fromClient)
  const fromServer = Buffer.concat(recording.fromServer)
  // ClientHello: record header 5, handshake header 4, version 2, random 32.
  const random = fromClient.subarray(11, 43).toString('hex')
  const secrets = keyLog.get(random)
  if (secrets === undefined) throw new Error('the key log has no connection with this client random')
  const suite = suiteOf(fromServer)
  return {
    fromClient: decryptDirection(fromClient, 'CLIENT', secrets, suite),
    fromServer: decryptDirection(fromServer, 'SERVER', secrets, suite),
  }
}

interface Suite {
  readonly cipher: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305'
  readonly keyBytes: number
  readonly hash: 'sha256' | 'sha384'
}

const SUITES: Readonly<Record<number, Suite>> = {
  4865: { cipher: 'aes-128-gcm', keyBytes: 16, hash: 'sha256' },
  4866: { cipher: 'aes-256-gcm', keyBytes: 32, hash: 'sha384' },
  4867: { cipher: 'chacha20-poly1305', keyBytes: 32, hash: 'sha256' },
}

const RECORD_HEADER_BYTES = 5
const HANDSHAKE_HEADER_BYTES = 4
const TAG_BYTES = 16
const ContentType = { handshake: 22, applicationData: 23 } as const
const HandshakeType = { finished: 20, keyUpdate: 24 } as const

/** ServerHello: record header 5, handshake header 4, version 2, random 32, session id with its length, suite 2. */
function suiteOf(fromServer: Buffer): Suite {
  const suite = SUITES[fromServer.readUInt16BE(44 + (fromServer[43] ?? 0))]
  if (suite === undefined) throw new Error('no TLS 1.3 suite that is known here')
  return suite
}

function decryptDirection(bytes: Buffer, side: 'CLIENT' | 'SERVER', secrets: Secrets, suite: Suite): Buffer {
  const application: Buffer[] = []
  let opener = recordOpener(secrets.get(`${side}_HANDSHAKE_TRAFFIC_SECRET`), suite)
  let handshake = Buffer.alloc(0)
  let isFinished = false
  for (let offset = 0; offset + RECORD_HEADER_BYTES <= bytes.length; ) {
    const end = offset + RECORD_HEADER_BYTES + bytes.readUInt16BE(offset + 3)
    // The capture may end in the middle of a record.
    if (end > bytes.length) break
    const record = bytes.subarray(offset, end)
    offset = end
    if (record[0] !== ContentType.applicationData) continue
    const { type, content } = opener(record)
    if (type === ContentType.applicationData) application.push(content)
    if (type !== ContentType.handshake) continue
    handshake = Buffer.concat([handshake, content])
    for (let message = nextMessage(handshake); message !== undefined; message = nextMessage(handshake)) {
      handshake = handshake.subarray(message.bytes)
      if (message.type === HandshakeType.keyUpdate) throw new Error('the keys of this connection were updated')
      if (isFinished || message.type !== HandshakeType.finished) continue
      isFinished = true
      opener = recordOpener(secrets.get(`${side}_TRAFFIC_SECRET_0`), suite)
    }
  }
  return Buffer.concat(application)
}

function nextMessage(handshake: Buffer): { type: number; bytes: number } | undefined {
  if (handshake.length < HANDSHAKE_HEADER_BYTES) return undefined
  const bytes = HANDSHAKE_HEADER_BYTES + handshake.readUIntBE(1, 3)
  return handshake.length < bytes ? undefined : { type: handshake[0] ?? 0, bytes }
}

/** RFC 8446 section 5: opens the records of one direction and one secret, in order. */
function recordOpener(secret: Buffer | undefined, suite: Suite): (record: Buffer) => { type: number; content: Buffer } {
  if (secret === undefined) throw new Error('the key log lacks a secret of this connection')
  const key = expandLabel(secret, 'key', suite.keyBytes, suite.hash)
  const iv = expandLabel(secret, 'iv', 12, suite.hash)
  let sequence = 0n
  return (record) => {
    const nonce = Buffer.from(iv)
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ sequence++, 4)
    const decipher = createDecipheriv(suite.cipher as 'aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(record.subarray(0, RECORD_HEADER_BYTES))
    decipher.setAuthTag(record.subarray(-TAG_BYTES))
    const sealed = record.subarray(RECORD_HEADER_BYTES, -TAG_BYTES)
    const inner = Buffer.concat([decipher.update(sealed), decipher.final()])
    // Content, its type, then zeros as padding.
    let end = inner.length - 1
    while (end >= 0 && inner[end] === 0) end--
    return { type: inner[end] ?? 0, content: inner.subarray(0, end) }
  }
}

/** RFC 8446 section 7.1, with an empty context. One round of HKDF-Expand (RFC 5869) gives enough for all uses here. */
function expandLabel(secret: Buffer, label: string, bytes: number, hash: Suite['hash']): Buffer {
  const name = Buffer.from(`tls13 ${label}`, 'ascii')
  const info = Buffer.concat([Buffer.from([0, bytes, name.length]), name, Buffer.from([0])])
  const block = createHmac(hash, secret)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
  return block.subarray(0, bytes)
}

/** The messages of a WebSocket connection behind its HTTP head (RFC 6455 section 5.2), unmasked. One frame, one message. */
export function webSocketMessages(stream: Buffer): { opcode: number; payload: Buffer }[] {
  const messages: { opcode: number; payload: Buffer }[] = []
  let offset = stream.indexOf('\r\n\r\n') + 4
  while (offset + 2 <= stream.length) {
    const opcode = (stream[offset] ?? 0) & 0x0f
    const isMasked = ((stream[offset + 1] ?? 0) & 0x80) !== 0
    let length = (stream[offset + 1] ?? 0) & 0x7f
    offset += 2
    if (length === 126) {
      length = stream.readUInt16BE(offset)
      offset += 2
    } else if (length === 127) {
      length = Number(stream.readBigUInt64BE(offset))
      offset += 8
    }
    const mask = isMasked ? stream.subarray(offset, offset + 4) : Buffer.alloc(4)
    if (isMasked) offset += 4
    if (offset + length > stream.length) break
    const payload = Buffer.from(stream.subarray(offset, offset + length)).map(
      (byte, index) => byte ^ (mask[index % 4] ?? 0),
    )
    messages.push({ opcode, payload: Buffer.from(payload) })
    offset += length
  }
  return messages
}
