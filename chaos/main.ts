import { type ChaosArguments, parseChaosArguments, USAGE } from './arguments.ts'
import { type Ended, runCommand } from './command.ts'
import { formatFigures, formatOffence, isGood } from './report.ts'
import { run } from './run.ts'
import type { World } from './world.ts'

/** Offending keys that are printed in full; the rest is counted. */
const MAX_PRINTED = 20

/** `npm run chaos`: breaks everything that can break for a while, and proves that nothing is lost and nothing done twice. */
async function breakEverything(options: ChaosArguments, dir: string, signal: AbortSignal): Promise<Ended> {
  let world: World | undefined
  process.on('exit', () => world?.destroyNow())
  const say = (text: string): void => {
    if (!options.json) process.stdout.write(text)
  }
  try {
    say(`seed ${options.seed}, in ${dir}\n`)
    const { figures, offences } = await run({
      ...options,
      dir,
      signal,
      onProgress: (line) => say(`${line}\n`),
      onWorld: (made) => {
        world = made
      },
    })
    process.stdout.write(options.json ? `${JSON.stringify(figures)}\n` : formatFigures(figures))
    for (const offence of offences.slice(0, MAX_PRINTED)) process.stderr.write(formatOffence(offence))
    if (offences.length > MAX_PRINTED) process.stderr.write(`and ${offences.length - MAX_PRINTED} keys more\n`)
    return { code: isGood(figures) ? 0 : 1, keepDir: !isGood(figures) || options.keep }
  } finally {
    await world?.destroy()
    world = undefined
  }
}

await runCommand({ name: 'chaos', usage: USAGE, parse: parseChaosArguments, run: breakEverything })
