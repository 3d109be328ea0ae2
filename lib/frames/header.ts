import { LsxError } from '../runtime/index.ts'
import { frameInvalid } from './frame-invalid.ts'
import { HEADER_BYTES, PROTOCOL_VERSION } from './limits.ts'

export const FrameType = { kx: 1, request: 2, response: 3, echo: 4, echoReply: 5, control: 6 } as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

const LARGEST_TYPE = FrameType.control
const TWO_TO_32 = 0x1_0000_0000
/** The upper half of 2^53 - 1; sequences are JS numbers, so one above it cannot be told from its neighbour. */
const LARGEST_SEQUENCE_HIGH = 0x1f_ffff

export interface FrameHeader {
  readonly type: FrameType
  /** u16; counts the completed key exchanges on this socket, 0 before the first. */
  readonly epoch: number
  /** u64 on the wire, at most 2^53 - 1. */
  readonly sequence: number
}

/**
 * Writes the 12 header bytes at offset 0, big endian:
 *
 *     0        1      2       4              12
 *     version  type   epoch   sequence
 *
 * Throws INTERNAL for a field out of range: a wrapped epoch or sequence would reuse a nonce.
 */
export function writeHeader(target: Buffer, header: FrameHeader): void {
  const { type, epoch, sequence } = header
  if (target.length < HEADER_BYTES || !isFrameType(type) || (epoch & 0xffff) !== epoch || !isSequence(sequence)) {
    throw new LsxError('INTERNAL', 'a frame header is out of range', {
      facts: { type, epoch, sequence, targetBytes: target.length },
    })
  }
  const high = Math.floor(sequence / TWO_TO_32)
  const low = sequence >>> 0
  target[0] = PROTOCOL_VERSION
  target[1] = type
  target[2] = epoch >>> 8
  target[3] = epoch
  target[4] = high >>> 24
  target[5] = high >>> 16
  target[6] = high >>> 8
  target[7] = high
  target[8] = low >>> 24
  target[9] = low >>> 16
  target[10] = low >>> 8
  target[11] = low
}

/** Reads the header of a frame. FRAME_INVALID: short, wrong version, unknown type, sequence above 2^53 - 1. */
export function readHeader(frame: Buffer): FrameHeader {
  if (frame.length < HEADER_BYTES) {
    throw frameInvalid('the frame is shorter than its header', { frameBytes: frame.length })
  }
  const version = frame[0]
  if (version !== PROTOCOL_VERSION) {
    throw frameInvalid('the frame has a protocol version that is not spoken here', { version })
  }
  const type = frame[1] as number
  if (!isFrameType(type)) throw frameInvalid('the frame has an unknown type', { type })
  const high = frame.readUInt32BE(4)
  if (high > LARGEST_SEQUENCE_HIGH) throw frameInvalid('the frame has a sequence above 2^53 - 1')
  return { type, epoch: frame.readUInt16BE(2), sequence: high * TWO_TO_32 + frame.readUInt32BE(8) }
}

function isFrameType(type: number): type is FrameType {
  return Number.isInteger(type) && type >= FrameType.kx && type <= LARGEST_TYPE
}

function isSequence(sequence: number): boolean {
  return Number.isSafeInteger(sequence) && sequence >= 0
}
