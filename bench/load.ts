import { LatencyHistogram } from '../lib/runtime/index.ts'
import { cpuMicrosecondsOf, ownCpuMicroseconds, residentMebibytesOf, rounded } from './process-usage.ts'
import { type BenchClient, bodyOf } from './system.ts'

export interface LoadOptions {
  readonly concurrency: number
  readonly bodyBytes: number
  readonly warmupMs: number
  readonly measureMs: number
  /** Processes whose CPU and memory count, by what the table calls them. */
  readonly pids: Readonly<Record<string, number>>
}

export interface LoadResult {
  readonly completed: number
  readonly errors: number
  readonly firstError: string | undefined
  readonly rps: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  /** User and system time a request. */
  readonly cpuUs: Readonly<Record<string, number>>
  readonly rssMiB: Readonly<Record<string, number>>
}

/** More errors than this end a run: it has failed, and should not turn into a flood of refusals. */
const MAX_ERRORS = 1_000
/** What is in flight at the end of a run has this long to be answered. */
const LAST_ANSWERS_WITHIN_MS = 10_000

/** One second, say, of a longer run. */
export interface Slice {
  readonly completed: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Keeps so many requests in flight: each reply begins the next request. The same loop for every system. */
export class ClosedLoop {
  readonly #client: BenchClient
  readonly #bodyBytes: number
  readonly #histogram = new LatencyHistogram()
  readonly #slice = new LatencyHistogram()
  #sequence = 0
  #inFlight = 0
  #isStopping = false
  #errors = 0
  #firstError: string | undefined
  #onIdle: () => void = () => {}

  constructor(client: BenchClient, bodyBytes: number) {
    this.#client = client
    this.#bodyBytes = bodyBytes
  }

  get histogram(): LatencyHistogram {
    return this.#histogram
  }

  get errors(): number {
    return this.#errors
  }

  get firstError(): string | undefined {
    return this.#firstError
  }

  start(concurrency: number): void {
    for (let index = 0; index < concurrency; index++) this.#next()
  }

  /** Begins nothing more. Resolves when all is answered; what is not by then counts as an error. */
  async stop(): Promise<void> {
    this.#isStopping = true
    if (this.#inFlight === 0) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve
      timer = setTimeout(resolve, LAST_ANSWERS_WITHIN_MS)
    })
    clearTimeout(timer)
    for (; this.#inFlight > 0; this.#inFlight--) this.#fail(new Error('never answered'))
  }

  /** What was answered since the last call. */
  takeSlice(): Slice {
    const slice = this.#slice
    const taken = {
      completed: slice.count,
      p50Ms: rounded(slice.quantileMs(0.5), 3),
      p99Ms: rounded(slice.quantileMs(0.99), 3),
      maxMs: rounded(slice.maxMs, 3),
    }
    slice.clear()
    return taken
  }

  #next(): void {
    const body = bodyOf(this.#sequence++, this.#bodyBytes)
    this.#inFlight++
    const sentMs = performance.now()
    this.#client.request(body, (error, reply) => {
      const tookMs = performance.now() - sentMs
      this.#inFlight--
      if (error !== undefined) this.#fail(error)
      else if (reply === undefined || body.compare(reply) !== 0) this.#fail(new Error('the reply is not the request'))
      else {
        this.#histogram.record(tookMs)
        this.#slice.record(tookMs)
      }
      if (this.#isStopping) {
        if (this.#inFlight === 0) this.#onIdle()
      } else this.#next()
    })
  }

  #fail(error: Error): void {
    this.#firstError ??= error.message
    if (++this.#errors > MAX_ERRORS) this.#isStopping = true
  }
}

/** A slow system on a busy machine gets so much longer, at most, until its figures say anything. */
const SLOW_MS = 5_000
const SLOW_STEP_MS = 20

async function untilCompleted(loop: ClosedLoop, requests: number): Promise<void> {
  const giveUpMs = performance.now() + SLOW_MS
  while (loop.histogram.count < requests && loop.errors === 0 && performance.now() < giveUpMs) await wait(SLOW_STEP_MS)
}

/** One measurement: warms up, measures, waits for the last answers. */
export async function measure(client: BenchClient, options: LoadOptions): Promise<LoadResult> {
  const loop = new ClosedLoop(client, options.bodyBytes)
  loop.start(options.concurrency)
  await wait(options.warmupMs)
  // Connections that are made with the first requests are no part of the measurement.
  await untilCompleted(loop, options.concurrency * 2)
  loop.histogram.clear()
  const cpuBefore = cpuOf(options.pids)
  const startMs = performance.now()
  await wait(options.measureMs)
  await untilCompleted(loop, options.concurrency)
  const seconds = (performance.now() - startMs) / 1_000
  const cpuAfter = cpuOf(options.pids)
  const { histogram } = loop
  const result = {
    completed: histogram.count,
    rps: rounded(histogram.count / seconds, 1),
    p50Ms: rounded(histogram.quantileMs(0.5), 4),
    p99Ms: rounded(histogram.quantileMs(0.99), 4),
    p999Ms: rounded(histogram.quantileMs(0.999), 4),
    cpuUs: Object.fromEntries(
      Object.entries(cpuAfter).map(([name, us]) => [
        name,
        rounded((us - (cpuBefore[name] ?? us)) / Math.max(1, histogram.count), 2),
      ]),
    ),
    rssMiB: memoryOf(options.pids),
  }
  await loop.stop()
  return { ...result, errors: loop.errors, firstError: loop.firstError }
}

function cpuOf(pids: LoadOptions['pids']): Record<string, number> {
  return { app: ownCpuMicroseconds(), ...known(pids, cpuMicrosecondsOf) }
}

function memoryOf(pids: LoadOptions['pids']): Record<string, number> {
  return known({ app: process.pid, ...pids }, residentMebibytesOf)
}

function known(pids: LoadOptions['pids'], figureOf: (pid: number) => number | undefined): Record<string, number> {
  return Object.fromEntries(
    Object.entries(pids).flatMap(([name, pid]) => {
      const figure = figureOf(pid)
      return figure === undefined ? [] : [[name, figure]]
    }),
  )
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
