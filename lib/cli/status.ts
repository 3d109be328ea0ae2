import type { Command } from 'commander'
import type { LsClient } from '../ipc/index.ts'
import { sleep } from '../runtime/index.ts'
import { readAnswer, type StatusAnswer } from './answers.ts'
import { type GlobalOptions, withDaemon } from './daemon-client.ts'
import { type CliIo, printJson, runCommand } from './io.ts'
import { Screen } from './screen.ts'
import { formatBankDetails, formatBanks, formatDaemon } from './status-text.ts'

const WATCH_INTERVAL_MS = 1_000

interface StatusOptions extends GlobalOptions {
  readonly watch?: boolean
}

/** `lsctl status`. */
export function addStatusCommand(program: Command, io: CliIo): void {
  program
    .command('status')
    .summary('show the channel to each bank')
    .description('show the channel to each bank, or one bank in detail')
    .argument('[bank]', 'bank code')
    .option('-w, --watch', 'show it anew each second, until Ctrl-C')
    .addHelpText(
      'after',
      [
        '',
        'RTT is the echo round trip; KX counts the key exchanges, with their median duration.',
        '',
        'Examples:',
        '  lsctl status',
        '  lsctl status 044 --watch',
        '  lsctl status --json | jq -r \'.banks[] | select(.state != "connected") | .bankCode\'',
      ].join('\n'),
    )
    .action((bank: string | undefined, options: StatusOptions) =>
      runCommand(io, options.json === true, () =>
        withDaemon(io, options, 'ls-admin.sock', (client) =>
          options.watch === true ? watch(io, client, bank, options) : show(io, client, bank, options),
        ),
      ),
    )
}

async function show(io: CliIo, client: LsClient, bank: string | undefined, options: StatusOptions): Promise<void> {
  const answer = await ask(io, client, bank)
  if (options.json === true) printJson(io, answer)
  else io.stdout(formatStatus(io, answer, bank))
}

async function watch(io: CliIo, client: LsClient, bank: string | undefined, options: StatusOptions): Promise<void> {
  const screen = new Screen(io)
  try {
    for (;;) {
      const answer = await ask(io, client, bank)
      if (options.json === true) printJson(io, answer)
      else screen.draw(formatStatus(io, answer, bank))
      await sleep(io.clock, WATCH_INTERVAL_MS, io.interrupt)
    }
  } catch (error) {
    // Ctrl-C is how watching ends.
    if (!io.interrupt.aborted) throw error
  }
}

async function ask(io: CliIo, client: LsClient, bank: string | undefined): Promise<StatusAnswer> {
  const answer = await client.call('status', { bank }, { signal: io.interrupt })
  return readAnswer<StatusAnswer>(answer, ['banks'])
}

function formatStatus(io: CliIo, { daemon, banks }: StatusAnswer, bank: string | undefined): string {
  const details = bank === undefined ? '' : banks.map((one) => `\n${formatBankDetails(one)}`).join('')
  return `${formatDaemon(io, daemon)}\n${formatBanks(io, banks)}${details}`
}
