import { type ParseArgsConfig, parseArgs } from 'node:util'
import { FAULT_KINDS, type FaultKind } from './schedule.ts'
import type { Mix } from './workload.ts'

export interface ChaosArguments {
  readonly seconds: number
  readonly seed: string
  readonly json: boolean
  readonly durable: Mix['durable']
  readonly apps: number
  readonly only: readonly FaultKind[] | undefined
  readonly keep: boolean
}

export const USAGE = `usage: npm run chaos -- [options]

  --seconds N       how long load and faults go on (default 60)
  --seed S          the same seed gives the same faults at the same times, and the same requests (default: drawn)
  --only KIND,...   these faults alone: ${FAULT_KINDS.join(', ')}
  --durable-only    every request is durable
  --apps N          processes that ask (default 3)
  --keep            leaves its directory also after a good run
  --json            one JSON object

exit code 0: nothing lost, nothing done twice, all books agree; 1: something is wrong, and the keys are printed
`

const COMMON_OPTIONS = {
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Values<Options extends NonNullable<ParseArgsConfig['options']>> = ReturnType<
  typeof parseArgs<{ options: Options & typeof COMMON_OPTIONS }>
>['values']

/**
 * The arguments of a command that takes these options beside --json and --help, as `read` makes them of their values.
 * Undefined when help was asked for; a text says what is wrong.
 */
export function parseArguments<const Options extends NonNullable<ParseArgsConfig['options']>, Arguments>(
  argv: readonly string[],
  options: Options,
  read: (values: Values<Options>) => Arguments,
): Arguments | string | undefined {
  try {
    const { values } = parseArgs({ args: [...argv], options: { ...options, ...COMMON_OPTIONS } })
    const { help } = values as { readonly help: boolean }
    return help ? undefined : read(values as Values<Options>)
  } catch (error) {
    return (error as Error).message
  }
}

export function parseChaosArguments(argv: readonly string[]): ChaosArguments | string | undefined {
  const options = {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    only: { type: 'string' },
    'durable-only': { type: 'boolean', default: false },
    apps: { type: 'string', default: '3' },
    keep: { type: 'boolean', default: false },
  } as const
  return parseArguments(argv, options, (values) => ({
    seconds: wholeNumber('seconds', values.seconds, { from: 3, to: 86_400 }),
    seed: values.seed ?? String(Math.floor(Math.random() * 1e9)),
    json: values.json,
    durable: values['durable-only'] ? 'all' : 'some',
    apps: wholeNumber('apps', values.apps, { from: 1, to: 64 }),
    only: values.only?.split(',').map(faultKind),
    keep: values.keep,
  }))
}

export function wholeNumber(name: string, text: string, range: { from: number; to: number }): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= range.from && value <= range.to) return value
  throw new RangeError(`--${name} is a whole number from ${range.from} to ${range.to}`)
}

function faultKind(name: string): FaultKind {
  const kind = FAULT_KINDS.find((known) => known === name)
  if (kind === undefined) throw new RangeError(`--only: there is no fault ${name}`)
  return kind
}
