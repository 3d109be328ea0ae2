import type { RefusalLog } from '../channel/index.ts'
import { decodeMeta, type RequestRecord } from '../frames/index.ts'
import { type Clock, describeError, type ErrorCode, type Logger, toLsxError } from '../runtime/index.ts'
import { Execution, type Respond } from './execution.ts'
import { ExpectedDuration } from './expected-duration.ts'
import type { IlpReceiver } from './ilp-receiver.ts'
import { Invocation, type InvocationEnvironment, invocationEnvironment } from './invocation.ts'
import type { PayloadCodec } from './payload.ts'
import type { RequestSealing } from './request-sealing.ts'
import type { Route, Routes } from './route.ts'

export interface AdmissionOptions {
  readonly bankCode: string
  readonly routes: Routes
  readonly clock: Clock
  readonly logger: Logger
  readonly codec: PayloadCodec
  readonly maxConcurrent: number
  readonly minBudgetMs: number
  readonly maxPayloadBytes: number
  readonly ilp: IlpReceiver
  readonly sealing: RequestSealing
  readonly refusals: Pick<RefusalLog, 'record'>
}

/** setTimeout fires at once beyond 2^31 ms, and no app may ask for more than 10 minutes. */
const MAX_BUDGET_MS = 600_000
const NO_META: Readonly<Record<string, unknown>> = Object.freeze({})

/** Decides whether a request is worth beginning, cheapest question first, and learns how long each method takes. */
export class Admission {
  readonly #options: AdmissionOptions
  readonly #environment: InvocationEnvironment
  readonly #learned = new Map<string, ExpectedDuration>()

  constructor(options: AdmissionOptions) {
    this.#options = options
    this.#environment = invocationEnvironment(options)
  }

  /** The request ready to run, or why it is refused. */
  admit(request: RequestRecord, respond: Respond, inFlight: number): Execution | ErrorCode {
    return this.#admit(request, respond, inFlight, 'execution')
  }

  /** The same for a key in doubt that its handler is asked about: that takes none of the method's time. */
  admitInquiry(request: RequestRecord, respond: Respond, inFlight: number): Execution | ErrorCode {
    return this.#admit(request, respond, inFlight, 'inquiry')
  }

  #admit(
    request: RequestRecord,
    respond: Respond,
    inFlight: number,
    purpose: 'execution' | 'inquiry',
  ): Execution | ErrorCode {
    const { routes, clock, codec, ilp, sealing, maxConcurrent, maxPayloadBytes } = this.#options
    const route = routes.get(request.method)
    if (route === undefined) return 'UNKNOWN_METHOD'
    if (inFlight >= maxConcurrent) return 'BUSY'
    const receivedMs = clock.monotonicMs()
    // BEY-3: work that cannot be finished in time is not begun.
    if (purpose === 'execution' && request.budgetMs < this.#neededMs(request.method, route, receivedMs))
      return 'DEADLINE_EXCEEDED'
    if (request.payload.byteLength > maxPayloadBytes) return 'TOO_LARGE'
    try {
      const meta = request.meta === undefined ? NO_META : decodeMeta(request.meta)
      const sealed = sealing.accept(request, meta.type)
      // A replay of what the once-only table has forgotten since.
      if (purpose === 'execution' && sealed !== undefined && sealing.isTooOld(sealed)) return 'DEADLINE_EXCEEDED'
      const payload = sealed === undefined ? codec.decode(request.payload, meta.type) : undefined
      const accepted = ilp.accept(request, meta.ilp)
      let budgetMs = Math.min(request.budgetMs, MAX_BUDGET_MS)
      if (accepted !== undefined) {
        const leftMs = ilp.leftMs(accepted)
        // A transfer is not begun that could not be proven in time.
        if (purpose === 'execution' && leftMs < this.#neededMs(request.method, route, receivedMs))
          return 'DEADLINE_EXCEEDED'
        budgetMs = Math.min(budgetMs, leftMs)
      }
      const invocation = new Invocation(this.#environment, request, receivedMs + budgetMs, meta, accepted?.transfer)
      return new Execution(request, respond, { route, payload, invocation, ilp: accepted, sealed })
    } catch (thrown) {
      const error = toLsxError(thrown, 'BAD_REQUEST')
      this.#options.logger.info(
        { idempotencyKey: request.key, method: request.method, error: describeError(error) },
        'refused a request whose payload or meta cannot be taken',
      )
      if (error.code !== 'FULFILMENT_INVALID') return 'BAD_REQUEST'
      this.#options.refusals.record(error, { method: request.method, idempotencyKey: request.key })
      return error.code
    }
  }

  /** True while enough of the budget is left to begin. */
  hasTimeFor(execution: Execution): boolean {
    return execution.invocation.deadlineMs - this.#options.clock.monotonicMs() >= this.#options.minBudgetMs
  }

  /** Counts a run that began at `startedMs` (monotonic) and is over now. */
  learn(execution: Execution, startedMs: number): void {
    if (execution.route.expectedMs !== undefined) return
    const { method } = execution.invocation
    let learned = this.#learned.get(method)
    if (learned === undefined) {
      learned = new ExpectedDuration()
      this.#learned.set(method, learned)
    }
    const nowMs = this.#options.clock.monotonicMs()
    learned.add(nowMs - startedMs, nowMs)
  }

  #neededMs(method: string, route: Route, nowMs: number): number {
    const expectedMs = route.expectedMs ?? this.#learned.get(method)?.expectedMs(nowMs) ?? 0
    return Math.max(this.#options.minBudgetMs, expectedMs)
  }
}
