import { type Command, InvalidArgumentError, Option } from 'commander'
import { type AuditRecord, type ChainReport, ChainVerifier, readLines } from '../audit/index.ts'
import { LsxError } from '../runtime/index.ts'
import { auditSources, daemonsAudit, pinsOf } from './audit-sources.ts'
import { formatReport } from './audit-text.ts'
import type { GlobalOptions } from './daemon-client.ts'
import { durationOption } from './duration.ts'
import { type CliIo, ExitCode, printJson, runCommand } from './io.ts'

const LONGEST_SINCE_MS = 3_660 * 86_400_000

interface VerifyOptions extends GlobalOptions {
  readonly identity: readonly string[]
  readonly keys?: string
  readonly bank?: string
  readonly since?: number
  readonly atLeast?: number
}

/** `lsctl audit verify`. Needs no daemon when it is told where and by whom. */
export function addVerify(audit: Command, io: CliIo): void {
  audit
    .command('verify')
    .summary('prove that the log is whole')
    .description(
      'check every hash, every link over all files, and the signatures against pinned identities; without PATH the log of the lsd that runs, by the identity that it names',
    )
    .argument('[path...]', 'directory of an audit log, or its files in their order')
    .option('--identity <pin>', 'who signs: ed25519:<base64>, or a .pub file; several after a rotation', collect, [])
    .option('--keys <dir>', 'a directory of .pub files, each of which may have signed')
    .option('--bank <bank>', 'count the records of this bank')
    .addOption(
      new Option('--since <duration>', 'count the records of this long').argParser(durationOption(1, LONGEST_SINCE_MS)),
    )
    .addOption(
      new Option('--at-least <seq>', 'the log must reach this record, noted elsewhere before').argParser(parseSeq),
    )
    .addHelpText(
      'after',
      [
        '',
        'The whole log is checked, whatever --bank and --since count. Exit code 1 when it does not verify.',
        'A tail that was cut off after the last checkpoint leaves no trace in the files: note the head elsewhere',
        '(lsctl status --json, daemon.audit.seq) and give it as --at-least.',
        '',
        'Examples:',
        '  lsctl audit verify',
        '  lsctl audit verify /var/lib/lsd/store.audit --identity certs/lsd/identity.pub',
      ].join('\n'),
    )
    .action((paths: readonly string[], options: VerifyOptions) =>
      runCommand(io, options.json === true, async () => {
        const given = await sourcesAndPins(io, paths, options)
        let chosen = 0
        const sinceMs = options.since === undefined ? 0 : io.clock.nowMs() - options.since
        const report = verifyFiles(given.sources, given.pins, options.atLeast, (record) => {
          if (options.bank !== undefined && record.bankCode !== options.bank) return
          if (Date.parse(record.at) >= sinceMs) chosen++
        })
        const isCounted = options.bank !== undefined || options.since !== undefined
        if (options.json === true)
          printJson(io, { ...report, ...(isCounted ? { chosen } : {}), pinFrom: given.pinFrom })
        else {
          if (given.pinFrom === 'lsd')
            io.stdout('the identity is the one that lsd names itself; give --identity to be sure\n')
          if (isCounted) io.stdout(`${chosen} records are of ${choiceText(options)}\n`)
          io.stdout(formatReport(io, report))
        }
        io.exit(report.ok ? ExitCode.ok : ExitCode.failed)
      }),
    )
}

async function sourcesAndPins(io: CliIo, paths: readonly string[], options: VerifyOptions) {
  const pins = pinsOf(options.identity, options.keys)
  if (paths.length > 0 && pins.length === 0) {
    const message =
      'say who must have signed: --identity PIN or --keys DIR. A key that the log names itself proves nothing'
    throw new LsxError('BAD_REQUEST', message)
  }
  const daemon = paths.length > 0 ? undefined : await daemonsAudit(io, options)
  const sources = auditSources(daemon === undefined ? paths : [daemon.dir])
  if (sources.length === 0) throw new LsxError('REFUSED', 'there is no audit log', { party: 'self' })
  return pins.length > 0 || daemon === undefined
    ? { sources, pins, pinFrom: 'command line' as const }
    : { sources, pins: pinsOf([daemon.pin], undefined), pinFrom: 'lsd' as const }
}

function verifyFiles(
  sources: ReturnType<typeof auditSources>,
  pins: readonly Buffer[],
  atLeast: number | undefined,
  onRecord: (record: AuditRecord) => void,
): ChainReport {
  const verifier = new ChainVerifier(pins)
  for (const source of sources) {
    verifier.beginFile(source.name)
    for (const { line, isWhole } of readLines(source)) {
      const record = verifier.addLine(line, { isWhole })
      if (record !== undefined) onRecord(record)
    }
  }
  return verifier.end(atLeast === undefined ? undefined : { seq: atLeast })
}

function choiceText({ bank, since }: VerifyOptions): string {
  const parts = [bank === undefined ? '' : `bank ${bank}`, since === undefined ? '' : 'the time asked for']
  return parts.filter((part) => part !== '').join(' and ')
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

function parseSeq(text: string): number {
  if (!/^(0|[1-9]\d{0,14})$/.test(text)) throw new InvalidArgumentError('Give a sequence number.')
  return Number(text)
}
