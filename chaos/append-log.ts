import { closeSync, existsSync, fdatasync, openSync, readFileSync, write } from 'node:fs'
import { promisify } from 'node:util'

const writeAsync = promisify(write)
const fdatasyncAsync = promisify(fdatasync)

const SYNC_ATTEMPTS = 5

interface Waiting {
  readonly line: string
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

/**
 * A file of JSON lines that several processes may append to. What was appended is on disk before its promise resolves;
 * lines that come while the disk is busy share the next write.
 */
export class AppendLog<Event extends object> {
  readonly #fd: number
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined

  constructor(path: string) {
    const isTorn = existsSync(path) && !endsInNewline(path)
    this.#fd = openSync(path, 'a', 0o600)
    // A line that a killed process left unfinished must not swallow the next one.
    if (isTorn) this.#waiting.push({ line: '\n', resolve: () => {}, reject: () => {} })
  }

  append(event: Event): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line: `${JSON.stringify(event)}\n`, resolve, reject })
      this.#writing ??= this.#writeAll()
    })
  }

  async close(): Promise<void> {
    await this.#writing
    closeSync(this.#fd)
  }

  async #writeAll(): Promise<void> {
    // Lines of the same turn of the loop leave together.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      try {
        await this.#writeBatch(batch.map(({ line }) => line).join(''))
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#writing = undefined
  }

  /** One write for whole lines, so that lines of several processes never mix. */
  async #writeBatch(text: string): Promise<void> {
    const bytes = Buffer.from(text)
    const { bytesWritten } = await writeAsync(this.#fd, bytes)
    if (bytesWritten !== bytes.length) throw new Error(`a log took ${bytesWritten} of ${bytes.length} bytes`)
    await this.#sync()
  }

  /** The errors that the harness makes are for the stores: strace cannot tell one file of a process from another. */
  async #sync(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await fdatasyncAsync(this.#fd)
        return
      } catch (error) {
        if (attempt >= SYNC_ATTEMPTS) throw error
      }
    }
  }
}

function endsInNewline(path: string): boolean {
  const bytes = readFileSync(path)
  return bytes.length === 0 || bytes.at(-1) === 0x0a
}

/** All whole lines of a log; nothing when there is no such file. A line that a kill left unfinished is left out. */
export function readLog<Event extends object>(path: string): Event[] {
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return line === '' ? [] : [JSON.parse(line) as Event]
      } catch {
        return []
      }
    })
}
