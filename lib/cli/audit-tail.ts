import { type AuditFile, type AuditRecord, listAuditFiles, readLines, readRecord } from '../audit/index.ts'

/** Reads the records of a directory in order, and goes on where it stopped. */
export class AuditTail {
  readonly #dir: string
  readonly #isChosen: (record: AuditRecord) => boolean
  /** The file that was read last, and the byte behind its last whole line. */
  #file: AuditFile | undefined
  #endByte = 0

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
      if (file.number !== from) this.#endByte = 0
      this.#file = file
      for (const { line, isWhole, endByte } of readLines(file, this.#endByte)) {
        if (!isWhole) break
        this.#endByte = endByte
        const record = readRecord(line)?.record
        if (record !== undefined && this.#isChosen(record)) yield record
      }
    }
  }
}
