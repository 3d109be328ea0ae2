import { Command } from 'commander'
import type { CliIo, ExitCode } from '../../lib/cli/io.ts'
import { type Clock, systemClock } from '../../lib/runtime/index.ts'

export interface RecordingIo extends CliIo {
  readonly out: string
  readonly err: string
  /** Undefined until a command sets it. */
  readonly exitCode: ExitCode | undefined
  /** Resolves when standard output, or standard error, matches. */
  untilOut(pattern: RegExp): Promise<void>
  untilErr(pattern: RegExp): Promise<void>
}

export interface RecordingIoOptions {
  readonly isTty?: boolean
  readonly columns?: number
  readonly rows?: number
  readonly env?: Record<string, string>
  readonly stdin?: string | Buffer
  /** Ctrl-C. */
  readonly interrupt?: AbortSignal
  readonly clock?: Clock
}

/** A terminal that remembers what was written to it. */
export function createRecordingIo(options: RecordingIoOptions = {}): RecordingIo {
  let out = ''
  let err = ''
  let exitCode: ExitCode | undefined
  const waiting = new Set<() => void>()
  const told = (): void => {
    for (const check of waiting) check()
  }
  const until = (matches: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (!matches()) return
        waiting.delete(check)
        resolve()
      }
      waiting.add(check)
      check()
    })
  return {
    stdout: (text) => {
      out += text
      told()
    },
    stderr: (text) => {
      err += text
      told()
    },
    isTty: options.isTty ?? false,
    columns: options.columns ?? 80,
    rows: options.rows ?? 24,
    env: options.env ?? {},
    exit: (code) => {
      exitCode = code
    },
    readStdin: async () => Buffer.from(options.stdin ?? ''),
    interrupt: options.interrupt ?? new AbortController().signal,
    clock: options.clock ?? systemClock,
    operator: { user: 'ada' },
    get out() {
      return out
    },
    get err() {
      return err
    },
    get exitCode() {
      return exitCode
    },
    untilOut: (pattern) => until(() => pattern.test(out)),
    untilErr: (pattern) => until(() => pattern.test(err)),
  }
}

/** Runs one command line with the commands that `add` adds; a usage error rejects with commander's own error. */
export async function runLine(
  add: (program: Command, io: CliIo) => void,
  line: readonly string[],
  io: RecordingIo = createRecordingIo(),
): Promise<RecordingIo> {
  const program = new Command('lsctl').exitOverride().configureOutput({ writeOut: io.stdout, writeErr: io.stderr })
  add(program, io)
  await program.parseAsync([...line], { from: 'user' })
  return io
}
