import { parseArgs } from 'node:util'
import { SYSTEMS, type System } from './catalog.ts'

export interface BenchOptions {
  readonly help: boolean
  /** What is measured. */
  readonly mode: 'compare' | 'rekey' | 'kx'
  readonly json: boolean
  readonly systems: readonly System[]
  readonly concurrencies: readonly number[]
  readonly bodies: readonly number[]
  readonly rounds: number
  readonly warmupMs: number
  readonly measureMs: number
  readonly freshRounds: boolean
  readonly chart: string | undefined
}

export const USAGE = `npm run bench -- [options]

  --quick               1 and 256 in flight, 256-byte bodies, short: under a minute
  --systems a,b         of: ${SYSTEMS.map(({ name }) => name).join(', ')}
  --concurrency 1,256   requests in flight (default 1,64,256,1024)
  --body 256,4096       bytes of a request and of its reply (default 256,4096)
  --rounds N            how often each is measured (default 3)
  --seconds S           how long each measurement takes (default 2)
  --chart FILE          where the chart goes (default bench/results/chart.svg)
  --rekey               instead: new keys under full load; requests lost, p99 of those seconds
  --kx                  instead: durations of key exchanges, and of channels from the dial
  --json                results as one JSON document; progress goes to standard error
`

const SMALLEST_BODY = 8
const LARGEST_BODY = 60_000

/** The options of a command line, or what is wrong with it. */
export function parseBenchArguments(argv: readonly string[]): BenchOptions | { readonly problem: string } {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        help: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        rekey: { type: 'boolean', default: false },
        kx: { type: 'boolean', default: false },
        systems: { type: 'string' },
        concurrency: { type: 'string' },
        body: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        chart: { type: 'string' },
      },
    })
    const { quick } = values
    const seconds = number('seconds', values.seconds ?? (quick ? '0.35' : '2'), { from: 0.05, to: 600 })
    return {
      help: values.help,
      mode: values.rekey ? 'rekey' : values.kx ? 'kx' : 'compare',
      json: values.json,
      systems: values.systems === undefined ? SYSTEMS : list(values.systems).map(systemNamed),
      concurrencies: numbers('concurrency', values.concurrency ?? (quick ? '1,256' : '1,64,256,1024'), {
        from: 1,
        to: 10_000,
      }),
      bodies: numbers('body', values.body ?? (quick ? '256' : '256,4096'), { from: SMALLEST_BODY, to: LARGEST_BODY }),
      rounds: number('rounds', values.rounds ?? '3', { from: 1, to: 100 }),
      measureMs: seconds * 1_000,
      warmupMs: Math.min(1_000, Math.max(50, seconds * 300)),
      freshRounds: !quick,
      chart: values.chart,
    }
  } catch (error) {
    return { problem: (error as Error).message }
  }
}

function systemNamed(name: string): System {
  const system = SYSTEMS.find((candidate) => candidate.name === name)
  if (system !== undefined) return system
  throw new Error(`--systems: ${name} is none of ${SYSTEMS.map((known) => known.name).join(', ')}`)
}

function list(text: string): string[] {
  return text.split(',').map((item) => item.trim())
}

function numbers(option: string, text: string, range: { from: number; to: number }): number[] {
  return list(text).map((item) => number(option, item, range))
}

function number(option: string, text: string, { from, to }: { from: number; to: number }): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value) || value < from || value > to) {
    throw new Error(`--${option}: give ${from} to ${to}`)
  }
  return value
}
