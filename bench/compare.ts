import type { StartedSystem, System } from './catalog.ts'
import type { LoadResult } from './load.ts'
import { median, rounded } from './process-usage.ts'
import type { World } from './world.ts'

export interface CompareOptions {
  readonly systems: readonly System[]
  readonly concurrencies: readonly number[]
  readonly bodies: readonly number[]
  readonly rounds: number
  readonly warmupMs: number
  readonly measureMs: number
  /** New processes, and so new stores, for each round. */
  readonly freshRounds: boolean
  readonly signal: AbortSignal
  readonly tell: (line: string) => void
}

/** One cell of the table: medians over the rounds. */
export interface Run {
  readonly system: string
  readonly concurrency: number
  /** Bytes. */
  readonly body: number
  readonly rps: number
  readonly rpsOfRounds: readonly number[]
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly cpuUs: Readonly<Record<string, number>>
  readonly rssMiB: Readonly<Record<string, number>>
  readonly errors: number
}

export interface Failure {
  readonly system: string
  readonly why: string
}

export interface Comparison {
  readonly runs: readonly Run[]
  readonly ratios: Readonly<Record<string, number>>
  readonly skipped: readonly Failure[]
  readonly failed: readonly Failure[]
}

interface Sample extends LoadResult {
  readonly system: string
  readonly concurrency: number
  readonly body: number
  readonly round: number
}

/** Before the first measurement of a round: code is compiled, connections have been made once. */
const FIRST_WARMUP_CONCURRENCY = 64

/**
 * Measures all systems in turn, over several rounds: whatever else the machine does meets all of them. One that fails
 * is left out of the rest, and reported.
 */
export async function compare(world: World, options: CompareOptions): Promise<Comparison> {
  const { systems, rounds, freshRounds, signal, tell } = options
  const skipped: Failure[] = []
  const failed = new Map<string, string>()
  const runnable = systems.filter((system) => {
    const why = system.whySkipped()
    if (why === undefined) return true
    skipped.push({ system: system.name, why })
    tell(`skipped: ${system.name}: ${why}`)
    return false
  })
  const fail = (name: string, error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    failed.set(name, why)
    tell(`FAILED: ${name}: ${why}`)
  }
  const samples: Sample[] = []
  let started = new Map<string, StartedSystem>()
  for (let round = 0; round < rounds; round++) {
    const going = runnable.filter(({ name }) => !failed.has(name))
    if (round === 0 || freshRounds) {
      await world.stopProcesses()
      started = await startAll(world, going, options, fail)
    }
    for (const cell of cellsOf(options)) {
      for (const { name } of going) {
        signal.throwIfAborted()
        const system = started.get(name)
        if (system === undefined || failed.has(name)) continue
        try {
          const result = await measured(system, cell, options)
          samples.push({ ...result, ...cell, round, system: name })
          const { rps, p50Ms, p99Ms } = result
          tell(
            `round ${round + 1}/${rounds}  ${cell.body} B  ${cell.concurrency} in flight  ${name}: ${Math.round(rps)}/s, p50 ${p50Ms} ms, p99 ${p99Ms} ms`,
          )
        } catch (error) {
          signal.throwIfAborted()
          fail(name, error)
        }
      }
    }
  }
  return {
    runs: runnable.flatMap(({ name }) => cellsOf(options).flatMap((cell) => summaryOf(samples, name, cell))),
    ratios: ratiosOf(samples, options),
    skipped,
    failed: [...failed].map(([system, why]) => ({ system, why })),
  }
}

async function startAll(
  world: World,
  systems: readonly System[],
  options: CompareOptions,
  fail: (name: string, error: unknown) => void,
): Promise<Map<string, StartedSystem>> {
  const started = new Map<string, StartedSystem>()
  await Promise.all(
    systems.map(async (system) => {
      try {
        started.set(system.name, await system.start(world))
      } catch (error) {
        if (!options.signal.aborted) fail(system.name, error)
      }
    }),
  )
  for (const [name, system] of started) {
    options.signal.throwIfAborted()
    try {
      const cell = { concurrency: FIRST_WARMUP_CONCURRENCY, body: options.bodies[0] ?? 256 }
      await measured(system, cell, { ...options, measureMs: options.warmupMs })
    } catch (error) {
      fail(name, error)
    }
  }
  return started
}

async function measured(
  { load, endpoint, pids }: StartedSystem,
  cell: { concurrency: number; body: number },
  { warmupMs, measureMs }: CompareOptions,
): Promise<LoadResult> {
  const result = await load.measure(endpoint, {
    concurrency: cell.concurrency,
    bodyBytes: cell.body,
    warmupMs,
    measureMs,
    pids,
  })
  if (result.errors > 0)
    throw new Error(`${result.errors} of its requests failed, the first with: ${result.firstError}`)
  if (result.completed === 0) throw new Error('not one request was answered in time')
  return result
}

