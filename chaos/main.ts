import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ChaosArguments, parseChaosArguments, USAGE } from './arguments.ts'
import { formatFigures, formatOffence, isGood } from './report.ts'
import { run } from './run.ts'
import type { World } from './world.ts'

/** Offending keys that are printed in full; the rest is counted. */
const MAX_PRINTED = 20

/** `npm run chaos`: breaks everything that can break for a while, and proves that nothing is lost and nothing done twice. */
async function main(options: ChaosArguments): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'lsx-chaos-'))
  const interrupted = new AbortController()
  let world: World | undefined
  let keepDir = true
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
  process.on('exit', () => world?.destroyNow())
  const say = (text: string): void => {
    if (!options.json) process.stdout.write(text)
  }
  try {
    say(`seed ${options.seed}, in ${dir}\n`)
    const { figures, offences } = await run({
      ...options,
      dir,
      signal: interrupted.signal,
      onProgress: (line) => say(`${line}\n`),
      onWorld: (made) => {
        world = made
      },
    })
    process.stdout.write(options.json ? `${JSON.stringify(figures)}\n` : formatFigures(figures))
    for (const offence of offences.slice(0, MAX_PRINTED)) process.stderr.write(formatOffence(offence))
    if (offences.length > MAX_PRINTED) process.stderr.write(`and ${offences.length - MAX_PRINTED} keys more\n`)
    keepDir = !isGood(figures) || options.keep
    return isGood(figures) ? 0 : 1
  } catch (error) {
    keepDir = !interrupted.signal.aborted || options.keep
    if (!interrupted.signal.aborted) throw error
    return 130
  } finally {
    await world?.destroy()
    world = undefined
    if (keepDir) process.stderr.write(`everything about this run is in ${dir}\n`)
    else rmSync(dir, { recursive: true, force: true })
  }
}

const options = parseChaosArguments(process.argv.slice(2))
if (typeof options === 'string') {
  process.stderr.write(`${options}\n${USAGE}`)
  process.exit(2)
} else if (options === undefined) {
  process.stdout.write(USAGE)
} else {
  main(options).then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`chaos: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
      process.exit(1)
    },
  )
}
