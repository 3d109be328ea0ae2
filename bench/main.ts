import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BenchOptions, parseBenchArguments, USAGE } from './arguments.ts'
import { chartOf } from './chart.ts'
import { compare } from './compare.ts'
import { kxText, measureKx, measureRekey, rekeyText } from './rekey.ts'
import { comparisonText, machine, machineText } from './report.ts'
import { World } from './world.ts'

const RESULTS = fileURLToPath(new URL('../../bench/results/', import.meta.url))

async function run(options: BenchOptions, signal: AbortSignal): Promise<number> {
  const world = await World.create()
  signal.addEventListener('abort', () => void world.stop(), { once: true })
  try {
    switch (options.mode) {
      case 'compare':
        return await runComparison(world, options, signal)
      case 'rekey': {
        const report = await measureRekey(world, signal)
        print(options, report, rekeyText(report))
        return report.lost > 0 ? 1 : 0
      }
      case 'kx': {
        const report = await measureKx(world, signal)
        print(options, report, kxText(report))
        return 0
      }
    }
  } finally {
    await world.stop()
  }
}

async function runComparison(world: World, options: BenchOptions, signal: AbortSignal): Promise<number> {
  const { rounds, measureMs, warmupMs } = options
  const tell = (line: string) => void process.stderr.write(`${line}\n`)
  const comparison = await compare(world, { ...options, signal, tell })
  const chartFile = options.chart ?? `${RESULTS}chart.svg`
  mkdirSync(dirname(chartFile), { recursive: true })
  writeFileSync(chartFile, chartOf(comparison.runs, machine(), `medians of ${rounds} rounds`))
  print(options, { rounds, measureMs, warmupMs, ...comparison }, comparisonText(comparison))
  if (!options.json) process.stdout.write(`chart: ${relative(process.cwd(), chartFile)}\n`)
  return comparison.failed.length > 0 || comparison.runs.length === 0 ? 1 : 0
}

/** Every document names the machine: figures say nothing without it. */
function print({ json }: BenchOptions, result: object, text: string): void {
  const on = machine()
  process.stdout.write(json ? `${JSON.stringify({ machine: on, ...result })}\n` : `${machineText(on)}\n${text}`)
}

async function main(): Promise<number> {
  const parsed = parseBenchArguments(process.argv.slice(2))
  if ('problem' in parsed) {
    process.stderr.write(`bench: ${parsed.problem}\n`)
    return 2
  }
  if (parsed.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interrupted.abort())
  try {
    return await run(parsed, interrupted.signal)
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  }
}

process.exitCode = await main()
