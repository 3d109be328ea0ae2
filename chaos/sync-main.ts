import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { wholeNumber } from './arguments.ts'
import { syncDelayProblem } from './capabilities.ts'
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
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        'delay-ms': { type: 'string', default: '400' },
        requests: { type: 'string', default: '10' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return undefined
    return {
      delayMs: wholeNumber('delay-ms', values['delay-ms'], { from: 1, to: 2_000 }),
      requests: wholeNumber('requests', values.requests, { from: 1, to: 1_000 }),
      json: values.json,
    }
  } catch (error) {
    return (error as Error).message
  }
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

async function main({ json, ...options }: Arguments): Promise<number> {
  const problem = syncDelayProblem()
  if (problem !== undefined) {
    process.stderr.write(`syncs cannot be held up on this machine: ${problem}\n`)
    return 77
  }
  const dir = mkdtempSync(join(tmpdir(), 'lsx-syncs-'))
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
  try {
    const figures = await measureSyncs({ dir, ...options, signal: interrupted.signal })
    process.stdout.write(json ? `${JSON.stringify(figures)}\n` : formatted(figures))
    rmSync(dir, { recursive: true, force: true })
    return figures.tooEarly === 0 ? 0 : 1
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    process.stderr.write(`everything about this run is in ${dir}\n`)
    throw error
  }
}

const options = parse(process.argv.slice(2))
if (typeof options === 'string') {
  process.stderr.write(`${options}\n${USAGE}`)
  process.exit(2)
} else if (options === undefined) {
  process.stdout.write(USAGE)
} else {
  main(options).then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`syncs: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
      process.exit(1)
    },
  )
}
