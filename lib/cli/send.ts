import { isUtf8 } from 'node:buffer'
import { type Command, Option } from 'commander'
import {
  type AppRequest,
  DEFAULT_IPC_LIMITS,
  DEFAULT_TIMEOUT_MS,
  encodePayload,
  LONGEST_TIMEOUT_MS,
  type LsClient,
  type Outcome,
  type PendingNotice,
  parseRequest,
  payloadToJson,
  type Reply,
} from '../ipc/index.ts'
import { LsxError } from '../runtime/index.ts'
import { adviceFor } from './advice.ts'
import { type GlobalOptions, withDaemon } from './daemon-client.ts'
import { durationOption } from './duration.ts'
import { type CliIo, ExitCode, paint, printable, printJson, runCommand, type Tone } from './io.ts'
import { jsonText, parsePayload, prettyJsonText } from './json-text.ts'

interface SendOptions extends GlobalOptions {
  readonly key?: string
  readonly timeout: number
  readonly durable?: boolean
}

/** How a request ended, as scripts get it. */
interface SendResult {
  readonly to: string
  readonly method: string
  readonly outcome: Outcome
  readonly code: string | undefined
  readonly message: string | undefined
  /** Idempotency key. */
  readonly key: string
  readonly ms: number
  readonly payload: unknown
}

/** `lsctl send`. */
export function addSendCommand(program: Command, io: CliIo): void {
  program
    .command('send')
    .summary('send one request to a bank')
    .description('send one request to a bank, and print the answer')
    .argument('<bank>', 'bank code')
    .argument('<method>', "method of the bank's xchange")
    .argument('[json]', 'payload; - reads it from standard input', '{}')
    .option('--key <key>', 'idempotency key, 1 to 64 bytes (default: a new one)')
    .addOption(
      new Option('--timeout <duration>', 'wait this long for the answer, at most 10m')
        .default(DEFAULT_TIMEOUT_MS, '30s')
        .argParser(durationOption(1, LONGEST_TIMEOUT_MS)),
    )
    .option('--durable', 'keep it in the journal of lsd until its outcome is known')
    .addHelpText(
      'after',
      [
        '',
        'Exit codes: 0 answered, 1 answered with an error, 3 refused, 4 not sent, 5 in doubt, 6 lsd is not reachable.',
        'A request in doubt may have run: send it again with the same --key only.',
        '',
        'Examples:',
        '  lsctl send 044 balance \'{"account":"0123456789"}\'',
        '  lsctl send 058 transfer - --key invoice-17 --timeout 5s < transfer.json',
      ].join('\n'),
    )
    .action((bank: string, method: string, json: string, options: SendOptions) =>
      runCommand(io, options.json === true, () => send(io, { bank, method, json }, options)),
    )
}

async function send(
  io: CliIo,
  { bank, method, json }: { bank: string; method: string; json: string },
  options: SendOptions,
): Promise<void> {
  const text = json === '-' ? textOf(await io.readStdin(DEFAULT_IPC_LIMITS.maxMessageBytes)) : json
  const request = parseRequest({
    op: 'request',
    id: 1,
    to: bank,
    method,
    payload: encodePayload(parsePayload(text)),
    key: options.key,
    timeoutMs: options.timeout,
    durable: options.durable,
  })
  const result = await withDaemon(io, options, 'ls.sock', (client) =>
    resultOf(io, client, request, (notice) => tellPending(io, notice, options)),
  )
  if (options.json === true) printJson(io, result)
  else printForPeople(io, result)
  io.exit(exitCodeOf(result))
}

function textOf(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new LsxError('BAD_REQUEST', 'the payload on standard input is not UTF-8')
  return bytes.toString()
}

/** Every request ends in an outcome, also one whose answer this program does not live to see. */
async function resultOf(
  io: CliIo,
  client: LsClient,
  request: AppRequest,
  onPending: (notice: PendingNotice) => void,
): Promise<SendResult> {
  const { to, method, key, payload: payloadBytes, timeoutMs, durable } = request
  const sentAtMs = io.clock.monotonicMs()
  try {
    const reply = await client.request({
      to,
      method,
      key,
      payloadBytes,
      timeoutMs,
      ...(durable === undefined ? {} : { durable }),
      signal: io.interrupt,
      onPending,
    })
    const { outcome, code, message, ms } = reply
    return { to, method, outcome, code, message, key, ms, payload: payloadOf(reply) }
  } catch (error) {
    const ms = Math.round(io.clock.monotonicMs() - sentAtMs)
    return { to, method, ...outcomeOf(io, error), key, ms, payload: undefined }
  }
}

function payloadOf({ payloadBytes }: Reply): unknown {
  return payloadBytes === undefined ? undefined : payloadToJson(payloadBytes)
}

/** What the client gave up on. Throws what is no outcome of a request. */
function outcomeOf(io: CliIo, error: unknown): { outcome: Outcome; code: string; message: string } {
  if (io.interrupt.aborted) return { outcome: 'in-doubt', code: 'IN_DOUBT', message: 'interrupted before the answer' }
  if (!(error instanceof LsxError)) throw error
  const { code, message } = error
  switch (code) {
    case 'IN_DOUBT':
      return { outcome: 'in-doubt', code, message }
    case 'TOO_LARGE':
      return { outcome: 'refused', code, message }
    case 'CHANNEL_DOWN':
      return { outcome: 'not-sent', code, message }
    default:
      throw error
  }
}

function tellPending(io: CliIo, { code, key }: PendingNotice, options: SendOptions): void {
  if (options.json === true) io.stderr(`${jsonText({ outcome: 'pending', code, key })}\n`)
  else io.stderr(`pending (${printable(code)}), key ${printable(key)}\n`)
}

function printForPeople(io: CliIo, result: SendResult): void {
  const { outcome, code, message, key, ms, payload } = result
  const what = code === undefined ? outcome : `${outcome} (${code})`
  io.stdout(`${paint(io, toneOf(result), what)} in ${ms} ms, key ${printable(key)}\n`)
  if (message !== undefined) io.stdout(`${printable(message)}\n`)
  if (payload !== undefined) io.stdout(`${prettyJsonText(payload)}\n`)
  const advice = adviceOn(result)
  if (advice !== undefined) io.stderr(`lsctl: ${advice}\n`)
}

function toneOf({ outcome, code }: SendResult): Tone {
  if (outcome === 'answered') return code === undefined ? 'good' : 'warning'
  return 'bad'
}

function adviceOn({ outcome, code, key }: SendResult): string | undefined {
  switch (outcome) {
    case 'answered':
      return undefined
    case 'in-doubt':
      return `it may have run: send the same again with --key ${printable(key)}, and with no other`
    default:
      return `nothing was done: it may be sent again${suffix(adviceFor(code))}`
  }
}

function suffix(advice: string | undefined): string {
  return advice === undefined ? '' : `; ${advice}`
}

function exitCodeOf({ outcome, code }: SendResult): ExitCode {
  switch (outcome) {
    case 'answered':
      return code === undefined ? ExitCode.ok : ExitCode.failed
    case 'refused':
      return ExitCode.refused
    case 'not-sent':
      return ExitCode.notSent
    case 'in-doubt':
      return ExitCode.inDoubt
  }
}
