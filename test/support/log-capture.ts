import { isDeepStrictEqual } from 'node:util'

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: number; readonly msg: string }

/** Fields that a line must have; a dotted name reaches into an object (`error.code`). A RegExp tests the text. */
export type LogMatch = Readonly<Record<string, string | number | boolean | RegExp>>

const DEFAULT_WITHIN_MS = 10_000
/** Of a log in which something was missing. */
const LINES_SHOWN = 12
const CHARACTERS_SHOWN = 400

/** The log of one daemon, line by line as it is written. */
export class LogCapture {
  readonly name: string
  readonly lines: LogLine[] = []
  /** What came that is no JSON line: node's own warnings, for one. */
  readonly other: string[] = []
  readonly #waiting = new Set<() => void>()
  #ended = false

  constructor(name: string) {
    this.name = name
  }

  /** One line, with or without its end. */
  write(text: string): void {
    const line = parseLine(text)
    if (line === undefined) this.other.push(text)
    else this.lines.push(line)
    this.#tell()
  }

  /** No more lines can come: whoever still waits for one learns it. */
  end(): void {
    this.#ended = true
    this.#tell()
  }

  /** A place in the log; `until` and `all` look behind it. */
  get mark(): number {
    return this.lines.length
  }

  all(match: LogMatch, mark = 0): LogLine[] {
    return this.lines.slice(mark).filter((line) => matches(line, match))
  }

  /** The first line behind `mark` that matches, there already or still to come. */
  until(match: LogMatch, options: { mark?: number; withinMs?: number } = {}): Promise<LogLine> {
    return this.untilCount(1, match, options).then((lines) => lines[0] as LogLine)
  }

  /** The first `count` lines behind `mark` that match. */
  untilCount(
    count: number,
    match: LogMatch,
    { mark = 0, withinMs = DEFAULT_WITHIN_MS }: { mark?: number; withinMs?: number } = {},
  ): Promise<LogLine[]> {
    const found: LogLine[] = []
    let next = mark
    const look = (): boolean => {
      for (; next < this.lines.length && found.length < count; next++) {
        const line = this.lines[next]
        if (line !== undefined && matches(line, match)) found.push(line)
      }
      return found.length >= count
    }
    return new Promise((resolve, reject) => {
      const settle = (end: () => void): void => {
        clearTimeout(timer)
        this.#waiting.delete(check)
        end()
      }
      const check = (): void => {
        if (look()) settle(() => resolve(found))
        else if (this.#ended) settle(() => reject(this.#missing('ended without', count, match, mark)))
      }
      const timer = setTimeout(
        () => settle(() => reject(this.#missing(`had not in ${withinMs} ms`, count, match, mark))),
        withinMs,
      )
      this.#waiting.add(check)
      check()
    })
  }

  #missing(what: string, count: number, match: LogMatch, mark: number): Error {
    const wanted = Object.entries(match).map(([field, value]) => `${field}=${String(value)}`)
    const tail = [...this.lines.slice(mark).map((line) => JSON.stringify(line)), ...this.other]
      .slice(-LINES_SHOWN)
      .map((line) => line.slice(0, CHARACTERS_SHOWN))
    return new Error(
      `the log of ${this.name} ${what} ${count} line(s) with ${wanted.join(', ')}; it has:\n${tail.join('\n')}`,
    )
  }

  #tell(): void {
    for (const check of [...this.#waiting]) check()
  }
}

function parseLine(text: string): LogLine | undefined {
  try {
    const line: unknown = JSON.parse(text)
    return typeof line === 'object' && line !== null && 'msg' in line ? (line as LogLine) : undefined
  } catch {
    return undefined
  }
}

function matches(line: LogLine, match: LogMatch): boolean {
  return Object.entries(match).every(([field, wanted]) => {
    const value = field
      .split('.')
      .reduce<unknown>((within, name) => (within as Record<string, unknown> | undefined)?.[name], line)
    return wanted instanceof RegExp ? typeof value === 'string' && wanted.test(value) : isDeepStrictEqual(value, wanted)
  })
}
