/** What a batch of lib/frames offers; requests and responses differ only in their records. */
export interface RecordBatch<Record> {
  readonly recordCount: number
  readonly byteLength: number
  append(record: Record): boolean
  take(): Buffer
}

/** A batch that reaches this leaves at once, so that the next stage works while this one goes on filling. */
export interface FlushAt {
  readonly bytes: number
  readonly records: number
}
const FLUSH_AT: FlushAt = { bytes: 16_384, records: 64 }

/**
 * Collects the records that are ready together and sends them as one body: at the end of the current turn of the event
 * loop, or earlier when enough has come together. An idle channel therefore sends at once.
 */
export class BatchSender<Record> {
  readonly #defer: (flush: () => void) => void
  readonly #send: (body: Buffer, recordCount: number) => void
  readonly #flushAt: FlushAt
  #batch: RecordBatch<Record>
  #scheduled = false
  #stopped = false

  constructor(options: {
    batch: RecordBatch<Record>
    /** Gets the body and how many of the records pushed it carries, the oldest ones. */
    send: (body: Buffer, recordCount: number) => void
    defer: (flush: () => void) => void
    /** Default 16 KiB or 64 records. */
    flushAt?: FlushAt | undefined
  }) {
    this.#batch = options.batch
    this.#send = options.send
    this.#defer = options.defer
    this.#flushAt = options.flushAt ?? FLUSH_AT
  }

  get recordCount(): number {
    return this.#batch.recordCount
  }

  /** Throws TOO_LARGE for a record that fits no frame; nothing is sent of it then. */
  push(record: Record): void {
    if (!this.#batch.append(record)) {
      this.flush()
      this.#batch.append(record)
    }
    if (this.#batch.recordCount >= this.#flushAt.records || this.#batch.byteLength >= this.#flushAt.bytes) this.flush()
    else if (!this.#scheduled) {
      this.#scheduled = true
      this.#defer(() => {
        this.#scheduled = false
        this.flush()
      })
    }
  }

  flush(): void {
    const { recordCount } = this.#batch
    if (this.#stopped || recordCount === 0) return
    this.#send(this.#batch.take(), recordCount)
  }

  /** The agreed frame limit has changed: what is collected goes out under the old one. */
  replaceBatch(batch: RecordBatch<Record>): void {
    this.flush()
    this.#batch = batch
  }

  /** What was collected is never sent. */
  stop(): void {
    this.#stopped = true
  }
}
