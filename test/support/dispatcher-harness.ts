import { unpack } from 'msgpackr'
import { RefusalLog } from '../../lib/channel/index.ts'
import { decodeMeta, type RequestRecord, type ResponseRecord, ResponseStatus } from '../../lib/frames/index.ts'
import { silentLogger } from '../../lib/runtime/index.ts'
import { createDispatcher, type Dispatcher, type DispatcherOptions } from '../../lib/xchange/dispatcher.ts'
import type { Handler } from '../../lib/xchange/handler.ts'
import { IlpReceiver } from '../../lib/xchange/ilp-receiver.ts'
import { MemoryOnceOnlyTable } from '../../lib/xchange/once-only.ts'
import { PayloadCodec } from '../../lib/xchange/payload.ts'
import { RequestSealing } from '../../lib/xchange/request-sealing.ts'
import type { Route } from '../../lib/xchange/route.ts'
import { VirtualClock } from './virtual-clock.ts'

const codec = new PayloadCodec()

/** A response as a test wants to see it. */
export interface SeenResponse {
  readonly id: number
  readonly status: keyof typeof ResponseStatus
  readonly value: unknown
  /** Of a refusal or an answer in doubt. */
  readonly code: unknown
}

export function requestOf(fields: {
  id?: number
  key?: string
  method: string
  payload?: unknown
  bytes?: Buffer
  budgetMs?: number
  meta?: Buffer
}): RequestRecord {
  return {
    id: fields.id ?? 1,
    key: fields.key ?? `key-${fields.id ?? 1}`,
    method: fields.method,
    budgetMs: fields.budgetMs ?? 1_000,
    payload: fields.bytes ?? codec.encode(fields.payload ?? {}),
    meta: fields.meta,
  }
}

export function seen(response: ResponseRecord): SeenResponse {
  const named = Object.entries(ResponseStatus).find(([, status]) => status === response.status)
  return {
    id: response.id,
    status: named?.[0] as keyof typeof ResponseStatus,
    value: response.payload.byteLength === 0 ? undefined : unpack(response.payload),
    code: decodeMeta(response.meta).code,
  }
}

/** A dispatcher on virtual time, with everything that it answered. */
export class DispatcherHarness {
  readonly clock = new VirtualClock()
  readonly onceOnly: MemoryOnceOnlyTable
  readonly dispatcher: Dispatcher
  readonly responses: SeenResponse[] = []

  constructor(routes: Record<string, Handler | Route>, options: Partial<DispatcherOptions> = {}) {
    const { clock } = this
    this.onceOnly = new MemoryOnceOnlyTable({ clock, logger: silentLogger, maxEntries: 1_000 })
    this.dispatcher = createDispatcher({
      bankCode: '044',
      routes: new Map(
        Object.entries(routes).map(([method, route]) => [
          method,
          typeof route === 'function' ? { handler: route } : route,
        ]),
      ),
      onceOnly: this.onceOnly,
      clock,
      logger: silentLogger,
      ilp: new IlpReceiver({ methods: new Set(), secrets: [], clockSkewMs: 0 }, { bankCode: '044', clock }),
      sealing: new RequestSealing(
        { keys: new Map(), requiredMethods: new Set(), minRsaBits: 2_048, maxAgeMs: 3_600_000 },
        { bankCode: '044', clock, refusals: new RefusalLog(silentLogger, clock) },
      ),
      refusals: new RefusalLog(silentLogger, clock),
      ...options,
    })
  }

  send(fields: Parameters<typeof requestOf>[0]): void {
    this.dispatcher.dispatch(requestOf(fields), (response) => this.responses.push(seen(response)))
  }

  /** Sends, and returns the answer when it comes. */
  ask(fields: Parameters<typeof requestOf>[0]): Promise<SeenResponse> {
    return new Promise((resolve) => {
      this.dispatcher.dispatch(requestOf(fields), (response) => {
        this.responses.push(seen(response))
        resolve(seen(response))
      })
    })
  }
}

/** A promise and the functions that settle it. */
export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } {
  let resolve: (value: T) => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}
