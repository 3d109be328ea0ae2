import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What a run leaves behind: its exit code, and whether its directory stays for whoever looks into it. */
export interface Ended {
  readonly code: number
  readonly keepDir: boolean
}

export interface Command<Arguments> {
  readonly name: string
  readonly usage: string
  /** Undefined when help was asked for; a text says what is wrong. */
  readonly parse: (argv: readonly string[]) => Arguments | string | undefined
  /** Works in `dir`, which is removed afterwards; ends early, by throwing, when the signal aborts. */
  readonly run: (options: Arguments, dir: string, signal: AbortSignal) => Promise<Ended>
}

const INTERRUPTED = 130
const WRONG_USAGE = 2

/** Runs a command of the harness and ends the process with its exit code. */
export async function runCommand<Arguments>(command: Command<Arguments>): Promise<never> {
  const { name, usage } = command
  const options = command.parse(process.argv.slice(2))
  if (typeof options === 'string') {
    process.stderr.write(`${options}\n${usage}`)
    process.exit(WRONG_USAGE)
  }
  if (options === undefined) {
    process.stdout.write(usage)
    process.exit(0)
  }
  try {
    process.exit(await inOwnDirectory(command, options))
  } catch (error) {
    process.stderr.write(`${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    process.exit(1)
  }
}

async function inOwnDirectory<Arguments>({ name, run }: Command<Arguments>, options: Arguments): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), `lsx-${name}-`))
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
  let keepDir = true
  try {
    const ended = await run(options, dir, interrupted.signal)
    keepDir = ended.keepDir
    return ended.code
  } catch (error) {
    keepDir = !interrupted.signal.aborted
    if (!interrupted.signal.aborted) throw error
    return INTERRUPTED
  } finally {
    if (keepDir) process.stderr.write(`everything about this run is in ${dir}\n`)
    else rmSync(dir, { recursive: true, force: true })
  }
}
