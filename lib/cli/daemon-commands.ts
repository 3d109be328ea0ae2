import { type Command, Option } from 'commander'
import { LsxError } from '../runtime/index.ts'
import { callAdmin, type GlobalOptions, withDaemon } from './daemon-client.ts'
import { durationOption, formatDuration } from './duration.ts'
import { type CliIo, CommandError, ExitCode, paint, printable, printJson, runCommand } from './io.ts'
import { settledWithin } from './wait.ts'

const DEFAULT_DRAIN_TIMEOUT_MS = 30_000
/** Banks that leave are drained first, for which the configuration allows up to ten minutes. */
const RELOAD_TIMEOUT_MS = 660_000
const LONGEST_TIMEOUT_MS = 3_600_000

interface DrainOptions extends GlobalOptions {
  readonly timeout: number
}

interface ReloadAnswer {
  readonly reloaded?: boolean
  readonly added?: readonly string[]
  readonly changed?: readonly string[]
  readonly removed?: readonly string[]
  readonly needRestart?: readonly string[]
}

/** `lsctl drain|reload`. */
export function addDaemonCommands(program: Command, io: CliIo): void {
  addDrain(program, io)
  addReload(program, io)
}

function addDrain(program: Command, io: CliIo): void {
  program
    .command('drain')
    .summary('let lsd finish its work and end')
    .description('let lsd finish what is in flight, say goodbye to the banks and end; wait until it has')
    .addOption(
      new Option('--timeout <duration>', 'wait no longer than this')
        .default(DEFAULT_DRAIN_TIMEOUT_MS, '30s')
        .argParser(durationOption(1, LONGEST_TIMEOUT_MS)),
    )
    .addHelpText(
      'after',
      '\nThe same as SIGTERM. When the time is over lsd goes on draining, and the exit code is 1.\n\nExample:\n  lsctl drain --timeout 1m',
    )
    .action((options: DrainOptions) =>
      runCommand(io, options.json === true, () =>
        withDaemon(io, options, 'ls-admin.sock', async (client) => {
          const askedAtMs = io.clock.monotonicMs()
          await client.call('drain', { by: { ...io.operator } }, { signal: io.interrupt })
          if (options.json !== true) io.stderr('lsd is draining\n')
          if (!(await settledWithin(io, client.ended, options.timeout))) {
            const message = `lsd has not ended after ${formatDuration(options.timeout)}; it goes on draining`
            throw new CommandError(ExitCode.failed, 'DEADLINE_EXCEEDED', message, {
              advice: 'lsctl status shows what is in flight',
            })
          }
          const ms = Math.round(io.clock.monotonicMs() - askedAtMs)
          if (options.json === true) printJson(io, { drained: true, ms })
          else io.stdout(`lsd has drained and ended in ${formatDuration(ms)}\n`)
        }),
      ),
    )
}

function addReload(program: Command, io: CliIo): void {
  program
    .command('reload')
    .summary('let lsd read its configuration again')
    .description('let lsd read its configuration, certificates and pins again; a mistake in them changes nothing')
    .addHelpText(
      'after',
      '\nThe same as SIGHUP, but it says what came of it. Exit code 3 when nothing was changed.\n\nExample:\n  lsctl reload',
    )
    .action((options: GlobalOptions) =>
      runCommand(io, options.json === true, async () => {
        const answer = (await reload(io, options)) as ReloadAnswer
        if (options.json === true) printJson(io, answer)
        else printReload(io, answer)
        io.exit(answer.reloaded === false ? ExitCode.refused : ExitCode.ok)
      }),
    )
}

async function reload(io: CliIo, options: GlobalOptions): Promise<unknown> {
  try {
    return await callAdmin(io, options, 'reload', {}, RELOAD_TIMEOUT_MS)
  } catch (error) {
    // Here it is not this command that was used wrongly, but the file that has mistakes.
    if (!(error instanceof LsxError) || error.code !== 'BAD_REQUEST') throw error
    const message = error.message.replace(/:\n\s*/, ': ').replace(/\n\s*/g, '; ')
    throw new CommandError(ExitCode.refused, error.code, message, { advice: 'nothing was changed', cause: error })
  }
}

function printReload(io: CliIo, answer: ReloadAnswer): void {
  if (answer.reloaded === false) {
    io.stdout('not reloaded: lsd is draining\n')
    return
  }
  const changes = (['added', 'changed', 'removed'] as const).flatMap((what) => {
    const banks = answer[what] ?? []
    return banks.length === 0 ? [] : [`${what} ${printable(banks.join(', '))}`]
  })
  io.stdout(`reloaded: ${changes.length === 0 ? 'no bank changed' : changes.join('; ')}\n`)
  const needRestart = answer.needRestart ?? []
  if (needRestart.length > 0) {
    io.stdout(`${paint(io, 'warning', `these take effect at the next start: ${needRestart.join(', ')}`)}\n`)
  }
}
