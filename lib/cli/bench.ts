import { type Command, InvalidArgumentError, Option } from 'commander'
import { DEFAULT_TIMEOUT_MS, decodePayload, LONGEST_TIMEOUT_MS } from '../ipc/index.ts'
import { isErrorCode } from '../runtime/index.ts'
import { adviceFor } from './advice.ts'
import { askOnce, type EndingCount, isGood, type LoopOptions, paddedPayload, runClosedLoop } from './closed-loop.ts'
import { type GlobalOptions, withDaemon } from './daemon-client.ts'
import { durationOption, formatMilliseconds } from './duration.ts'
import { type CliIo, CommandError, ExitCode, paint, printable, printJson, runCommand } from './io.ts'
import { parsePayload } from './json-text.ts'
import { exitCodeOfOutcome } from './outcome-exit.ts'

interface BenchOptions extends GlobalOptions {
  readonly concurrency: number
  readonly seconds: number
  readonly method: string
  readonly payload: string
  readonly body?: number
  readonly timeout: number
  readonly durable?: boolean
}

/** What was measured, as scripts get it. Latencies are of the requests that were answered without an error. */
interface BenchResult {
  readonly bankCode: string
  readonly method: string
  readonly concurrency: number
  readonly bodyBytes: number
  readonly durable: boolean | undefined
  readonly elapsedMs: number
  readonly answered: number
  readonly requestsPerSecond: number
  readonly latencyMs: Readonly<Record<'mean' | 'p50' | 'p90' | 'p99' | 'p999' | 'max', number>>
  readonly failed: number
  readonly failures: readonly EndingCount[]
  readonly interrupted: boolean
}

const ECHO_METHOD = 'echo'
const DEFAULT_CONCURRENCY = 64
const MOST_CONCURRENT = 10_000
const DEFAULT_SECONDS = 10
const LONGEST_SECONDS = 3_600
const LARGEST_BODY_BYTES = 1_048_576

/** `lsctl bench`. */
export function addBenchCommand(program: Command, io: CliIo): void {
  program
    .command('bench')
    .summary('measure requests to a bank, through everything')
    .description(
      'send requests to a bank for a while, so many at a time, and print how many were answered and how fast',
    )
    .argument('<bank>', 'bank code')
    .addOption(number('--concurrency <n>', 'requests in flight', DEFAULT_CONCURRENCY, { from: 1, to: MOST_CONCURRENT }))
    .addOption(
      number('--seconds <s>', 'how long', DEFAULT_SECONDS, { from: 0.1, to: LONGEST_SECONDS, mayHaveFraction: true }),
    )
    .option('--method <method>', 'a method that changes nothing at the bank', ECHO_METHOD)
    .option('--payload <json>', 'what each request carries', '{}')
    .addOption(
      number('--body <bytes>', 'bring the payload to this size, with a field `pad`', undefined, {
        from: 1,
        to: LARGEST_BODY_BYTES,
      }),
    )
    .addOption(
      new Option('--timeout <duration>', 'of each request, at most 10m')
        .default(DEFAULT_TIMEOUT_MS, '30s')
        .argParser(durationOption(1, LONGEST_TIMEOUT_MS)),
    )
    .option('--durable', 'with requests that are kept in the journal of lsd')
    .addHelpText(
      'after',
      [
        '',
        'These are real requests: the bank runs each one, and remembers its key. Answers of `echo`, which the demo banks',
        'have, are compared with what was sent. With any other method make sure that it changes nothing.',
        '',
        'Exit codes: 0 all answered, 1 an answer was an error, 3 refused, 4 not sent, 5 in doubt: the worst that happened.',
        '',
        'Examples:',
        '  lsctl bench 044 --seconds 5 --concurrency 256 --body 256',
        '  lsctl bench 044 --method balance --payload \'{"account":"0123456789"}\' --json',
      ].join('\n'),
    )
    .action((bank: string, options: BenchOptions) =>
      runCommand(io, options.json === true, () => bench(io, bank, options)),
    )
}

function number(
  flags: string,
  description: string,
  byDefault: number | undefined,
  range: { readonly from: number; readonly to: number; readonly mayHaveFraction?: boolean },
): Option {
  const { from, to, mayHaveFraction = false } = range
  const option = new Option(flags, description).argParser((text) => {
    const value = Number(text)
    const isGiven = text.trim() !== '' && (mayHaveFraction ? Number.isFinite(value) : Number.isInteger(value))
    if (!isGiven || value < from || value > to) throw new InvalidArgumentError(`Give ${from} to ${to}.`)
    return value
  })
  return byDefault === undefined ? option : option.default(byDefault)
}

