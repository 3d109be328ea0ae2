import { randomBytes } from 'node:crypto'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { createIlpSecretFile, IlpSecret, type IlpVersion, loadIlpSecret, makePair } from '../message/ilp/index.ts'
import { type IlpFailuresAnswer, readAnswer } from './answers.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import { durationOption, formatDuration } from './duration.ts'
import { type Cell, type CliIo, printJson, printTable, runCommand } from './io.ts'

const HOUR_MS = 3_600_000
const DEFAULT_EXPIRY_MS = 30_000

interface FailuresOptions extends GlobalOptions {
  readonly since: number
  readonly bank?: string
  readonly limit: number
}

interface PairOptions {
  readonly ilpVersion: IlpVersion
  readonly amount: bigint
  readonly currency: string
  readonly destination: string
  readonly expiry: number
  readonly secret?: string
  readonly json?: boolean
}

/** `lsctl ilp failures|pair|secret`. */
export function addIlpCommands(program: Command, io: CliIo): void {
  const ilp = program.command('ilp').description('ILP: proofs of transfers, and what went wrong with them')
  addFailures(ilp, io)
  addPair(ilp, io)
  addSecret(ilp, io)
}

function addFailures(ilp: Command, io: CliIo): void {
  ilp
    .command('failures')
    .summary('list transfers without a valid proof')
    .description('list transfers whose fulfilment was missing, wrong or late, newest first')
    .addOption(
      new Option('--since <duration>', 'of this long, at most 24h')
        .default(HOUR_MS, '1h')
        .argParser(durationOption(1, 24 * HOUR_MS)),
    )
    .option('--bank <bank>', 'only of this bank')
    .addOption(new Option('--limit <count>', 'the newest so many').default(100).argParser(parseLimit))
    .addHelpText(
      'after',
      [
        '',
        'lsd keeps the last 10,000 in memory, until it ends; its log and audit keep them all.',
        'missing, malformed, mismatch, expired, unexpected: in doubt, settle them with the bank; refused: nothing was done.',
        '',
        'Example:',
        '  lsctl ilp failures --since 1h --bank 044',
      ].join('\n'),
    )
    .action((options: FailuresOptions) =>
      runCommand(io, options.json === true, async () => {
        const { since, bank, limit } = options
        const answer = await callAdmin(io, options, 'ilp-failures', { sinceMs: since, bank, limit })
        const { failures, total } = readAnswer<IlpFailuresAnswer>(answer, ['failures'])
        if (options.json === true) return printJson(io, answer)
        if (total === 0) return io.stdout(`none in the last ${formatDuration(since)}\n`)
        const rows = failures.map(({ at, bankCode, method, idempotencyKey, type }): Cell[] => [
          at,
          bankCode,
          { text: type, tone: type === 'refused' ? 'warning' : 'bad' },
          method,
          idempotencyKey,
        ])
        printTable(io, ['WHEN', 'BANK', 'FAILURE', 'METHOD', 'KEY'], rows)
        if (total > failures.length) io.stdout(`and ${total - failures.length} older ones\n`)
      }),
    )
}

function addPair(ilp: Command, io: CliIo): void {
  ilp
    .command('pair')
    .summary('make a packet with its condition and fulfilment')
    .description('make a test packet with its condition and fulfilment, as base64url')
    .addOption(new Option('--ilp-version <version>', '1 or 4').default(4).argParser(parseVersion))
    .addOption(
      new Option('--amount <amount>', 'in the smallest unit of the currency')
        .default(100n, '100')
        .argParser(parseAmount),
    )
    .option('--currency <code>', 'of the amount, in the transaction', 'NGN')
    .option('--destination <address>', 'ILP address of the receiver', 'g.mojaloop')
    .addOption(
      new Option('--expiry <duration>', 'from now')
        .default(DEFAULT_EXPIRY_MS, '30s')
        .argParser(durationOption(1, 24 * HOUR_MS)),
    )
    .option('--secret <file>', "the bank's ILP secret (default: a new one that nobody has)")
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      [
        '',
        'The fulfilment belongs to the bank alone until it has been paid: a pair from a real secret is as good as a receipt.',
        '',
        'Examples:',
        '  lsctl ilp pair --amount 250000 --secret certs/044/ilp.secret',
        '  lsctl send 044 transfer - --ilp "$(lsctl ilp pair --secret ilp.secret --json | jq -c .request)" < transfer.json',
      ].join('\n'),
    )
    .action((options: PairOptions) =>
      runCommand(io, options.json === true, () => {
        const secret = options.secret === undefined ? newSecret() : loadIlpSecret(options.secret)
        printPair(io, options, secret)
      }),
    )
}

function printPair(io: CliIo, options: PairOptions, secret: IlpSecret): void {
  const { ilpVersion: version, amount, currency, destination } = options
  const expiresAtMs = io.clock.nowMs() + options.expiry
  const expiration = new Date(expiresAtMs).toISOString()
  // The least that Mojaloop's components make a fulfilment from. Sorted keys: their text, byte for byte.
  const transaction = JSON.stringify({ amount: { amount: majorUnits(amount), currency }, expiration })
  const pair = makePair({ version, amount, destination, expiresAtMs, transaction }, secret)
  const packet = pair.packet.toString('base64url')
  const condition = pair.condition.toString('base64url')
  const fulfilment = pair.fulfilment.toString('base64url')
  if (options.json === true) {
    const request = { packet, condition, ...(version === 1 ? { expiresAt: expiresAtMs } : {}) }
    printJson(io, { version, amount, currency, destination, expiration, packet, condition, fulfilment, request })
    return
  }
  io.stdout(`version     ${version}\nexpires     ${expiration}\npacket      ${packet}\n`)
  io.stdout(`condition   ${condition}\nfulfilment  ${fulfilment}\n`)
}

function addSecret(ilp: Command, io: CliIo): void {
  ilp
    .command('secret')
    .description('make the secret of a bank; a file that is there is never overwritten')
    .requiredOption('--out <file>', 'such as ilp.secret; readable by its owner only')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', '\nExample:\n  lsctl ilp secret --out certs/044/ilp.secret')
    .action((options: { readonly out: string; readonly json?: boolean }) =>
      runCommand(io, options.json === true, () => {
        createIlpSecretFile(options.out)
        if (options.json === true) printJson(io, { secretFile: options.out })
        else io.stdout(`  ${options.out}  whoever has it can make fulfilments for the bank\n`)
      }),
    )
}

function newSecret(): IlpSecret {
  return new IlpSecret(randomBytes(32))
}

/** Two decimal places, as most currencies have; of a test pair nothing else is asked. */
function majorUnits(minor: bigint): string {
  const digits = minor.toString().padStart(3, '0')
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`
}

function parseVersion(text: string): IlpVersion {
  if (text === '1' || text === '4') return text === '1' ? 1 : 4
  throw new InvalidArgumentError('Give 1 or 4.')
}

function parseAmount(text: string): bigint {
  if (/^\d{1,20}$/.test(text)) return BigInt(text)
  throw new InvalidArgumentError('Give a whole number, in the smallest unit of the currency.')
}

function parseLimit(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1 && count <= 10_000) return count
  throw new InvalidArgumentError('Give a whole number from 1 to 10000.')
}
