import { type Command, Option } from 'commander'
import { payloadToJson } from '../ipc/index.ts'
import { LsxError } from '../runtime/index.ts'
import { readAnswer } from './answers.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import { type CliIo, printable, printJson, printTable, runCommand, type Tone } from './io.ts'
import { prettyJsonText } from './json-text.ts'

/** A durable request as lsd tells of it. */
interface RequestSummary {
  readonly key: string
  readonly bankCode: string
  readonly method: string
  /** accepted, sent, in-doubt or settled. */
  readonly state: string
  readonly outcome?: string
  readonly code?: string
  readonly acceptedAt?: string
  readonly deadlineAt?: string
  readonly sentAt?: string
  readonly settledAt?: string
}

interface RequestRecord extends RequestSummary {
  readonly payload?: Uint8Array
  readonly response?: Uint8Array
}

interface ListOptions extends GlobalOptions {
  readonly state?: string
  readonly bank?: string
  readonly limit: string
}

/** `lsctl request show|list`: what the journal knows of durable requests. */
export function addRequestCommands(program: Command, io: CliIo): void {
  const request = program.command('request').description('look at durable requests in the journal of lsd')
  request
    .command('show')
    .description('everything that is known of one request')
    .argument('<key>', 'idempotency key')
    .addHelpText('after', '\nExample:\n  lsctl request show invoice-17')
    .action((key: string, options: GlobalOptions) =>
      runCommand(io, options.json === true, async () => {
        const { record } = recordOf(await callAdmin(io, options, 'request-show', { key }))
        const { payload, response, ...summary } = record
        const shown = { ...summary, payload: jsonOf(payload), response: jsonOf(response) }
        if (options.json === true) return printJson(io, shown)
        for (const [name, value] of Object.entries(summary)) {
          if (value !== undefined) io.stdout(`${name.padEnd(12)}${printable(String(value))}\n`)
        }
        if (payload !== undefined) io.stdout(`payload     ${prettyJsonText(shown.payload)}\n`)
        if (response !== undefined) io.stdout(`response    ${prettyJsonText(shown.response)}\n`)
      }),
    )
  request
    .command('list')
    .description('durable requests: open ones oldest first, others newest first')
    .addOption(new Option('--state <state>', 'only these').choices(['open', 'in-doubt', 'settled']))
    .option('--bank <bank>', 'only of this bank')
    .option('--limit <count>', 'at most so many, 1 to 1000', '100')
    .addHelpText('after', '\nExample:\n  lsctl request list --state in-doubt')
    .action((options: ListOptions) =>
      runCommand(io, options.json === true, async () => {
        const limit = Number(options.limit)
        if (!Number.isInteger(limit)) throw new LsxError('BAD_REQUEST', '--limit must be a whole number')
        const answer = await callAdmin(io, options, 'request-list', { state: options.state, bank: options.bank, limit })
        const { requests } = readAnswer<{ requests: readonly RequestSummary[] }>(answer, ['requests'])
        if (options.json === true) return printJson(io, answer)
        if (requests.length === 0) io.stdout('none\n')
        else printTable(io, ['KEY', 'BANK', 'METHOD', 'STATE', 'OUTCOME', 'ACCEPTED', 'SETTLED'], requests.map(rowOf))
      }),
    )
}

function rowOf(request: RequestSummary) {
  const { key, bankCode, method, state, outcome, code, acceptedAt, settledAt } = request
  const ended = outcome === undefined ? '-' : code === undefined ? outcome : `${outcome} (${code})`
  return [
    printable(key),
    printable(bankCode),
    printable(method),
    { text: state, tone: toneOf(state) },
    printable(ended),
    acceptedAt ?? '-',
    settledAt ?? '-',
  ]
}

function toneOf(state: string): Tone {
  if (state === 'settled') return 'good'
  return state === 'in-doubt' ? 'bad' : 'warning'
}

function jsonOf(bytes: Uint8Array | undefined): unknown {
  return bytes === undefined ? undefined : payloadToJson(bytes)
}

function recordOf(answer: unknown): { record: RequestRecord } {
  const record = (answer as { record?: RequestRecord } | null)?.record
  if (typeof record?.key === 'string') return { record }
  throw new LsxError('INTERNAL', 'lsd answered in a form that this lsctl does not know: are they of one version?')
}
