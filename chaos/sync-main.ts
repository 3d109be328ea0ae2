import { parseArguments, wholeNumber } from './arguments.ts'
import { syncDelayProblem } from './capabilities.ts'
import { type Ended, runCommand } from './command.ts'
import { measureSyncs, type SyncFigures } from './sync-run.ts'

const USAGE = `usage: npm run syncs -- [options]

  --delay-ms N   how long each sync of a file is held up (default 400)
  --requests N   of each kind, one after another (default 10)
  --json         one JSON object

Holds up every sync of lsd, then of a node, with strace, and shows that no answer to what must be on disk comes sooner.

exit code 0: none came too early; 1: one did; 77: strace cannot hold up syncs on this machine
`

interface Arguments {
  readonly delayMs: number
  readonly requests: number
  readonly json: boolean
}

function parse(argv: readonly string[]): Arguments | string | undefined {
  const options = {
    'delay-ms': { type: 'string', default: '400' },
    requests: { type: 'string', default: '10' },
  } as const
  return parseArguments(argv, options, (values) => ({
    delayMs: wholeNumber('delay-ms', values['delay-ms'], { from: 1, to: 2_000 }),
    requests: wholeNumber('requests', values.requests, { from: 1, to: 1_000 }),
    json: values.json,
  }))
}

function formatted({ delayMs, requests, ls, xchange, tooEarly }: SyncFigures): string {
  return [
    `each sync is held up for ${delayMs} ms; ${requests} requests of each kind`,
    `LS's syncs       durable: soonest answer after ${ls.durableMinMs} ms; others: median ${ls.plainP50Ms} ms`,
    `the node's syncs soonest answer after ${xchange.plainMinMs} ms`,
    `too early        ${tooEarly}`,
    '',
  ].join('\n')
}

async function holdUpSyncs({ json, ...options }: Arguments, dir: string, signal: AbortSignal): Promise<Ended> {
  const problem = syncDelayProblem()
  if (problem !== undefined) {
    process.stderr.write(`syncs cannot be held up on this machine: ${problem}\n`)
    return { code: 77, keepDir: false }
  }
  const figures = await measureSyncs({ dir, ...options, signal })
  process.stdout.write(json ? `${JSON.stringify(figures)}\n` : formatted(figures))
  return { code: figures.tooEarly === 0 ? 0 : 1, keepDir: false }
}

await runCommand({ name: 'syncs', usage: USAGE, parse, run: holdUpSyncs })
