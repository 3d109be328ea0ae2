import type { Database } from 'lmdb'

/**
 * What a write is for. One that finishes what an earlier one began may use the reserve of space that those that begin
 * something leave: the outcome of work that was taken on must find room.
 */
export type WritePurpose = 'begins' | 'finishes'

/** A write that is encoded, sealed and not yet made: `TransactionalStore.write` makes several as one. Use it once. */
export class Change {
  readonly #database: Database<Buffer, Buffer>
  readonly #keyBytes: Buffer
  readonly #record: Buffer | undefined

  /** Without a record it removes the key. */
  constructor(database: Database<Buffer, Buffer>, keyBytes: Buffer, record?: Buffer) {
    this.#database = database
    this.#keyBytes = keyBytes
    this.#record = record
  }

  get adds(): boolean {
    return this.#record !== undefined
  }

  apply(): Promise<boolean> {
    return this.#record === undefined
      ? this.#database.remove(this.#keyBytes)
      : this.#database.put(this.#keyBytes, this.#record)
  }
}
