import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { COMPILED } from './paths.ts'

/** A line of a daemon's log. */
export type LogLine = Readonly<Record<string, unknown>>

export interface DaemonCommand {
  readonly program: 'lsd' | 'xchanged'
  readonly configFile: string
  readonly env?: Readonly<Record<string, string>>
  /** In front of the command line: strace and its arguments. */
  readonly wrapper?: readonly string[]
}

/** Starts a daemon that ends with the harness. `receive` gets each line of its output, parsed where it is of its log. */
export function spawnDaemon(
  { program, configFile, env = {}, wrapper = [] }: DaemonCommand,
  receive: (text: string, line: LogLine | undefined) => void,
): ChildProcess {
  const command = [
    ...wrapper,
    process.execPath,
    '--import',
    COMPILED.childPreload.href,
    COMPILED.program(program),
    '--config',
    configFile,
  ]
  const [file = process.execPath, ...words] = command
  const child = spawn(file, words, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on('line', (text) => receive(text, parsedLine(text)))
  }
  return child
}

function parsedLine(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine
  } catch {
    return undefined
  }
}
