import { parseArgs } from 'node:util'
import { Bench } from 'tinybench'
import { rounded } from '../process-usage.ts'
import { machine, machineText, plainTable } from '../report.ts'
import { type MicroTask, microTasks } from './tasks.ts'

/** The parts of the path one by one, in one process. */

interface MicroResult {
  readonly name: string
  readonly unit: string
  /** Microseconds of one operation: the median of the samples, and the mean with its relative margin of error. */
  readonly medianUs: number
  readonly meanUs: number
  readonly marginPercent: number
  readonly perSecond: number
}

const USAGE = 'npm run bench:micro -- [--seconds S of each, default 0.5] [--only TEXT] [--json]\n'

async function measure(tasks: readonly MicroTask[], timeMs: number): Promise<MicroResult[]> {
  const bench = new Bench({ time: timeMs, warmupTime: timeMs / 2, throws: true })
  for (const task of tasks) bench.add(task.name, () => task.run())
  await bench.run()
  return tasks.map((task) => {
    const latency = bench.getTask(task.name)?.result?.latency
    if (latency === undefined) throw new Error(`${task.name} was not measured`)
    const us = (ms: number) => (ms * 1_000) / task.operations
    const medianUs = us(latency.p50 ?? latency.mean)
    return {
      name: task.name,
      unit: task.unit,
      medianUs: rounded(medianUs, 3),
      meanUs: rounded(us(latency.mean), 3),
      marginPercent: rounded(latency.rme, 1),
      perSecond: Math.round(1_000_000 / medianUs),
    }
  })
}

function textOf(results: readonly MicroResult[]): string {
  const table = plainTable(['what', 'median us', 'mean us', '+-', 'a second', 'of'])
  for (const { name, unit, medianUs, meanUs, marginPercent, perSecond } of results) {
    table.push([name, medianUs.toFixed(3), meanUs.toFixed(3), `${marginPercent} %`, perSecond, unit])
  }
  return `${machineText(machine())}; records of 256 bytes\n${table.toString()}\n`
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      seconds: { type: 'string', default: '0.5' },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return
  }
  const tasks = microTasks().filter(({ name }) => name.includes(values.only))
  const results = await measure(tasks, Number(values.seconds) * 1_000)
  process.stdout.write(values.json ? `${JSON.stringify({ machine: machine(), results })}\n` : textOf(results))
}

await main()
