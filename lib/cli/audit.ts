import { type Command, InvalidArgumentError, Option } from 'commander'
import type { AuditRecord } from '../audit/index.ts'
import { holdProcess, LsxError, sleep } from '../runtime/index.ts'
import { auditSources, daemonsAudit } from './audit-sources.ts'
import { AuditTail } from './audit-tail.ts'
import { formatRecord } from './audit-text.ts'
import { addVerify } from './audit-verify.ts'
import type { GlobalOptions } from './daemon-client.ts'
import { durationOption } from './duration.ts'
import { type CliIo, printJson, runCommand } from './io.ts'

const LONGEST_SINCE_MS = 3_660 * 86_400_000
const POLL_MS = 250

interface TailOptions extends GlobalOptions {
  readonly follow?: boolean
  readonly bank?: string
  readonly since?: number
  readonly event?: string
  readonly limit: number
}

/** `lsctl audit tail|verify`. Both read the files: run them as the user of the daemon, or over a copy. */
export function addAuditCommands(program: Command, io: CliIo): void {
  const audit = program
    .command('audit')
    .description('the audit log: what happened, by whom, and proof that it is whole')
  addTail(audit, io)
  addVerify(audit, io)
}

function sinceOption(): Option {
  return new Option('--since <duration>', 'only of this long, such as 24h').argParser(
    durationOption(1, LONGEST_SINCE_MS),
  )
}

function addTail(audit: Command, io: CliIo): void {
  audit
    .command('tail')
    .summary('print the newest records')
    .description('print the newest records; without DIR those of the lsd that runs')
    .argument('[dir]', 'directory of an audit log')
    .option('-f, --follow', 'go on with each record as it is written, until Ctrl-C')
    .option('--bank <bank>', 'only of this bank')
    .option('--event <event>', 'only these events')
    .addOption(sinceOption())
    .addOption(new Option('--limit <count>', 'the newest so many').default(50).argParser(parseLimit))
    .addHelpText(
      'after',
      '\nIt prints what is there and proves nothing: lsctl audit verify does.\n\nExamples:\n  lsctl audit tail --bank 044 --since 1h\n  lsctl audit tail --follow --json',
    )
    .action((dir: string | undefined, options: TailOptions) =>
      runCommand(io, options.json === true, () => tail(io, dir, options)),
    )
}

async function tail(io: CliIo, dir: string | undefined, options: TailOptions): Promise<void> {
  const directory = dir ?? (await daemonsAudit(io, options)).dir
  if (auditSources([directory]).length === 0)
    throw new LsxError('REFUSED', `${directory} holds no audit log`, { party: 'self' })
  const print = (record: AuditRecord): void =>
    options.json === true ? printJson(io, record) : io.stdout(`${formatRecord(io, record)}\n`)
  const sinceMs = options.since === undefined ? 0 : io.clock.nowMs() - options.since
  const reader = new AuditTail(directory, (record) => isChosen(record, options, sinceMs))
  for (const record of reader.newest(options.limit)) print(record)
  if (options.follow !== true) return
  // Nothing else is open, and a timer does not keep the process.
  const release = holdProcess()
  while (!io.interrupt.aborted) {
    await sleep(io.clock, POLL_MS, io.interrupt).catch(() => {})
    for (const record of reader.next()) print(record)
  }
  release()
}

function isChosen(
  { bankCode, at, event }: AuditRecord,
  options: { readonly bank?: string | undefined; readonly event?: string | undefined },
  sinceMs: number,
): boolean {
  if (options.bank !== undefined && bankCode !== options.bank) return false
  return (options.event === undefined || event === options.event) && Date.parse(at) >= sinceMs
}

function parseLimit(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 1 to 999999.')
  return Number(text)
}
