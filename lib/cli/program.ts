import { Command, CommanderError, Help } from 'commander'
import { LsxError } from '../runtime/index.ts'
import { addAuditCommands } from './audit.ts'
import { addBankCommands } from './bank-commands.ts'
import { addBenchCommand } from './bench.ts'
import { addCertsCommands } from './certs.ts'
import type { GlobalOptions } from './daemon-client.ts'
import { addDaemonCommands } from './daemon-commands.ts'
import { addEvidenceCommands } from './evidence.ts'
import { addIlpCommands } from './ilp.ts'
import { type CliIo, ExitCode, reportError } from './io.ts'
import { addKeysCommands } from './keys.ts'
import { addRequestCommands } from './request.ts'
import { addSecurityCommands } from './security.ts'
import { addSendCommand } from './send.ts'
import { addStatusCommand } from './status.ts'
import { addUptimeCommand } from './uptime.ts'

/** Runs one command line, without the program's name. Never rejects: what happens is told through `io`. */
export async function runProgram(io: CliIo, argv: readonly string[], version: string): Promise<void> {
  const json = wantsJson(argv)
  try {
    await createProgram(io, version).parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Help that was asked for, and the version. Help that was not, after `lsctl` alone, is wrong use.
    if (error.exitCode === 0) io.exit(ExitCode.ok)
    else if (error.code === 'commander.help') io.exit(ExitCode.usage)
    else reportError(io, json, wrongUse(error))
  }
}

function createProgram(io: CliIo, version: string): Command {
  const program = new Command('lsctl')
    .description('operate lsd, the payment switch, and send requests through it')
    .version(version, '-V, --version', 'print the version')
    .option('--runtime-dir <dir>', 'where ls.sock and ls-admin.sock are (default: LSX_RUNTIME_DIR, else ./run)')
    .option('--json', 'print results, and errors, as JSON')
    .exitOverride()
    .configureOutput({
      writeOut: io.stdout,
      writeErr: io.stderr,
      // Told by `runProgram`, in the way of all errors.
      outputError: () => {},
      getOutHelpWidth: () => io.columns,
      getErrHelpWidth: () => io.columns,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .configureHelp({ showGlobalOptions: true, visibleGlobalOptions })
    .hook('preAction', (parent, command) => handDown(parent.opts(), command))
    .addHelpText(
      'after',
      [
        '',
        'Exit codes: 0 ok, 1 failed or answered with an error, 2 wrong use, 3 refused, 4 not sent, 5 in doubt,',
        '6 lsd is not reachable, 130 interrupted.',
        '',
        'Examples:',
        '  lsctl status --watch',
        '  lsctl send 044 balance \'{"account":"0123456789"}\'',
        '  lsctl uptime 044 --help',
      ].join('\n'),
    )
  addSendCommand(program, io)
  addRequestCommands(program, io)
  addEvidenceCommands(program, io)
  addStatusCommand(program, io)
  addUptimeCommand(program, io)
  addBankCommands(program, io)
  addDaemonCommands(program, io)
  addBenchCommand(program, io)
  addAuditCommands(program, io)
  addSecurityCommands(program, io)
  addCertsCommands(program, io)
  addKeysCommands(program, io)
  addIlpCommands(program, io)
  return program
}

/** Commander gives options that the program has to the program, also behind a command's name. */
function handDown(options: GlobalOptions, command: Command): void {
  for (const [name, value] of Object.entries(options)) command.setOptionValue(name, value)
}

/** Each option once: some commands list `--json` as their own. */
function visibleGlobalOptions(this: Help, command: Command): ReturnType<Help['visibleGlobalOptions']> {
  const own = new Set(command.options.map((option) => option.long))
  return Help.prototype.visibleGlobalOptions
    .call(this, command)
    .filter(({ long }) => long !== '--version' && !own.has(long))
}

function wrongUse(error: CommanderError): LsxError {
  const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
  return new LsxError('BAD_REQUEST', `${message}; see lsctl --help`, { cause: error })
}

function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json')
}
