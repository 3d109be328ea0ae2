import { lstat, mkdir, readdir, rename, rm, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import roll, { type RollingFile } from 'pino-roll'
import { type Clock, describeError, type Logger, LsxError, systemClock, type TimerHandle } from '../../runtime/index.ts'

export interface RollingLogOptions {
  /** Made when it is not there. */
  readonly dir: string
  /** Base name: the log is read as `<name>.log`. */
  readonly name: string
  /** A file that has reached this is followed by the next; one also ends with its day. Default 10 MiB. */
  readonly maxFileBytes?: number
  /** Files kept, the one being written among them. Default 14. */
  readonly keepFiles?: number
  /** What may wait for a slow or full disk; more is dropped, and counted. Default 4 MiB. */
  readonly maxBufferedBytes?: number
  readonly logger: Logger
  readonly clock?: Clock
}

const WARN_INTERVAL_MS = 60_000
const RETRY_INTERVAL_MS = 5_000
const DRAIN_EVENTS = ['drain', 'error', 'close'] as const

/**
 * Lines of JSON in files named by day and number (`uptime.2027-01-15.1.log`). pino-roll numbers even the file being
 * written, so a symlink `uptime.log` always points at that one: `tail -F uptime.log` follows across files. The day
 * must be in the name: numbers alone begin again after a restart, and the newest file would be deleted as the oldest.
 *
 * Writing never waits and never throws.
 */
export class RollingLog {
  readonly #options: Required<RollingLogOptions>
  #file: RollingFile | undefined
  #linking: Promise<void> = Promise.resolve()
  #droppedLines = 0
  #unreportedDrops = 0
  #warnedMs = Number.NEGATIVE_INFINITY
  /** The last write failed; nothing has been written since. */
  #failing = false
  #retryTimer: TimerHandle | undefined

  constructor(options: RollingLogOptions) {
    this.#options = {
      maxFileBytes: 10 * 1024 ** 2,
      keepFiles: 14,
      maxBufferedBytes: 4 * 1024 ** 2,
      clock: systemClock,
      ...options,
    }
  }

  /** Path of the symlink. */
  get path(): string {
    return join(this.#options.dir, `${this.#options.name}.log`)
  }

  get droppedLines(): number {
    return this.#droppedLines
  }

  /** Resolves when the file is open and the symlink points at it. Rejects INTERNAL. */
  async start(signal: AbortSignal): Promise<void> {
    const { dir, name, keepFiles, maxFileBytes, maxBufferedBytes } = this.#options
    try {
      await mkdir(dir, { recursive: true })
      await this.#removeOldFiles()
      await this.#setAsideFile()
      signal.throwIfAborted()
      const file = await roll({
        file: join(dir, name),
        extension: 'log',
        size: `${maxFileBytes}b`,
        frequency: 'daily',
        dateFormat: 'yyyy-MM-dd',
        limit: { count: keepFiles, removeOtherLogFiles: true },
        mkdir: false,
        mode: 0o640,
        maxLength: maxBufferedBytes,
      })
      await opened(file)
      file.on('ready', () => this.#pointAt(file))
      file.on('drop', () => this.#lineDropped())
      file.on('drain', () => this.#reportDrops())
      file.on('write', () => {
        this.#failing = false
      })
      file.on('error', (error) => {
        this.#failing = true
        this.#retryLater(file)
        this.#warn(error, 'the uptime log cannot be written')
      })
      this.#file = file
      this.#pointAt(file)
      await this.#linking
    } catch (cause) {
      throw new LsxError('INTERNAL', `cannot open the log ${this.path}`, { cause, facts: { path: this.path } })
    }
  }

  /** False when the disk is behind: a writer of many lines then waits for `drained`. */
  write(line: Readonly<Record<string, unknown>>): boolean {
    const file = this.#file
    if (file === undefined) {
      this.#droppedLines++
      return true
    }
    try {
      return file.write(`${JSON.stringify(line)}\n`)
    } catch (error) {
      this.#droppedLines++
      this.#warn(error, 'the uptime log cannot be written')
      return true
    }
  }

  /** After a write that gave false: resolves when what waits is written, or cannot be. Rejects when `signal` aborts. */
  drained(signal: AbortSignal): Promise<void> {
    const file = this.#file
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        signal.removeEventListener('abort', onAbort)
        for (const event of DRAIN_EVENTS) file?.off(event, onEvent)
        settle()
      }
      const onEvent = () => finish(resolve)
      const onAbort = () => finish(() => reject(signal.reason))
      signal.addEventListener('abort', onAbort, { once: true })
      for (const event of DRAIN_EVENTS) file?.on(event, onEvent)
      if (signal.aborted) onAbort()
      else if (file === undefined || this.#failing) onEvent()
    })
  }

  /** Writes what waits and closes; gives up when `signal` aborts. Safe to call twice. */
  async stop(signal: AbortSignal): Promise<void> {
    const file = this.#file
    if (file === undefined) return
    this.#file = undefined
    if (this.#retryTimer !== undefined) this.#options.clock.cancelTimer(this.#retryTimer)
    this.#retryTimer = undefined
    await new Promise<void>((resolve) => {
      const onAbort = () => {
        file.destroy()
        resolve()
      }
      file.once('close', () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      file.end()
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
    })
    await this.#linking
  }

  /** pino-roll removes files only when it rolls, so a daemon that restarts daily would keep them all. */
  async #removeOldFiles(): Promise<void> {
    const { dir, name, keepFiles } = this.#options
    const dated: { file: string; day: string; number: number }[] = []
    for (const file of await readdir(dir)) {
      if (!file.startsWith(`${name}.`)) continue
      const match = /^(\d{4}-\d\d-\d\d)\.(\d+)\.log$/.exec(file.slice(name.length + 1))
      if (match?.[1] !== undefined) dated.push({ file, day: match[1], number: Number(match[2]) })
    }
    dated.sort((left, right) => left.day.localeCompare(right.day) || left.number - right.number)
    for (const { file } of dated.slice(0, Math.max(0, dated.length - keepFiles))) await rm(join(dir, file))
  }

  /** A log that an operator copied to the place of the link, say: kept, once. */
  async #setAsideFile(): Promise<void> {
    const found = await lstat(this.path).catch(() => undefined)
    if (found?.isFile()) await rename(this.path, `${this.path}.before`)
  }

  /** In order, one after the other: two rolls in quick succession must not end with the older one. */
  #pointAt(file: RollingFile): void {
    const target = file.file
    if (target === null) return
    this.#linking = this.#linking.then(async () => {
      const fresh = `${this.path}.link`
      try {
        await rm(fresh, { force: true })
        await symlink(basename(target), fresh)
        await rename(fresh, this.path)
      } catch (error) {
        this.#warn(error, `${this.path} no longer points at the file being written`)
      }
    })
  }

  #lineDropped(): void {
    this.#droppedLines++
    if (this.#unreportedDrops++ === 0) {
      this.#warn(new LsxError('BUSY', 'the disk is too slow or full', { party: 'self' }), 'the uptime log drops lines')
    }
  }

  /** After an error, with a full buffer, the stream drops lines and leaves the disk alone: opening anew makes it try. */
  #retryLater(file: RollingFile): void {
    if (this.#file === undefined) return
    this.#retryTimer ??= this.#options.clock.startTimer(RETRY_INTERVAL_MS, () => {
      this.#retryTimer = undefined
      if (this.#failing && this.#file !== undefined) file.reopen()
    })
  }

  /** Tells the reader of the log that lines are missing here. */
  #reportDrops(): void {
    if (this.#unreportedDrops === 0) return
    const lines = this.#unreportedDrops
    this.#unreportedDrops = 0
    this.write({ ts: new Date(this.#options.clock.nowMs()).toISOString(), event: 'lines-dropped', lines })
  }

  #warn(error: unknown, message: string): void {
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs - this.#warnedMs < WARN_INTERVAL_MS) return
    this.#warnedMs = nowMs
    this.#options.logger.warn(
      { path: this.path, droppedLines: this.#droppedLines, error: describeError(error) },
      message,
    )
  }
}

/** pino-roll hands out the stream while its file is still being opened. */
function opened(file: RollingFile): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => {
      // An 'error' without listener would end the process; 'close' makes pino-roll cancel its timer.
      file.on('error', () => {})
      file.emit('close')
      reject(error)
    }
    file.once('error', onError)
    file.once('ready', () => {
      file.off('error', onError)
      resolve()
    })
  })
}
