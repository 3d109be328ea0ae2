import type { Command } from 'commander'
import type { BankSecurity, SecurityReport } from '../ls/index.ts'
import { readAnswer } from './answers.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import { type Cell, type CliIo, ExitCode, formatTable, paint, printable, printJson, runCommand } from './io.ts'

const HEAD = ['BANK', 'STATE', 'TLS', 'CIPHER', 'CERT DAYS', 'PINS', 'BINDING', 'ALLOW', 'SIGN', 'VERIFY', 'VERDICT']

/** `lsctl security check`. */
export function addSecurityCommands(program: Command, io: CliIo): void {
  const security = program.command('security').description('which rules of security are in force')
  security
    .command('check')
    .summary('print what is in force, and whether it is strict')
    .description('print what is in force for lsd and each bank: negotiated, configured, and on disk')
    .argument('[bank]', 'bank code')
    .addHelpText('after', '\nExit code 1 when anything is weaker than strict.\n\nExample:\n  lsctl security check')
    .action((bank: string | undefined, options: GlobalOptions) =>
      runCommand(io, options.json === true, async () => {
        const answer = await callAdmin(io, options, 'security', { bank })
        const report = readAnswer<SecurityReport>(answer, ['banks', 'weaknesses', 'warnings', 'keyFiles'])
        if (options.json === true) printJson(io, report)
        else io.stdout(formatSecurity(io, report))
        io.exit(report.ok ? ExitCode.ok : ExitCode.failed)
      }),
    )
}

function formatSecurity(io: CliIo, report: SecurityReport): string {
  const { mode, certificateDaysLeft, audit, keyFiles, weaknesses, warnings, banks } = report
  const sealed = keyFiles.filter(({ problem }) => problem === undefined).length
  const lines = [
    `mode ${paint(io, mode === 'strict' ? 'good' : 'bad', mode)}  own certificate ${certificateDaysLeft ?? '-'} days  key files ${sealed} of ${keyFiles.length} for their owner alone`,
    `audit log ${audit === undefined ? 'none' : `${audit.state}, record ${audit.seq}, signed through ${audit.signedThrough}, ${audit.lost} lost`}`,
    '',
    formatTable(io, HEAD, banks.map(rowOf)).trimEnd(),
  ]
  const weak = [
    ...weaknesses.map(({ path, message }) => `${path}: ${message}`),
    ...banks.flatMap((bank) =>
      bank.weaknesses.map(({ path, message }) => `bank ${bank.bankCode}, ${path}: ${message}`),
    ),
  ]
  const warned = [
    ...warnings,
    ...banks.flatMap((bank) => bank.warnings.map((text) => `bank ${bank.bankCode}: ${text}`)),
  ]
  if (weak.length + warned.length > 0) lines.push('')
  for (const text of weak) lines.push(`${paint(io, 'bad', 'weak')}     ${printable(text)}`)
  for (const text of warned) lines.push(`${paint(io, 'warning', 'warning')}  ${printable(text)}`)
  lines.push('', report.ok ? paint(io, 'good', 'strict') : paint(io, 'bad', 'weaker than strict'))
  return `${lines.join('\n')}\n`
}

function rowOf(bank: BankSecurity): readonly Cell[] {
  const { tls, signing, pins, pinInUse, channelBinding, certificateDaysLeft } = bank
  return [
    bank.bankCode,
    bank.state,
    tls?.protocol ?? '-',
    tls?.cipher ?? '-',
    certificateDaysLeft ?? '-',
    pinInUse === undefined ? `${pins}` : `${pins}, number ${pinInUse} in use`,
    channelBinding ? 'on' : { text: 'off', tone: 'bad' },
    bank.allow.length > 2 ? `${bank.allow.slice(0, 2).join(' ')} +${bank.allow.length - 2}` : bank.allow.join(' '),
    signing === undefined ? 'n/a' : signing.sign ? signing.mode : 'off',
    signing?.verify ?? 'n/a',
    bank.weaknesses.length === 0 ? { text: 'strict', tone: 'good' } : { text: 'weak', tone: 'bad' },
  ]
}
