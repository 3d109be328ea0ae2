import { randomBytes } from 'node:crypto'

/** The 12 bytes before a frame's body, with whatever in them. */
export function header(type: number, epoch: number, sequence: number, version = 1): Buffer {
  const bytes = Buffer.alloc(12)
  bytes[0] = version
  bytes[1] = type
  bytes.writeUInt16BE(epoch, 2)
  bytes.writeBigUInt64BE(BigInt(sequence), 4)
  return bytes
}

/** A copy with one bit of the byte at `offset` changed; from the end where it is negative. */
export function flipped(frame: Buffer, offset: number): Buffer {
  const copy = Buffer.from(frame)
  const index = offset < 0 ? copy.length + offset : offset
  copy[index] = (copy[index] ?? 0) ^ 0x10
  return copy
}

/** A masked WebSocket frame of up to 125 bytes with any first byte (RFC 6455 section 5.2). */
export function rawWebSocketFrame(firstByte: number, payload: Buffer): Buffer {
  const mask = randomBytes(4)
  const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))
  return Buffer.concat([Buffer.from([firstByte, 0x80 | payload.length]), mask, masked])
}
