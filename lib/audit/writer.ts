import type { FileHandle } from 'node:fs/promises'
import { type Clock, LsxError, type TimerHandle } from '../runtime/index.ts'
import { type AuditFile, openForAppend, placeOf } from './files.ts'

interface Line {
  readonly file: AuditFile
  readonly isNewFile: boolean
  readonly bytes: Buffer
  readonly seq: number
  readonly isSynced: boolean
}

/** Lines of one file on their way to the disk; `offset` is how far they have got. */
interface Batch {
  readonly file: AuditFile
  readonly isNewFile: boolean
  readonly bytes: Buffer
  readonly lastSeq: number
  readonly lines: number
  readonly isSynced: boolean
  offset: number
}

export interface AuditWriterOptions {
  readonly clock: Clock
  /** The pause before a write that failed is tried again. */
  readonly retryMs: number
  readonly onFailed: (error: unknown) => void
  readonly onWorking: () => void
  /** All records up to this one are on disk. */
  readonly onSynced: (seq: number) => void
  /** Somebody else has the file in hand: `problem` says how that shows. */
  readonly onFileChanged: (problem: string) => void
  /** For tests of a disk that is full: opens a file whose writes fail. */
  readonly openFile?: typeof openForAppend
}

const MAX_BATCH_BYTES = 262_144

/**
 * Appends lines in order, without ever making its caller wait. What is asked for while a write is under way goes with
 * the next one, with one sync for all. A write that fails is tried again, from the byte at which it stopped.
 */
export class AuditWriter {
  readonly #options: AuditWriterOptions
  readonly #queue: Line[] = []
  #batch: Batch | undefined
  #handle: FileHandle | undefined
  #file: AuditFile | undefined
  #fileBytes = 0
  #inode = 0
  #fileWasChanged = false
  #running: Promise<void> | undefined
  #retry: { readonly timer: TimerHandle; readonly go: () => void } | undefined
  #isClosed = false
  readonly #waiting = new Set<() => void>()

  constructor(options: AuditWriterOptions) {
    this.#options = options
  }

  /** Lines that are not on disk yet. */
  get buffered(): number {
    return this.#queue.length + (this.#batch?.lines ?? 0)
  }

  /** Goes on with a file that is there. @throws LsxError REFUSED, party self */
  async resume(file: AuditFile): Promise<void> {
    await this.#take(file, { isNew: false })
  }

  append(line: Line): void {
    if (this.#isClosed) return
    this.#queue.push(line)
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      this.#tellWaiting()
    })
  }

  /** Resolves when all that was appended is on disk, a write fails, or `signal` aborts. */
  flush(signal: AbortSignal): Promise<void> {
    if (this.#running === undefined || signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener('abort', done)
        this.#waiting.delete(done)
        resolve()
      }
      this.#waiting.add(done)
      signal.addEventListener('abort', done, { once: true })
    })
  }

  /** Gives up what is still buffered. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#retry !== undefined) {
      this.#options.clock.cancelTimer(this.#retry.timer)
      this.#retry.go()
    }
    await this.#running
    await this.#handle?.close()
    this.#handle = undefined
  }

  async #run(): Promise<void> {
    for (let batch = this.#next(); batch !== undefined; batch = this.#next()) {
      try {
        await this.#write(batch)
        this.#batch = undefined
        this.#options.onWorking()
        if (batch.isSynced) {
          this.#options.onSynced(batch.lastSeq)
          this.#checkPlace()
        }
      } catch (error) {
        this.#options.onFailed(error)
        this.#tellWaiting()
        if (this.#isClosed) return
        await this.#pause()
      }
      if (this.#isClosed && this.#batch !== undefined) return
    }
  }

  /** The batch that is under way, or the lines that have gathered for one file. */
  #next(): Batch | undefined {
    if (this.#batch !== undefined) return this.#batch
    const [first] = this.#queue
    if (first === undefined) return undefined
    let bytes = 0
    let lines = 0
    for (const line of this.#queue) {
      const isOfBatch = line.file.number === first.file.number && (lines === 0 || !line.isNewFile)
      if (!isOfBatch || (lines > 0 && bytes + line.bytes.length > MAX_BATCH_BYTES)) break
      bytes += line.bytes.length
      lines++
    }
    const taken = this.#queue.splice(0, lines)
    this.#batch = {
      file: first.file,
      isNewFile: first.isNewFile,
      bytes: Buffer.concat(taken.map((line) => line.bytes)),
      lastSeq: taken.at(-1)?.seq ?? first.seq,
      lines,
      isSynced: taken.some((line) => line.isSynced),
      offset: 0,
    }
    return this.#batch
  }

  async #write(batch: Batch): Promise<void> {
    if (this.#file?.number !== batch.file.number) await this.#take(batch.file, { isNew: batch.isNewFile })
    const handle = this.#handle
    if (handle === undefined) throw new LsxError('INTERNAL', 'the audit log is closed')
    while (batch.offset < batch.bytes.length) {
      const { bytesWritten } = await handle.write(batch.bytes, batch.offset)
      batch.offset += bytesWritten
      this.#fileBytes += bytesWritten
    }
    if (batch.isSynced) await handle.datasync()
  }

  async #take(file: AuditFile, { isNew }: { readonly isNew: boolean }): Promise<void> {
    const { openFile = openForAppend } = this.#options
    const handle = await openFile(file, { isNew })
    await this.#handle?.close()
    this.#handle = handle
    const { size, ino } = await this.#handle.stat()
    this.#file = file
    this.#fileBytes = size
    this.#inode = ino
    this.#fileWasChanged = false
  }

  /** Whoever cuts, replaces or adds to the file while it is open is noticed at the next sync. */
  #checkPlace(): void {
    const file = this.#file
    if (file === undefined || this.#fileWasChanged) return
    const place = placeOf(file)
    const problem =
      place === undefined
        ? `${file.name} was removed`
        : place.inode !== this.#inode
          ? `${file.name} was replaced`
          : place.bytes !== this.#fileBytes
            ? `${file.name} has ${place.bytes} bytes, and ${this.#fileBytes} were written`
            : undefined
    if (problem === undefined) return
    this.#fileWasChanged = true
    this.#options.onFileChanged(problem)
  }

  #tellWaiting(): void {
    for (const done of this.#waiting) done()
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const go = (): void => {
        this.#retry = undefined
        resolve()
      }
      this.#retry = { timer: this.#options.clock.startTimer(this.#options.retryMs, go), go }
    })
  }
}
