import { isDeepStrictEqual } from 'node:util'
import { encodePayload, type LsClient, type Outcome } from '../ipc/index.ts'
import { type Clock, LatencyHistogram, LsxError } from '../runtime/index.ts'

export interface LoopOptions {
  readonly to: string
  readonly method: string
  readonly payloadBytes: Buffer
  /** Where the bank is to give back what it was sent: that value. Anything else is an answer with an error. */
  readonly echoOf?: unknown
  /** Undefined: as the configuration says. */
  readonly durable: boolean | undefined
  readonly timeoutMs: number
  readonly concurrency: number
  readonly durationMs: number
  /** Ends the run before its time. */
  readonly signal: AbortSignal
}

/** How one request ended; `code` is undefined for an answer without error. */
export interface Ending {
  readonly outcome: Outcome
  readonly code: string | undefined
  readonly message: string | undefined
}

export interface EndingCount extends Ending {
  readonly count: number
}

export interface LoopResult {
  /** Of the requests that were answered without an error. */
  readonly latency: LatencyHistogram
  /** All others, by outcome and code; `message` is that of the first. */
  readonly failures: readonly EndingCount[]
  readonly elapsedMs: number
}

/** Outcomes times codes that LS can give are fewer; beyond this they are counted together. */
const MAX_KINDS = 64

/**
 * Keeps so many requests in flight for so long; each one that ends makes room for the next. Holds two fixed tables and
 * what is in flight, whatever the duration. Rejects when the connection to lsd ends.
 */
export async function runClosedLoop(client: LsClient, clock: Clock, options: LoopOptions): Promise<LoopResult> {
  const { concurrency, durationMs, signal } = options
  const latency = new LatencyHistogram()
  const failures = new Map<string, { ending: Ending; count: number }>()
  const startMs = clock.monotonicMs()
  const endMs = startMs + durationMs
  const caller = async (): Promise<void> => {
    while (!signal.aborted && clock.monotonicMs() < endMs) {
      const askedMs = clock.monotonicMs()
      const ending = await askOnce(client, options)
      if (ending === undefined) return
      if (isGood(ending)) latency.record(clock.monotonicMs() - askedMs)
      else count(failures, ending)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, caller))
  return {
    latency,
    failures: [...failures.values()]
      .map(({ ending, count }) => ({ ...ending, count }))
      .sort((a, b) => b.count - a.count),
    elapsedMs: clock.monotonicMs() - startMs,
  }
}

export function isGood({ outcome, code }: Ending): boolean {
  return outcome === 'answered' && code === undefined
}

/** Undefined for a request that was interrupted. Rejects when the connection to lsd has ended. */
export async function askOnce(client: LsClient, options: LoopOptions): Promise<Ending | undefined> {
  const { to, method, payloadBytes, timeoutMs, durable, echoOf, signal } = options
  try {
    const { outcome, code, message, ...reply } = await client.request({
      to,
      method,
      payloadBytes,
      timeoutMs,
      signal,
      ...(durable === undefined ? {} : { durable }),
    })
    const isWrong =
      echoOf !== undefined && isGood({ outcome, code, message }) && !isDeepStrictEqual(reply.payload, echoOf)
    if (isWrong) return { outcome, code: 'HANDLER_FAILED', message: 'the answer is not what was sent' }
    return { outcome, code, message }
  } catch (error) {
    if (signal.aborted) return undefined
    // Whatever was in flight: to this command it means that lsd has gone.
    if (client.closed) throw new LsxError('CHANNEL_DOWN', 'the connection to lsd ended', { cause: error })
    if (!(error instanceof LsxError)) throw error
    const { code, message } = error
    if (code === 'IN_DOUBT') return { outcome: 'in-doubt', code, message }
    if (code === 'BUSY' || code === 'TOO_LARGE') return { outcome: 'refused', code, message }
    throw error
  }
}

function count(failures: Map<string, { ending: Ending; count: number }>, ending: Ending): void {
  const named = `${ending.outcome} ${ending.code ?? ''}`
  const kind = failures.has(named) || failures.size < MAX_KINDS ? named : 'others'
  const known = failures.get(kind)
  if (known === undefined) failures.set(kind, { ending, count: 1 })
  else known.count++
}

/** The payload as msgpack; padded to `bodyBytes` with a field `pad`, where that is asked for and it is shorter. */
export function paddedPayload(payload: unknown, bodyBytes: number | undefined): Buffer {
  const bare = encodePayload(payload)
  if (bodyBytes === undefined || bare.length >= bodyBytes) return bare
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload) || 'pad' in payload) {
    throw new LsxError('BAD_REQUEST', 'only an object without a field `pad` can be brought to a size')
  }
  const padded = (characters: number) => encodePayload({ ...payload, pad: 'x'.repeat(Math.max(0, characters)) })
  // The head of a text grows with it, by up to 4 bytes: so the first guess is long rather than short.
  let characters = bodyBytes - bare.length
  let bytes = padded(characters)
  for (; bytes.length > bodyBytes && characters > 0; bytes = padded(characters)) characters -= bytes.length - bodyBytes
  return bytes
}
