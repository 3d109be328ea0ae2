import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { wholeNumber } from './arguments.ts'
import { measureRecovery, type RecoveryFigures } from './recovery-run.ts'

const USAGE = `usage: npm run recovery -- [options]

  --kills N   how often each of the two nodes is killed (default 25)
  --json      one JSON object

Kills the node of a bank, which is started again at once, and measures how long it takes from its listening to the first
answer that an app gets.
`

function parse(argv: readonly string[]): { kills: number; json: boolean } | string | undefined {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        kills: { type: 'string', default: '25' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return undefined
    return { kills: wholeNumber('kills', values.kills, { from: 1, to: 10_000 }), json: values.json }
  } catch (error) {
    return (error as Error).message
  }
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

async function main(options: { kills: number; json: boolean }): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'lsx-recovery-'))
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
  try {
    const onProgress = (line: string): void => {
      if (!options.json) process.stdout.write(`${line}\n`)
    }
    const figures = await measureRecovery({ dir, kills: options.kills, signal: interrupted.signal, onProgress })
    process.stdout.write(options.json ? `${JSON.stringify(figures)}\n` : formatted(figures))
    rmSync(dir, { recursive: true, force: true })
    return 0
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
      process.stderr.write(`recovery: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
      process.exit(1)
    },
  )
}
