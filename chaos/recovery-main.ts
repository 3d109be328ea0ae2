import { parseArguments, wholeNumber } from './arguments.ts'
import { type Ended, runCommand } from './command.ts'
import { measureRecovery, type RecoveryFigures } from './recovery-run.ts'

const USAGE = `usage: npm run recovery -- [options]

  --kills N   how often each of the two nodes is killed (default 25)
  --json      one JSON object

Kills the node of a bank, which is started again at once, and measures how long it takes from its listening to the first
answer that an app gets.
`

interface Arguments {
  readonly kills: number
  readonly json: boolean
}

function parse(argv: readonly string[]): Arguments | string | undefined {
  const options = {
    kills: { type: 'string', default: '25' },
  } as const
  return parseArguments(argv, options, (values) => ({
    kills: wholeNumber('kills', values.kills, { from: 1, to: 10_000 }),
    json: values.json,
  }))
}

function formatted({ kills, fromListening, fromKill }: RecoveryFigures): string {
  const lines = [`${kills} kills`]
  for (const bank of ['044', '058', 'all'] as const) {
    const { p50Ms, p99Ms, maxMs } = fromListening[bank]
    lines.push(
      `${bank}  from listening p50 ${p50Ms} ms, p99 ${p99Ms} ms, max ${maxMs} ms; from the kill p50 ${fromKill[bank].p50Ms} ms, p99 ${fromKill[bank].p99Ms} ms`,
    )
  }
  return `${lines.join('\n')}\n`
}

async function killNodes({ kills, json }: Arguments, dir: string, signal: AbortSignal): Promise<Ended> {
  const onProgress = (line: string): void => {
    if (!json) process.stdout.write(`${line}\n`)
  }
  const figures = await measureRecovery({ dir, kills, signal, onProgress })
  process.stdout.write(json ? `${JSON.stringify(figures)}\n` : formatted(figures))
  return { code: 0, keepDir: false }
}

await runCommand({ name: 'recovery', usage: USAGE, parse, run: killNodes })
