import { connect } from '../../lib/ipc/index.ts'
import { LatencyHistogram } from '../../lib/runtime/index.ts'
import { rounded } from '../process-usage.ts'

export interface TrafficOptions {
  readonly socketPath: string
  readonly codes: readonly string[]
  readonly concurrency: number
  readonly forMs: number
  /** A bank that answers nobody gets so many requests at a time too. */
  readonly failing?: { readonly code: string; readonly concurrency: number; readonly timeoutMs: number }
}

export interface TrafficResult {
  readonly rps: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly errors: number
  readonly firstError: string | undefined
}

const BODY = Buffer.alloc(256, 0x5a)

/** Requests to all banks in turn, for a while; with some to the failing bank beside them, whose end nobody counts. */
export async function traffic(options: TrafficOptions): Promise<TrafficResult> {
  const { codes, concurrency, forMs, failing } = options
  const ls = await connect(options.socketPath)
  const histogram = new LatencyHistogram()
  const startMs = performance.now()
  const endMs = startMs + forMs
  let next = 0
  let errors = 0
  let firstError: string | undefined
  const caller = async () => {
    while (performance.now() < endMs) {
      const to = codes[next++ % codes.length] ?? ''
      const sentMs = performance.now()
      const { outcome, code, message, payload } = await ls.request({ to, method: 'echo', payload: BODY })
      if (outcome === 'answered' && Buffer.isBuffer(payload) && payload.equals(BODY)) {
        histogram.record(performance.now() - sentMs)
        continue
      }
      errors++
      firstError ??= `${to}: ${outcome} ${code ?? ''} ${message ?? ''}`
    }
  }
  const nuisance = async (code: string, timeoutMs: number) => {
    while (performance.now() < endMs) await ls.request({ to: code, method: 'echo', payload: BODY, timeoutMs })
  }
  await Promise.all([
    ...Array.from({ length: concurrency }, caller),
    ...Array.from({ length: failing?.concurrency ?? 0 }, () => nuisance(failing?.code ?? '', failing?.timeoutMs ?? 0)),
  ])
  const seconds = (performance.now() - startMs) / 1_000
  await ls.close()
  return {
    rps: Math.round(histogram.count / seconds),
    p50Ms: rounded(histogram.quantileMs(0.5), 3),
    p99Ms: rounded(histogram.quantileMs(0.99), 3),
    errors,
    firstError,
  }
}
