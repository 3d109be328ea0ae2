import { LsxError } from '../runtime/index.ts'
import { frameInvalid } from './frame-invalid.ts'
import { MAX_RECORDS_PER_FRAME } from './limits.ts'
import { RecordReader } from './record-reader.ts'
import { binBytes, uintBytes, writeBin, writeMeta, writeUint32 } from './record-writer.ts'

const FIELDS = 3

/**
 * How a request ended at the xchange. ok: the handler answered. failed: the handler answered with its own error.
 * refused: the node refused before it ran anything, `meta.code` says why. inDoubt: begun, and its end is not known,
 * `meta.code` is IN_DOUBT.
 */
export const ResponseStatus = { ok: 0, failed: 1, refused: 2, inDoubt: 3 } as const
export type ResponseStatus = (typeof ResponseStatus)[keyof typeof ResponseStatus]

/** On the wire `[id, status, payload, meta?]`: a msgpack array of uint, uint, bin and map. */
export interface ResponseRecord {
  /** The id of the request record. */
  readonly id: number
  readonly status: ResponseStatus
  /** Opaque here. */
  readonly payload: Buffer
  /** An encoded msgpack map; `decodeMeta` reads it. */
  readonly meta: Buffer | undefined
}

/** Exact encoded size of a record that keeps the rules. */
export function responseRecordBytes(record: ResponseRecord): number {
  return (
    1 +
    uintBytes(record.id) +
    1 +
    binBytes(record.payload.length) +
    (record.meta === undefined ? 0 : record.meta.length)
  )
}

/** Writes one record and returns the offset after it; `target` must have the room. */
export function writeResponseRecord(target: Buffer, position: number, record: ResponseRecord): number {
  const { meta } = record
  if (!isResponseStatus(record.status)) throw new LsxError('INTERNAL', 'a response record has an unknown status')
  target[position] = meta === undefined ? 0x90 + FIELDS : 0x90 + FIELDS + 1
  let end = writeUint32(target, position + 1, record.id)
  end = writeUint32(target, end, record.status)
  end = writeBin(target, end, record.payload)
  return meta === undefined ? end : writeMeta(target, end, meta)
}

/**
 * Decodes the body of a RESPONSE frame: 1 to 4,096 records back to back. Payload and meta are views of the body.
 * FRAME_INVALID for anything else; then none of its records count.
 */
export function decodeResponseBatch(body: Buffer): ResponseRecord[] {
  if (body.length === 0) throw frameInvalid('a batch is empty')
  const reader = new RecordReader(body)
  const records: ResponseRecord[] = []
  while (!reader.atEnd) {
    if (records.length === MAX_RECORDS_PER_FRAME) throw frameInvalid('a batch has too many records')
    const fields = reader.arrayHeader()
    if (fields !== FIELDS && fields !== FIELDS + 1) {
      throw frameInvalid('a response record has 3 or 4 fields', { fields })
    }
    const id = reader.uint32()
    const status = reader.uint32()
    if (!isResponseStatus(status)) throw frameInvalid('a response record has an unknown status', { status })
    const payload = reader.bin()
    const meta = fields === FIELDS ? undefined : reader.meta()
    records.push({ id, status, payload, meta })
  }
  return records
}

function isResponseStatus(status: number): status is ResponseStatus {
  return status >>> 0 === status && status <= ResponseStatus.inDoubt
}