function cellsOf({ bodies, concurrencies }: CompareOptions): { body: number; concurrency: number }[] {
  return bodies.flatMap((body) => concurrencies.map((concurrency) => ({ body, concurrency })))
}

function summaryOf(
  samples: readonly Sample[],
  system: string,
  { concurrency, body }: { concurrency: number; body: number },
): Run[] {
  const own = samples.filter(
    (sample) => sample.system === system && sample.concurrency === concurrency && sample.body === body,
  )
  const [first] = own
  if (first === undefined) return []
  const middle = (figure: (sample: Sample) => number, digits: number) => rounded(median(own.map(figure)), digits)
  const each = (names: Readonly<Record<string, number>>, figure: (sample: Sample, name: string) => number) =>
    Object.fromEntries(Object.keys(names).map((name) => [name, middle((sample) => figure(sample, name), 2)]))
  return [
    {
      system,
      concurrency,
      body,
      rps: middle(({ rps }) => rps, 0),
      rpsOfRounds: own.map(({ rps }) => Math.round(rps)),
      p50Ms: middle(({ p50Ms }) => p50Ms, 4),
      p99Ms: middle(({ p99Ms }) => p99Ms, 4),
      p999Ms: middle(({ p999Ms }) => p999Ms, 4),
      cpuUs: each(first.cpuUs, (sample, name) => sample.cpuUs[name] ?? 0),
      rssMiB: each(first.rssMiB, (sample, name) => sample.rssMiB[name] ?? 0),
      errors: 0,
    },
  ]
}

/** Of requests/s with the most usual load, where it was measured. */
const RATIO_CONCURRENCY = 256
const RATIO_BODY = 256

const RATIOS: readonly { name: string; of: string; to: string }[] = [
  { name: 'vsWsEcho', of: 'ours', to: 'ws-echo' },
  { name: 'vsSealPerMessage', of: 'ours', to: 'ws-seal' },
  { name: 'vsGrpc', of: 'ours', to: 'grpc' },
  { name: 'vsHttp2', of: 'ours', to: 'http2' },
  { name: 'vsHttps', of: 'ours', to: 'https' },
  { name: 'vsNats', of: 'ours', to: 'nats' },
  { name: 'onceOnlyVsPlain', of: 'ours-once', to: 'ours' },
  { name: 'durableVsOnceOnly', of: 'ours-durable', to: 'ours-once' },
  { name: 'durableVsPlain', of: 'ours-durable', to: 'ours' },
  { name: 'securityVsPlain', of: 'ours-security', to: 'ours' },
  { name: 'jwsVsPlain', of: 'ours-jws', to: 'ours' },
]

/** Each ratio is taken within a round, where both met the same machine; then the median of the rounds. */
function ratiosOf(samples: readonly Sample[], options: CompareOptions): Record<string, number> {
  const concurrency = closest(options.concurrencies, RATIO_CONCURRENCY)
  const body = closest(options.bodies, RATIO_BODY)
  const ratios: Record<string, number> = {}
  const note = (name: string, of: string, to: string, at: number, figure: (sample: Sample) => number) => {
    const quotients: number[] = []
    for (let round = 0; round < options.rounds; round++) {
      const one = samples.find(isOf(of, at, body, round))
      const other = samples.find(isOf(to, at, body, round))
      if (one !== undefined && other !== undefined) quotients.push(figure(one) / figure(other))
    }
    if (quotients.length > 0) ratios[name] = rounded(median(quotients), 3)
  }
  for (const { name, of, to } of RATIOS) note(name, of, to, concurrency, ({ rps }) => rps)
  if (options.concurrencies.includes(1)) note('p50OneVsWsEcho', 'ours', 'ws-echo', 1, ({ p50Ms }) => p50Ms)
  const lsCpu = samples
    .filter((sample) => sample.system === 'ours' && sample.concurrency === concurrency && sample.body === body)
    .flatMap(({ cpuUs }) => (cpuUs.ls === undefined ? [] : [cpuUs.ls]))
  if (lsCpu.length > 0) ratios.lsCpuUsPerRequest = rounded(median(lsCpu), 2)
  return ratios
}

function isOf(system: string, concurrency: number, body: number, round: number): (sample: Sample) => boolean {
  return (sample) =>
    sample.system === system && sample.concurrency === concurrency && sample.body === body && sample.round === round
}

function closest(values: readonly number[], wanted: number): number {
  return values.reduce((best, value) => (Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best))
}
