import type { Logger, LogLevel } from '../../lib/runtime/index.ts'

export interface LogLine {
  readonly level: LogLevel
  readonly facts: Readonly<Record<string, unknown>>
  readonly message: string
}

export interface RecordingLogger extends Logger {
  /** Of this logger and its children. */
  readonly lines: LogLine[]
}

/** A logger that remembers. */
export function recordingLogger(lines: LogLine[] = [], bindings: Record<string, unknown> = {}): RecordingLogger {
  const method = (level: LogLevel) => (facts: Record<string, unknown>, message: string) => {
    lines.push({ level, facts: { ...bindings, ...facts }, message })
  }
  return {
    lines,
    fatal: method('fatal'),
    error: method('error'),
    warn: method('warn'),
    info: method('info'),
    debug: method('debug'),
    child: (more) => recordingLogger(lines, { ...bindings, ...more }),
  }
}
