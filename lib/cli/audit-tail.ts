import { type AuditFile, type AuditRecord, listAuditFiles, readLines, readRecord } from '../audit/index.ts'

/** Reads the records of a directory in order, and goes on where it stopped. */
export class AuditTail {
  readonly #dir: string
  readonly #isChosen: (record: AuditRecord) => boolean
  /** The file that was read last, and how many lines of it. */
  #file: AuditFile | undefined
  #lines = 0

  constructor(dir: string, isChosen: (record: AuditRecord) => boolean) {
    this.#dir = dir
    this.#isChosen = isChosen
  }

  /** The newest so many of all that is there, oldest first. */
  newest(limit: number): readonly AuditRecord[] {
    const kept: AuditRecord[] = []
    for (const record of this.next()) {
      kept.push(record)
      if (kept.length > 2 * limit) kept.splice(0, kept.length - limit)
    }
    return kept.slice(-limit)
  }

  /** What was written since the last time. */
  *next(): Generator<AuditRecord> {
    const from = this.#file?.number ?? 0
    for (const file of listAuditFiles(this.#dir)) {
      if (file.number < from) continue
      const skip = file.number === from ? this.#lines : 0
      this.#file = file
      let index = 0
      for (const { line, isWhole } of readLines(file)) {
        if (!isWhole) break
        if (index++ < skip) continue
        const record = readRecord(line)?.record
        if (record !== undefined && this.#isChosen(record)) yield record
      }
      this.#lines = index
    }
  }
}
