import Table from 'cli-table3'
import type { OperatorClaim } from '../audit/index.ts'
import { type Clock, type ErrorCode, LsxError, toLsxError } from '../runtime/index.ts'
import { adviceFor } from './advice.ts'
import { jsonText } from './json-text.ts'

/** What scripts may rely on. */
export const ExitCode = {
  ok: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  notSent: 4,
  inDoubt: 5,
  unreachable: 6,
  /** Ended by Ctrl-C before it was done, as shells have it. */
  interrupted: 130,
} as const

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** All that a command sees of the terminal and the process. */
export interface CliIo {
  /** Writes the text as it is: end it with a newline. */
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Standard output is a terminal. */
  readonly isTty: boolean
  readonly columns: number
  readonly rows: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** Notes the exit code; the program ends by itself when the command has. The last call counts. */
  readonly exit: (code: ExitCode) => void
  /** All of standard input. Rejects with TOO_LARGE when there is more. */
  readonly readStdin: (maxBytes: number) => Promise<Buffer>
  /** Aborts when nobody wants more: Ctrl-C, or the reader of standard output is gone. */
  readonly interrupt: AbortSignal
  readonly clock: Clock
  /** Who says that he gives this command; a claim, which the daemon records as one. */
  readonly operator: OperatorClaim
}

/** An error whose exit code, or whose advice, its code alone does not tell. */
export class CommandError extends LsxError {
  readonly exitCode: ExitCode
  /** What to do now. */
  readonly advice: string | undefined

  constructor(
    exitCode: ExitCode,
    code: ErrorCode,
    message: string,
    options: { readonly advice?: string; readonly cause?: unknown } = {},
  ) {
    super(code, message, { party: 'self', cause: options.cause })
    this.exitCode = exitCode
    this.advice = options.advice
  }
}

export type Tone = 'good' | 'warning' | 'bad' | 'faint' | 'strong'

/** A table's cell: plain, or with a tone where colours are on. */
export type Cell = string | number | { readonly text: string; readonly tone: Tone }

const SGR: Readonly<Record<Tone, string>> = { good: '32', warning: '33', bad: '31', faint: '2', strong: '1' }

const NO_BORDERS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
}

/** Colours only for a person: on a terminal, and not when NO_COLOR is set to anything but nothing. */
export function paint(io: CliIo, tone: Tone, text: string): string {
  const plain = printable(text)
  if (!io.isTty || (io.env.NO_COLOR ?? '') !== '') return plain
  return `\u001b[${SGR[tone]}m${plain}\u001b[0m`
}

/** Columns without borders, two spaces apart, one line a row. */
export function printTable(io: CliIo, head: readonly string[], rows: readonly (readonly Cell[])[]): void {
  io.stdout(formatTable(io, head, rows))
}

export function formatTable(io: CliIo, head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const table = new Table({ chars: NO_BORDERS, style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] } })
  table.push(head.map((title) => paint(io, 'strong', title)))
  for (const row of rows) {
    table.push(
      row.map((cell) => (typeof cell === 'object' ? paint(io, cell.tone, cell.text) : printable(String(cell)))),
    )
  }
  const lines = table.toString().split('\n')
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}

/** One JSON document a line. */
export function printJson(io: CliIo, value: unknown): void {
  io.stdout(`${jsonText(value)}\n`)
}

/**
 * Names in files and words of peers reach the terminal: without control characters they cannot command it, nor can
 * right-to-left marks reorder a line.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd')
}

/**
 * Runs a command's work and tells what went wrong, in words or, with `json`, as `{code, party, message, advice?}`, always
 * on standard error, so that standard output holds results only.
 */
export async function runCommand(io: CliIo, json: boolean, work: () => void | Promise<void>): Promise<void> {
  try {
    await work()
  } catch (thrown) {
    const isOwn = thrown instanceof CommandError
    if (io.interrupt.aborted && !isOwn) io.exit(ExitCode.interrupted)
    else reportError(io, json, toLsxError(thrown))
  }
}

/** Tells what went wrong and sets the exit code. */
export function reportError(io: CliIo, json: boolean, error: LsxError): void {
  const { code, party, message } = error
  const advice = error instanceof CommandError ? error.advice : adviceFor(code)
  if (json) io.stderr(`${jsonText({ code, party, message, advice })}\n`)
  else io.stderr(`lsctl: ${printable(advice === undefined ? message : `${message}; ${advice}`)} (${code})\n`)
  io.exit(exitCodeOf(error))
}

function exitCodeOf(error: LsxError): ExitCode {
  if (error instanceof CommandError) return error.exitCode
  switch (error.code) {
    case 'BAD_REQUEST':
      return ExitCode.usage
    // Codes with which lsd, or a file's owner, says no.
    case 'REFUSED':
    case 'TOO_LARGE':
    case 'UNKNOWN_BANK':
    case 'KEY_PENDING':
    case 'CHANNEL_DOWN':
    case 'QUARANTINED':
    case 'BUSY':
    case 'SHUTTING_DOWN':
      return ExitCode.refused
    case 'IN_DOUBT':
      return ExitCode.inDoubt
    default:
      return ExitCode.failed
  }
}
