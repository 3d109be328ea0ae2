import {
  type FrameType,
  HEADER_BYTES,
  LARGEST_MAX_FRAME_BYTES,
  readHeader,
  TAG_BYTES,
  writeHeader,
} from '../frames/index.ts'
import { LsxError } from '../runtime/index.ts'
import { openSealed, sealInto } from './aes-gcm.ts'
import { KEY_HARD_STOP_FRAMES, KEY_HARD_STOP_MS, MAX_EPOCH, SESSION_KEY_BYTES } from './constants.ts'

/**
 * Seals one direction of one epoch: numbers the frames and holds the key, which nobody else ever sees.
 * Sealed frame = header (12 bytes, the associated data) | ciphertext | tag (16 bytes).
 */
export class SealingKey {
  readonly epoch: number
  /** Monotonic ms. */
  readonly createdAtMs: number
  #key: Buffer | undefined
  #sequence: number
  #framesSealed = 0
  #bytesSealed = 0

  /** Copies `key` (32 bytes); the caller zeroes its own. `nowMs` is monotonic. */
  constructor(key: Buffer, epoch: number, firstSequence: number, nowMs: number) {
    checkKey(key, epoch, firstSequence)
    this.#key = copyKey(key)
    this.epoch = epoch
    this.#sequence = firstSequence
    this.createdAtMs = nowMs
  }

  get framesSealed(): number {
    return this.#framesSealed
  }

  /** Whole frames, header and tag included. */
  get bytesSealed(): number {
    return this.#bytesSealed
  }

  /**
   * The whole frame, in one buffer of its own. Throws TOO_LARGE over 1 MiB (the agreed limit is the caller's to keep),
   * and INTERNAL once destroyed or at the hard stop: who seals must have made a new key long before.
   */
  seal(type: FrameType, plaintext: Buffer, nowMs: number): Buffer {
    const key = this.#key
    if (key === undefined) throw new LsxError('INTERNAL', 'the sealing key is destroyed')
    if (this.#sequence >= KEY_HARD_STOP_FRAMES || nowMs - this.createdAtMs >= KEY_HARD_STOP_MS) {
      this.destroy()
      throw new LsxError('INTERNAL', 'the sealing key is at its hard stop: a new key exchange is overdue', {
        facts: { epoch: this.epoch, sequence: this.#sequence },
      })
    }
    const frameBytes = HEADER_BYTES + plaintext.length + TAG_BYTES
    if (frameBytes > LARGEST_MAX_FRAME_BYTES) {
      throw new LsxError('TOO_LARGE', `a frame of ${frameBytes} bytes is over ${LARGEST_MAX_FRAME_BYTES}`)
    }
    const frame = Buffer.allocUnsafe(frameBytes)
    writeHeader(frame, { type, epoch: this.epoch, sequence: this.#sequence })
    // Counted before the work: a sequence that has met this key is spent, whatever happens next.
    const sequence = this.#sequence++
    sealInto(frame, HEADER_BYTES, key, sequence, frame.subarray(0, HEADER_BYTES), plaintext)
    this.#framesSealed++
    this.#bytesSealed += frameBytes
    return frame
  }

  /** Zeroes the key. Safe to call twice. */
  destroy(): void {
    this.#key?.fill(0)
    this.#key = undefined
  }
}

/**
 * Opens one direction of one epoch. The first frame that is not exactly the next one kills it: the transport is
 * ordered.
 */
export class OpeningKey {
  readonly epoch: number
  /** Monotonic ms. */
  readonly createdAtMs: number
  #key: Buffer | undefined
  #sequence: number
  #framesOpened = 0
  #bytesOpened = 0

  /** Copies `key` (32 bytes); the caller zeroes its own. `nowMs` is monotonic. */
  constructor(key: Buffer, epoch: number, firstSequence: number, nowMs: number) {
    checkKey(key, epoch, firstSequence)
    this.#key = copyKey(key)
    this.epoch = epoch
    this.#sequence = firstSequence
    this.createdAtMs = nowMs
  }

  get framesOpened(): number {
    return this.#framesOpened
  }

  /** Whole frames, header and tag included. */
  get bytesOpened(): number {
    return this.#bytesOpened
  }

  /**
   * The plaintext, in a buffer of its own. Throws FRAME_INVALID, and is dead from then on, when the header is not of
   * this epoch and the next sequence, when the frame does not verify, and at the hard stop.
   */
  open(frame: Buffer, nowMs: number): Buffer {
    const key = this.#key
    if (key === undefined) throw new LsxError('FRAME_INVALID', 'the opening key is dead: destroyed, or failed before')
    try {
      const plaintext = this.#open(key, frame, nowMs)
      this.#sequence++
      this.#framesOpened++
      this.#bytesOpened += frame.length
      return plaintext
    } catch (thrown) {
      this.destroy()
      throw thrown
    }
  }

  #open(key: Buffer, frame: Buffer, nowMs: number): Buffer {
    if (this.#sequence >= KEY_HARD_STOP_FRAMES || nowMs - this.createdAtMs >= KEY_HARD_STOP_MS) {
      throw new LsxError('FRAME_INVALID', 'the opening key is at its hard stop: a new key exchange is overdue', {
        facts: { epoch: this.epoch, sequence: this.#sequence },
      })
    }
    if (frame.length < HEADER_BYTES + TAG_BYTES || frame.length > LARGEST_MAX_FRAME_BYTES) {
      throw new LsxError('FRAME_INVALID', `a sealed frame of ${frame.length} bytes is not possible`)
    }
    const header = readHeader(frame)
    if (header.epoch !== this.epoch || header.sequence !== this.#sequence) {
      throw new LsxError('FRAME_INVALID', 'a sealed frame is not the next one of its epoch', {
        facts: {
          epoch: header.epoch,
          sequence: header.sequence,
          expectedEpoch: this.epoch,
          expectedSequence: this.#sequence,
          evidence: 'bad-tag',
        },
      })
    }
    const plaintext = openSealed(key, header.sequence, frame.subarray(0, HEADER_BYTES), frame.subarray(HEADER_BYTES))
    if (plaintext === undefined) {
      throw new LsxError('FRAME_INVALID', 'a sealed frame does not verify', {
        facts: { epoch: header.epoch, sequence: header.sequence, evidence: 'bad-tag' },
      })
    }
    return plaintext
  }

  /** Zeroes the key. Safe to call twice. */
  destroy(): void {
    this.#key?.fill(0)
    this.#key = undefined
  }
}

function checkKey(key: Buffer, epoch: number, firstSequence: number): void {
  if (key.length !== SESSION_KEY_BYTES) {
    throw new LsxError('INTERNAL', `a session key has ${SESSION_KEY_BYTES} bytes, not ${key.length}`)
  }
  if (!Number.isInteger(epoch) || epoch < 1 || epoch > MAX_EPOCH) {
    throw new LsxError('INTERNAL', `an epoch is 1 to ${MAX_EPOCH}, not ${epoch}`)
  }
  if (!Number.isSafeInteger(firstSequence) || firstSequence < 0) {
    throw new LsxError('INTERNAL', `a sequence does not start at ${firstSequence}`)
  }
}

/** Buffer.alloc never takes from the shared pool, so that zeroing it leaves no copy. */
function copyKey(key: Buffer): Buffer {
  const copy = Buffer.alloc(SESSION_KEY_BYTES)
  key.copy(copy)
  return copy
}
