import { frameInvalid } from './frame-invalid.ts'
import { MAX_RECORDS_PER_FRAME } from './limits.ts'
import { RecordReader } from './record-reader.ts'
import {
  binBytes,
  shortTextBytes,
  uintBytes,
  writeBin,
  writeKey,
  writeMeta,
  writeMethod,
  writeUint32,
} from './record-writer.ts'

const FIELDS = 5

/** On the wire `[id, key, method, budgetMs, payload, meta?]`: a msgpack array of uint, str, str, uint, bin and map. */
export interface RequestRecord {
  /** u32, unique among the requests in flight on the channel. */
  readonly id: number
  /** Idempotency key, 1 to 64 bytes. */
  readonly key: string
  readonly method: string
  /** u32; what is left of the deadline, counted from when the request was sent. */
  readonly budgetMs: number
  /** Opaque here. */
  readonly payload: Buffer
  /** An encoded msgpack map; `decodeMeta` reads it. */
  readonly meta: Buffer | undefined
}

/** Exact encoded size of a record that keeps the rules. */
export function requestRecordBytes(record: RequestRecord): number {
  return (
    1 +
    uintBytes(record.id) +
    shortTextBytes(Buffer.byteLength(record.key)) +
    shortTextBytes(record.method.length) +
    uintBytes(record.budgetMs) +
    binBytes(record.payload.length) +
    (record.meta === undefined ? 0 : record.meta.length)
  )
}

/** Writes one record and returns the offset after it; `target` must have the room. */
export function writeRequestRecord(target: Buffer, position: number, record: RequestRecord): number {
  const { meta } = record
  target[position] = meta === undefined ? 0x90 + FIELDS : 0x90 + FIELDS + 1
  let end = writeUint32(target, position + 1, record.id)
  end = writeKey(target, end, record.key)
  end = writeMethod(target, end, record.method)
  end = writeUint32(target, end, record.budgetMs)
  end = writeBin(target, end, record.payload)
  return meta === undefined ? end : writeMeta(target, end, meta)
}

/**
 * Decodes the body of a REQUEST frame: 1 to 4,096 records back to back. Payload and meta are views of the body.
 * FRAME_INVALID for anything else; then none of its records count.
 */
export function decodeRequestBatch(body: Buffer): RequestRecord[] {
  if (body.length === 0) throw frameInvalid('a batch is empty')
  const reader = new RecordReader(body)
  const records: RequestRecord[] = []
  while (!reader.atEnd) {
    if (records.length === MAX_RECORDS_PER_FRAME) throw frameInvalid('a batch has too many records')
    const fields = reader.arrayHeader()
    if (fields !== FIELDS && fields !== FIELDS + 1) throw frameInvalid('a request record has 5 or 6 fields', { fields })
    const id = reader.uint32()
    const key = reader.key()
    const method = reader.method()
    const budgetMs = reader.uint32()
    const payload = reader.bin()
    const meta = fields === FIELDS ? undefined : reader.meta()
    records.push({ id, key, method, budgetMs, payload, meta })
  }
  return records
}
