import { parseArguments, wholeNumber } from './arguments.ts'
import { type Ended, runCommand } from './command.ts'
import { type FlipFigures, flipBits } from './flip-run.ts'

const USAGE = `usage: npm run flips -- [options]

  --flips N   single bits, half of them in the store of each daemon (default 300)
  --seed S    the same seed flips the same bits of files of the same size (default 1)
  --json      one JSON object

Flips one bit at a time in the store of a stopped daemon, starts it, and asks again for all that it must know.

exit code 0: no wrong answer; 1: there was one
`

interface Arguments {
  readonly flips: number
  readonly seed: string
  readonly json: boolean
}

function parse(argv: readonly string[]): Arguments | string | undefined {
  const options = {
    flips: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
  } as const
  return parseArguments(argv, options, (values) => ({
    flips: wholeNumber('flips', values.flips, { from: 2, to: 1_000_000 }),
    seed: values.seed,
    json: values.json,
  }))
}

function formatted({ flips, keys, unused, found, wrong, wrongTrials }: FlipFigures): string {
  return [
    `${flips} flipped bits, ${keys} keys asked again after each`,
    `found and said   ${found}`,
    `of no use        ${unused}`,
    `wrong answers    ${wrong}`,
    ...wrongTrials,
    '',
  ].join('\n')
}

async function flipAndAsk({ json, ...options }: Arguments, dir: string, signal: AbortSignal): Promise<Ended> {
  const onProgress = (line: string): void => {
    if (!json) process.stdout.write(`${line}\n`)
  }
  const figures = await flipBits({ dir, ...options, signal, onProgress })
  process.stdout.write(json ? `${JSON.stringify(figures)}\n` : formatted(figures))
  return { code: figures.wrong === 0 ? 0 : 1, keepDir: figures.wrong > 0 }
}

await runCommand({ name: 'flips', usage: USAGE, parse, run: flipAndAsk })
