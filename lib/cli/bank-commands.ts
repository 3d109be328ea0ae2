import type { Command } from 'commander'
import { LsxError } from '../runtime/index.ts'
import { adviceFor } from './advice.ts'
import { type BankResult, readAnswer } from './answers.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import { type CliIo, ExitCode, paint, printable, printJson, runCommand } from './io.ts'

interface RekeyOptions extends GlobalOptions {
  readonly all?: boolean
}

interface QuarantineOptions extends GlobalOptions {
  readonly reason: string
}

/** `lsctl rekey|drop|quarantine|resume`. */
export function addBankCommands(program: Command, io: CliIo): void {
  addRekey(program, io)
  addDrop(program, io)
  addQuarantine(program, io)
  addResume(program, io)
}

function addRekey(program: Command, io: CliIo): void {
  program
    .command('rekey')
    .summary('begin a new key exchange')
    .description('begin a new key exchange on a live channel; the session before serves until it is done')
    .argument('[bank]', 'bank code')
    .option('--all', 'on every channel')
    .addHelpText('after', '\nExamples:\n  lsctl rekey 044\n  lsctl rekey --all')
    .action((bank: string | undefined, options: RekeyOptions) =>
      runCommand(io, options.json === true, async () => {
        if ((bank === undefined) === (options.all !== true)) {
          throw new LsxError('BAD_REQUEST', 'name one bank, or give --all')
        }
        const answer = await callAdmin(io, options, 'rekey', { bank, all: options.all })
        printResults(io, answer, options, 'key exchange begun; lsctl status shows the new epoch')
      }),
    )
}

function addDrop(program: Command, io: CliIo): void {
  program
    .command('drop')
    .summary('close the socket to a bank')
    .description('close the socket to a bank; the channel comes back by itself')
    .argument('<bank>', 'bank code')
    .addHelpText(
      'after',
      '\nWhat was in flight is asked about on the next socket. To keep a bank away, see quarantine.\n\nExample:\n  lsctl drop 044',
    )
    .action((bank: string, options: GlobalOptions) =>
      runCommand(io, options.json === true, async () => {
        printResults(io, await callAdmin(io, options, 'drop', { bank }), options, 'dropped; it reconnects by itself')
      }),
    )
}

function addQuarantine(program: Command, io: CliIo): void {
  program
    .command('quarantine')
    .summary('close the channel to a bank, and keep it away')
    .description('close the channel to a bank and keep it away, also across restarts, until it is resumed')
    .argument('<bank>', 'bank code')
    .requiredOption('--reason <text>', 'why, for the log and for whoever looks at the status')
    .addHelpText('after', '\nExample:\n  lsctl quarantine 044 --reason "key lost, see ticket 17"')
    .action((bank: string, options: QuarantineOptions) =>
      runCommand(io, options.json === true, async () => {
        const answer = await callAdmin(io, options, 'quarantine', { bank, reason: options.reason })
        if (options.json === true) return printJson(io, answer)
        const reason = (answer as { reason?: unknown } | null)?.reason
        // One that was in force before stays as it was given, with its reason.
        const isOther = typeof reason === 'string' && reason !== options.reason
        const said = isOther ? `quarantined before, and stays so: ${reason}` : `quarantined: ${options.reason}`
        io.stdout(`${printable(bank)}  ${paint(io, 'bad', printable(said))}\n`)
        io.stdout(`lsctl resume ${printable(bank)} ends it\n`)
      }),
    )
}

function addResume(program: Command, io: CliIo): void {
  program
    .command('resume')
    .description('end the quarantine of a bank')
    .argument('<bank>', 'bank code')
    .addHelpText('after', '\nExample:\n  lsctl resume 044')
    .action((bank: string, options: GlobalOptions) =>
      runCommand(io, options.json === true, async () => {
        const answer = await callAdmin(io, options, 'resume', { bank })
        if (options.json === true) printJson(io, answer)
        else io.stdout(`${printable(bank)}  ${paint(io, 'good', 'resumed')}; its channel comes back by itself\n`)
      }),
    )
}

/** A line for each bank. Exit code 3 when lsd refused it for one of them. */
function printResults(io: CliIo, answer: unknown, options: GlobalOptions, done: string): void {
  const { banks } = readAnswer<{ readonly banks: readonly BankResult[] }>(answer, ['banks'])
  if (options.json === true) printJson(io, answer)
  else if (banks.length === 0) io.stdout('no bank is configured\n')
  else for (const bank of banks) io.stdout(`${printable(bank.bankCode)}  ${resultText(io, bank, done)}\n`)
  io.exit(banks.every(({ ok }) => ok) ? ExitCode.ok : ExitCode.refused)
}

function resultText(io: CliIo, { ok, code, message }: BankResult, done: string): string {
  if (ok) return done
  const advice = adviceFor(code)
  const what = `${message ?? 'refused'}${advice === undefined ? '' : `; ${advice}`} (${code})`
  return paint(io, 'bad', what)
}