async function bench(io: CliIo, bank: string, options: BenchOptions): Promise<void> {
  const payloadBytes = paddedPayload(parsePayload(options.payload), options.body)
  const loop: LoopOptions = {
    to: bank,
    method: options.method,
    payloadBytes,
    ...(options.method === ECHO_METHOD ? { echoOf: decodePayload(payloadBytes) } : {}),
    durable: options.durable,
    timeoutMs: options.timeout,
    concurrency: options.concurrency,
    durationMs: options.seconds * 1_000,
    signal: io.interrupt,
  }
  const result = await withDaemon(io, options, 'ls.sock', async (client): Promise<BenchResult> => {
    // One by itself: a bank that says no to everything is not asked a hundred thousand times.
    const first = await askOnce(client, loop)
    if (first !== undefined && !isGood(first)) throw refusalOf(first, options.method)
    const { latency, failures, elapsedMs } = await runClosedLoop(client, io.clock, loop)
    const at = (share: number) => rounded(latency.quantileMs(share))
    return {
      bankCode: bank,
      method: options.method,
      concurrency: options.concurrency,
      bodyBytes: payloadBytes.length,
      durable: options.durable,
      elapsedMs: Math.round(elapsedMs),
      answered: latency.count,
      requestsPerSecond: elapsedMs === 0 ? 0 : Math.round((latency.count * 1_000) / elapsedMs),
      latencyMs: {
        mean: rounded(latency.meanMs),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: rounded(latency.maxMs),
      },
      failed: failures.reduce((sum, { count }) => sum + count, 0),
      failures,
      interrupted: io.interrupt.aborted,
    }
  })
  if (options.json === true) printJson(io, result)
  else printForPeople(io, result)
  io.exit(result.interrupted ? ExitCode.interrupted : worstOf(result.failures))
}

/** The first request went wrong: nothing was measured. */
function refusalOf({ outcome, code, message }: Omit<EndingCount, 'count'>, method: string): CommandError {
  const advice =
    code === 'UNKNOWN_METHOD' && method === ECHO_METHOD
      ? 'name a method of this bank that changes nothing, with --method and --payload'
      : adviceFor(code)
  const text = `the first request was ${outcome}${message === undefined ? '' : `: ${message}`}; nothing was measured`
  return new CommandError(
    exitCodeOfOutcome(outcome),
    isErrorCode(code) ? code : 'HANDLER_FAILED',
    text,
    advice === undefined ? {} : { advice },
  )
}

function worstOf(failures: readonly EndingCount[]): ExitCode {
  const codes = failures.map(({ outcome }) => exitCodeOfOutcome(outcome))
  return (
    [ExitCode.inDoubt, ExitCode.notSent, ExitCode.refused, ExitCode.failed].find((code) => codes.includes(code)) ??
    ExitCode.ok
  )
}

function printForPeople(io: CliIo, result: BenchResult): void {
  const { bankCode, method, concurrency, bodyBytes, durable, elapsedMs, latencyMs, answered, failures } = result
  const kind = durable === true ? 'durable requests' : 'requests'
  io.stdout(
    `${printable(bankCode)}  ${printable(method)}  ${kind} of ${bodyBytes} bytes, ${concurrency} in flight, ${(elapsedMs / 1_000).toFixed(1)} s\n`,
  )
  io.stdout(`${paint(io, 'strong', `${result.requestsPerSecond}/s`)}, ${answered} answered, ${result.failed} not\n`)
  const { mean, p50, p90, p99, p999, max } = latencyMs
  const figures = { mean, p50, p90, p99, 'p99.9': p999, max }
  io.stdout(
    `${Object.entries(figures)
      .map(([name, ms]) => `${name} ${formatMilliseconds(ms)}`)
      .join('  ')}\n`,
  )
  for (const { outcome, code, message, count } of failures) {
    const what = `${outcome}${code === undefined ? '' : ` (${code})`}`
    io.stdout(`${paint(io, 'bad', `${count} ${what}`)}${message === undefined ? '' : `: ${printable(message)}`}\n`)
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000
}
