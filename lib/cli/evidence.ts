import { readFileSync, statSync } from 'node:fs'
import type { Command } from 'commander'
import { createFileExclusive, SECRET_MODE } from '../certs/index.ts'
import { payloadToJson } from '../ipc/index.ts'
import {
  type EvidenceReport,
  type ExchangeReport,
  type MessageReport,
  parseEvidenceFile,
  verifyEvidence,
} from '../message/evidence/index.ts'
import { KeyDirectory } from '../message/jws/index.ts'
import { LsxError, silentLogger, toLsxError } from '../runtime/index.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import { type CliIo, ExitCode, paint, printable, printJson, runCommand } from './io.ts'
import { jsonText } from './json-text.ts'

interface ExportOptions extends GlobalOptions {
  readonly out?: string
}

interface VerifyOptions extends GlobalOptions {
  readonly keys: string
}

const MAX_FILE_BYTES = 67_108_864
const STATUS_NAMES = ['ok', 'failed', 'refused', 'in doubt']

/** `lsctl evidence export|verify`: who signed what, to be shown to somebody who trusts neither side. */
export function addEvidenceCommands(program: Command, io: CliIo): void {
  const evidence = program.command('evidence').description('export the signed messages of a request, and verify them')
  evidence
    .command('export')
    .description('write all that proves what was asked and answered under an idempotency key into one file')
    .argument('<key>', 'idempotency key')
    .option('--out <file>', 'where to; never over a file that is there (default: evidence-KEY.json)')
    .addHelpText(
      'after',
      '\nThe file holds the payloads and is readable by its owner only.\n\nExample:\n  lsctl evidence export invoice-17 --out invoice-17.json',
    )
    .action((key: string, options: ExportOptions) =>
      runCommand(io, options.json === true, async () => {
        const answer = await callAdmin(io, options, 'evidence-export', { key })
        const text = `${JSON.stringify((answer as { file?: unknown } | null)?.file, undefined, 2)}\n`
        const { exchanges } = parseEvidenceFile(text)
        const file = options.out ?? `evidence-${key.replace(/[^A-Za-z0-9_-]/g, '_')}.json`
        createFileExclusive(file, text, SECRET_MODE)
        if (options.json === true) return printJson(io, { file, exchanges: exchanges.length })
        io.stdout(`${printable(file)}  ${exchanges.length} exchange${exchanges.length === 1 ? '' : 's'}\n`)
        io.stdout(`  verify it with: lsctl evidence verify ${printable(file)} --keys DIR\n`)
      }),
    )
  evidence
    .command('verify')
    .description('verify such a file with a directory of public keys; needs no daemon and no network')
    .argument('<file>', 'from: lsctl evidence export')
    .requiredOption(
      '--keys <dir>',
      'the keys that you trust: <party>/<key id>.json, also those that were replaced since',
    )
    .addHelpText(
      'after',
      '\nA key that is only in the file is not trusted.\nExit codes: 0 everything is proven, 1 something is not, 2 the file cannot be read as evidence.\n\nExample:\n  lsctl evidence verify invoice-17.json --keys certs/keys',
    )
    .action((file: string, options: VerifyOptions) =>
      runCommand(io, options.json === true, () => {
        const keys = new KeyDirectory({ path: options.keys, clock: io.clock, logger: silentLogger })
        const report = verifyEvidence(parseEvidenceFile(readEvidence(file)), keys)
        if (options.json === true) printJson(io, jsonOf(report))
        else printReport(io, report)
        io.exit(report.isProven ? ExitCode.ok : ExitCode.failed)
      }),
    )
}

function readEvidence(file: string): string {
  try {
    const { size } = statSync(file)
    if (size > MAX_FILE_BYTES) throw new Error(`${file} is larger than ${MAX_FILE_BYTES} bytes`)
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new LsxError('BAD_REQUEST', toLsxError(cause).message, { cause })
  }
}

function printReport(io: CliIo, { key, isProven, exchanges }: EvidenceReport): void {
  io.stdout(`key ${printable(key)}: ${exchanges.length} exchange${exchanges.length === 1 ? '' : 's'}\n`)
  for (const exchange of exchanges) printExchange(io, exchange)
  io.stdout(isProven ? `${paint(io, 'good', 'PROVEN')}\n` : `${paint(io, 'bad', 'NOT PROVEN')}\n`)
}

function printExchange(io: CliIo, { request, response, problem }: ExchangeReport): void {
  io.stdout('\n')
  if (request === undefined) io.stdout('the request was not signed\n')
  else printMessage(io, request)
  printMessage(io, response)
  if (problem !== undefined) io.stdout(`${paint(io, 'bad', 'wrong')}  ${printable(problem)}\n`)
}

function printMessage(io: CliIo, message: MessageReport): void {
  const { direction, party, keyId, thumbprint, signedAt, bankCode, sessionId, method, status, payload, problem } =
    message
  const verdict = problem === undefined ? paint(io, 'good', 'proven') : paint(io, 'bad', 'NOT PROVEN')
  const said = problem === undefined ? 'signed by' : 'it claims to be signed by'
  io.stdout(`${direction}  ${verdict}: ${said} ${printable(party ?? 'nobody')} at ${printable(signedAt ?? '-')}\n`)
  if (problem !== undefined) io.stdout(`  problem     ${printable(problem)}\n`)
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['key', keyId],
    ['thumbprint', thumbprint],
    ['bank', bankCode],
    ['session', sessionId],
    ['method', method],
    ['status', status === undefined ? undefined : `${status} ${STATUS_NAMES[status] ?? ''}`],
    ['payload', payload === undefined ? undefined : jsonText(payloadToJson(payload))],
  ]
  for (const [name, value] of rows) if (value !== undefined) io.stdout(`  ${name.padEnd(10)}  ${printable(value)}\n`)
}

function jsonOf({ key, isProven, exchanges }: EvidenceReport): unknown {
  const messageOf = (message: MessageReport | undefined) =>
    message === undefined
      ? undefined
      : { ...message, payload: message.payload === undefined ? undefined : payloadToJson(message.payload) }
  return {
    key,
    isProven,
    exchanges: exchanges.map(({ request, response, problem }) => ({
      request: messageOf(request),
      response: messageOf(response),
      problem,
    })),
  }
}
