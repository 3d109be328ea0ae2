import { LsxError } from '../runtime/index.ts'
import { MAX_RECORDS_PER_FRAME } from './limits.ts'
import { LARGEST_RECORD_OVERHEAD_BYTES } from './record-writer.ts'
import { type RequestRecord, requestRecordBytes, writeRequestRecord } from './request-records.ts'
import { type ResponseRecord, responseRecordBytes, writeResponseRecord } from './response-records.ts'

const FIRST_CAPACITY_BYTES = 4_096
const NOTHING = Buffer.alloc(0)

interface BatchRecord {
  readonly payload: Buffer
  readonly meta: Buffer | undefined
}

/** Records encoded back to back into one buffer that is used again for the next batch. */
abstract class RecordBatch<R extends BatchRecord> {
  readonly #maxBodyBytes: number
  /** Made with the first record: most of many channels are idle. */
  #body = NOTHING
  #byteLength = 0
  #recordCount = 0

  /** `maxBodyBytes`: the agreed frame size without header and tag. */
  constructor(maxBodyBytes: number) {
    this.#maxBodyBytes = maxBodyBytes
  }

  protected abstract recordBytes(record: R): number
  protected abstract writeRecord(target: Buffer, position: number, record: R): number

  get recordCount(): number {
    return this.#recordCount
  }

  get byteLength(): number {
    return this.#byteLength
  }

  /**
   * Encodes the record. False: it does not fit beside the others, so `take()` them first and append it again.
   * TOO_LARGE: it fits into no frame. BAD_REQUEST: its key or method breaks the rules. A throw leaves the batch as it was.
   */
  append(record: R): boolean {
    const { payload, meta } = record
    const mostBytes = LARGEST_RECORD_OVERHEAD_BYTES + payload.length + (meta === undefined ? 0 : meta.length)
    const room = this.#maxBodyBytes - this.#byteLength
    if (mostBytes > room) {
      const recordBytes = this.recordBytes(record)
      if (recordBytes > this.#maxBodyBytes) throw this.#tooLarge(recordBytes)
      if (recordBytes > room) return false
    }
    if (this.#recordCount === MAX_RECORDS_PER_FRAME) return false
    if (this.#byteLength + mostBytes > this.#body.length) this.#grow(this.#byteLength + mostBytes)
    this.#byteLength = this.writeRecord(this.#body, this.#byteLength, record)
    this.#recordCount++
    return true
  }

  /** The body of the frame, a view that the next `append` overwrites: seal it first. The batch is empty afterwards. */
  take(): Buffer {
    if (this.#recordCount === 0) throw new LsxError('INTERNAL', 'an empty batch was taken')
    const body = this.#body.subarray(0, this.#byteLength)
    this.#byteLength = 0
    this.#recordCount = 0
    return body
  }

  #grow(neededBytes: number): void {
    const largest = this.#maxBodyBytes + LARGEST_RECORD_OVERHEAD_BYTES
    const grown = Buffer.allocUnsafeSlow(
      Math.max(neededBytes, Math.min(Math.max(this.#body.length * 2, FIRST_CAPACITY_BYTES), largest)),
    )
    grown.set(this.#body.subarray(0, this.#byteLength))
    this.#body = grown
  }

  #tooLarge(recordBytes: number): LsxError {
    return new LsxError('TOO_LARGE', 'the record does not fit into a frame', {
      facts: { recordBytes, maxBodyBytes: this.#maxBodyBytes },
    })
  }
}

/** The body of the next REQUEST frame. */
export class RequestBatch extends RecordBatch<RequestRecord> {
  protected override recordBytes(record: RequestRecord): number {
    return requestRecordBytes(record)
  }

  protected override writeRecord(target: Buffer, position: number, record: RequestRecord): number {
    return writeRequestRecord(target, position, record)
  }
}

/** The body of the next RESPONSE frame. */
export class ResponseBatch extends RecordBatch<ResponseRecord> {
  protected override recordBytes(record: ResponseRecord): number {
    return responseRecordBytes(record)
  }

  protected override writeRecord(target: Buffer, position: number, record: ResponseRecord): number {
    return writeResponseRecord(target, position, record)
  }
}
