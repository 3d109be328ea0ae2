import { type Command, InvalidArgumentError, Option } from 'commander'
import type { LsClient } from '../ipc/index.ts'
import type { Transition } from '../ls/index.ts'
import { readAnswer, type UptimeAnswer } from './answers.ts'
import { daemonGone, type GlobalOptions, withDaemon } from './daemon-client.ts'
import { durationOption, formatDuration } from './duration.ts'
import { type CliIo, printJson, runCommand } from './io.ts'
import { formatFigures, formatTransition } from './uptime-text.ts'
import { settledOrAborted } from './wait.ts'

const DAY_MS = 86_400_000
const MAX_TRANSITIONS = 10_000

interface UptimeOptions extends GlobalOptions {
  readonly since: number
  readonly limit: number
  readonly follow?: boolean
}

/** `lsctl uptime`. */
export function addUptimeCommand(program: Command, io: CliIo): void {
  program
    .command('uptime')
    .summary('show how long each channel was up')
    .description('show how long each channel was up, and what happened to it')
    .argument('[bank]', 'bank code')
    .addOption(
      new Option('--since <duration>', 'show transitions of this long, at most 31d')
        .default(DAY_MS, '24h')
        .argParser(durationOption(1, 31 * DAY_MS)),
    )
    .addOption(new Option('--limit <count>', 'show the newest so many').default(50).argParser(parseLimit))
    .option('-f, --follow', 'go on with each transition as it happens, until Ctrl-C')
    .addHelpText(
      'after',
      [
        '',
        'Percentages are of the time in which the bank was known; all other figures are of 30 days.',
        'MTBF is the mean time between drops, MTTR the mean time to restore.',
        'With --json --follow each line is one transition.',
        '',
        'Examples:',
        '  lsctl uptime',
        '  lsctl uptime 044 --since 7d --limit 1000',
        '  lsctl uptime --follow --json',
      ].join('\n'),
    )
    .action((bank: string | undefined, options: UptimeOptions) =>
      runCommand(io, options.json === true, () =>
        withDaemon(io, options, 'ls-admin.sock', (client) =>
          options.follow === true ? follow(io, client, bank, options) : show(io, client, bank, options),
        ),
      ),
    )
}

async function show(io: CliIo, client: LsClient, bank: string | undefined, options: UptimeOptions): Promise<void> {
  const answer = await ask(io, client, bank, options)
  if (options.json === true) printJson(io, answer)
  else printForPeople(io, answer, options)
}

async function follow(io: CliIo, client: LsClient, bank: string | undefined, options: UptimeOptions): Promise<void> {
  const printLine = (transition: Transition): void => {
    if (options.json === true) printJson(io, transition)
    else io.stdout(`${formatTransition(io, transition)}\n`)
  }
  try {
    // First the subscription, then the question: nothing that happens in between is missed.
    const early: Transition[] = []
    let receive = (transition: Transition): void => void early.push(transition)
    const onEvent = (_event: string, data: unknown): void => receive(data as Transition)
    const subscription = await client.subscribe('uptime-follow', { bank }, onEvent, { signal: io.interrupt })
    const answer = await ask(io, client, bank, options)
    if (options.json === true) answer.transitions.forEach(printLine)
    else printForPeople(io, answer, options)
    const shown = new Set(answer.transitions.map(identityOf))
    for (const transition of early) if (!shown.has(identityOf(transition))) printLine(transition)
    receive = printLine
    await settledOrAborted(subscription.ended, io.interrupt)
  } catch (error) {
    if (!io.interrupt.aborted) throw error
  }
  // Ctrl-C is how following ends.
  if (!io.interrupt.aborted) throw daemonGone()
}

async function ask(
  io: CliIo,
  client: LsClient,
  bank: string | undefined,
  { since: sinceMs, limit }: UptimeOptions,
): Promise<UptimeAnswer> {
  const answer = await client.call('uptime', { bank, sinceMs, limit }, { signal: io.interrupt })
  return readAnswer<UptimeAnswer>(answer, ['banks', 'transitions'])
}

function printForPeople(io: CliIo, { banks, transitions }: UptimeAnswer, { since, limit }: UptimeOptions): void {
  io.stdout(formatFigures(io, banks))
  const isCut = transitions.length >= limit
  const what = isCut ? `the newest ${limit} transitions (--limit shows more)` : 'transitions'
  io.stdout(`\n${transitions.length === 0 ? 'no transitions' : what} in the last ${formatDuration(since)}\n`)
  for (const transition of transitions) io.stdout(`${formatTransition(io, transition)}\n`)
}

function identityOf({ bankCode, atMs, from, to, epoch }: Transition): string {
  return `${bankCode} ${atMs} ${from} ${to} ${epoch}`
}

function parseLimit(text: string): number {
  const limit = /^[1-9]\d{0,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(limit <= MAX_TRANSITIONS)) throw new InvalidArgumentError(`Give a whole number from 1 to ${MAX_TRANSITIONS}.`)
  return limit
}
