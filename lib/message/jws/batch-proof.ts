import type { ByteWriter } from './byte-writer.ts'
import { HASH_BYTES, pathLength } from './merkle.ts'
import { MAX_KEY_ID_BYTES } from './names.ts'

/** What a message carries to be provable alone: the `sig` of its meta, as bin. */
export interface BatchProof {
  readonly keyId: string
  /** Unix ms. */
  readonly timeMs: number
  /** Messages in the batch. */
  readonly size: number
  /** Which of them this is, from 0. */
  readonly index: number
  /** Ed25519, 64 bytes, over the tree head. */
  readonly signature: Buffer
  /** Audit path from the leaf up: hashes one after the other, as latin1. */
  readonly path: string
}

const VERSION = 1
const SIGNATURE_BYTES = 64
/** version, length of the key id, time, size, index, signature. */
const FIXED_BYTES = 1 + 1 + 8 + 4 + 4 + SIGNATURE_BYTES
/** No batch has more messages than a frame has records. */
const MAX_SIZE = 4_096

/** Of a proof in a batch of `size`, at most. */
export function batchProofBytes(keyIdBytes: number, size: number): number {
  return FIXED_BYTES + keyIdBytes + HASH_BYTES * Math.ceil(Math.log2(size))
}

export function writeBatchProof(target: ByteWriter, proof: BatchProof): void {
  target.u8(VERSION)
  target.u8(proof.keyId.length)
  target.latin1(proof.keyId)
  target.u64(proof.timeMs)
  target.u32(proof.size)
  target.u32(proof.index)
  target.bytes(proof.signature)
  target.latin1(proof.path)
}

/** Undefined for bytes that are no proof. A proof has one spelling only: no byte can be added, left out or changed. */
export function readBatchProof(bytes: Buffer): BatchProof | undefined {
  if (bytes.length < FIXED_BYTES || bytes[0] !== VERSION) return undefined
  const keyIdEnd = 2 + (bytes[1] as number)
  if (keyIdEnd - 2 > MAX_KEY_ID_BYTES || bytes.length < FIXED_BYTES - 2 + keyIdEnd) return undefined
  const timeMs = bytes.readUInt32BE(keyIdEnd) * 0x1_0000_0000 + bytes.readUInt32BE(keyIdEnd + 4)
  const size = bytes.readUInt32BE(keyIdEnd + 8)
  const index = bytes.readUInt32BE(keyIdEnd + 12)
  const pathStart = keyIdEnd + 16 + SIGNATURE_BYTES
  if (!Number.isSafeInteger(timeMs) || size === 0 || size > MAX_SIZE || index >= size) return undefined
  if (bytes.length !== pathStart + pathLength(index, size) * HASH_BYTES) return undefined
  return {
    keyId: bytes.toString('latin1', 2, keyIdEnd),
    timeMs,
    size,
    index,
    signature: bytes.subarray(keyIdEnd + 16, pathStart),
    path: bytes.toString('latin1', pathStart),
  }
}
