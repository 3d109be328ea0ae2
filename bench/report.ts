import { cpus, release, totalmem, type } from 'node:os'
import Table from 'cli-table3'
import { SYSTEMS } from './catalog.ts'
import type { Comparison, Run } from './compare.ts'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  readonly node: string
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: process.version,
  }
}

export function machineText({ cpu, cores, memoryGiB, system, node }: Machine): string {
  return `${cores} cores of ${cpu}, ${memoryGiB} GiB, ${system}, Node ${node}`
}

export function titleOf(name: string): string {
  return SYSTEMS.find((system) => system.name === name)?.title ?? name
}

/** A table for each body and number in flight. */
export function comparisonText({ runs, ratios, skipped, failed }: Comparison): string {
  const parts: string[] = []
  for (const { body, concurrency, cells } of cellsOf(runs)) {
    parts.push(`${body} bytes, ${concurrency} in flight`, tableOf(cells))
  }
  const lines = Object.entries(ratios).map(([name, value]) => `  ${name.padEnd(18)} ${value}`)
  if (lines.length > 0) parts.push('ratios', lines.join('\n'))
  for (const { system, why } of skipped) parts.push(`skipped: ${system}: ${why}`)
  for (const { system, why } of failed) parts.push(`FAILED: ${system}: ${why}`)
  return `${parts.join('\n')}\n`
}

export function cellsOf(runs: readonly Run[]): { body: number; concurrency: number; cells: readonly Run[] }[] {
  const cells = new Map<string, Run[]>()
  for (const run of runs) {
    const key = `${run.body}/${run.concurrency}`
    cells.set(key, [...(cells.get(key) ?? []), run])
  }
  return [...cells.values()].map((of) => ({ body: of[0]?.body ?? 0, concurrency: of[0]?.concurrency ?? 0, cells: of }))
}

export function tableOf(runs: readonly Run[]): string {
  const table = plainTable(['system', 'req/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'CPU us/request', 'RSS MiB'])
  for (const { system, rps, p50Ms, p99Ms, p999Ms, cpuUs, rssMiB } of runs) {
    table.push([
      titleOf(system),
      Math.round(rps),
      milliseconds(p50Ms),
      milliseconds(p99Ms),
      milliseconds(p999Ms),
      named(cpuUs, 1),
      named(rssMiB, 0),
    ])
  }
  return table.toString()
}

export function plainTable(head: readonly string[]): Table.Table {
  return new Table({
    head: [...head],
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    chars: Object.fromEntries(
      [
        'top',
        'top-mid',
        'top-left',
        'top-right',
        'bottom',
        'bottom-mid',
        'bottom-left',
        'bottom-right',
        'left',
        'left-mid',
        'mid',
        'mid-mid',
        'right',
        'right-mid',
        'middle',
      ].map((name) => [name, '']),
    ),
  })
}

export function milliseconds(ms: number): string {
  return ms.toFixed(ms < 1 ? 3 : ms < 100 ? 2 : 0)
}

function named(figures: Readonly<Record<string, number>>, digits: number): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name} ${value.toFixed(digits)}`)
    .join(', ')
}
