import type { RefusalLog } from '../channel/index.ts'
import {
  DEFAULT_MAX_FRAME_BYTES,
  encodeMap,
  type RequestRecord,
  type ResponseRecord,
  ResponseStatus,
} from '../frames/index.ts'
import type { SessionTokens } from '../message/jwt/index.ts'
import {
  type Clock,
  describeError,
  type ErrorCode,
  failpoint,
  type Logger,
  LsxError,
  toLsxError,
} from '../runtime/index.ts'
import { Admission } from './admission.ts'
import { Execution, type Respond } from './execution.ts'
import { type HandlerError, handlerEndingOf, type InquiryAnswer } from './handler.ts'
import { fulfilmentIn, type IlpReceiver, isOfAnotherPacket } from './ilp-receiver.ts'
import {
  type BeginResult,
  isSameRequest,
  type KnownKey,
  type MaybePromise,
  type OnceOnlyTable,
  requestDigest,
  type StoredResponse,
} from './once-only.ts'
import { PayloadCodec } from './payload.ts'
import { RecentAnswers } from './recent-answers.ts'
import { plainBytesWithin, type RequestSealing } from './request-sealing.ts'
import { ResponseWriter } from './responses.ts'
import type { Routes } from './route.ts'
import { RunningExecutions } from './running-executions.ts'
import { whenSettled } from './when-settled.ts'

export interface Dispatcher {
  /**
   * Takes a request. `respond` is called once, now or later, perhaps after the budget is over; never for a handler that
   * does not come back.
   */
  dispatch(request: RequestRecord, respond: Respond, origin?: RequestOrigin): void
  /**
   * Answers a request that must not be executed: refused with this code, or in doubt where its key was used before, of
   * which nothing more is told.
   */
  refuse(request: RequestRecord, code: ErrorCode, respond: Respond): void
  /** Requests that hold a place of `maxConcurrent`. */
  readonly inFlight: number
  /** What is known here of a key that the once-only table need not know: it runs now, or its method is repeatable. */
  stateOf(key: string): 'begun' | 'done' | undefined
  /** Takes nothing new. Resolves when nothing is in flight; rejects with the signal's reason when that comes first. */
  drain(signal: AbortSignal): Promise<void>
  /** Takes nothing new and tells all handlers to stop. What they still answer is passed on. */
  stop(): void
}

/** Whether a request may be run, once everything else says that it may. */
export interface Authorization {
  asksFor(method: string): boolean
  /** Returns, or resolves, for a request that may pass. Throws LsxError for one that may not. */
  check(bearer: { method: string; idempotencyKey: string; token: unknown }, origin: RequestOrigin): void | Promise<void>
}

/** The channel that a request came over. */
export interface RequestOrigin {
  readonly tokens?: SessionTokens | undefined
}

export interface DispatcherOptions {
  readonly bankCode: string
  readonly routes: Routes
  readonly onceOnly: OnceOnlyTable
  readonly authorization?: Authorization | undefined
  readonly clock: Clock
  readonly logger: Logger
  readonly ilp: IlpReceiver
  readonly sealing: RequestSealing
  /** What is refused as an attack may be. */
  readonly refusals: Pick<RefusalLog, 'record'>
  /** Requests at work at once; more are refused with BUSY. Default 1,024. */
  readonly maxConcurrent?: number
  /** A request with less budget is refused whatever its method. Default 5 ms. */
  readonly minBudgetMs?: number
  /** Of a request and of a response. Default: what the default frame carries. */
  readonly maxPayloadBytes?: number
  /** Repetitions that wait for one running key; more are answered in doubt at once. Default 16. */
  readonly maxRepetitionsWaiting?: number
  /** A handler that has not come back so long after its budget loses its place. Default 5 min. */
  readonly abandonAfterMs?: number
}

/** Header, tag and the other fields of the record, generously. */
const FRAME_OVERHEAD_BYTES = 256

const NEW: BeginResult = { kind: 'new' }

/** A doubt from a time when the method was not repeatable is settled by running it. */
function newUnlessSettled(known: KnownKey | undefined): BeginResult {
  return known === undefined || known.kind === 'inDoubt' ? NEW : known
}

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  return new OnceOnlyDispatcher(options)
}

/**
 * The order of the checks is the point of it. A refusal tells the app that nothing was done, so it must not be given
 * for a key that was used before: each refusal first asks the once-only table, and what that knows is the answer.
 */
class OnceOnlyDispatcher implements Dispatcher {
  readonly #onceOnly: OnceOnlyTable
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #admission: Admission
  readonly #responses: ResponseWriter
  readonly #authorization: Authorization | undefined
  readonly #ilp: IlpReceiver
  readonly #sealing: RequestSealing
  readonly #codec = new PayloadCodec()
  readonly #maxPayloadBytes: number
  readonly #maxRepetitionsWaiting: number
  readonly #running: RunningExecutions
  /** Of repeatable methods. */
  readonly #recent = new RecentAnswers()
  #phase: 'accepting' | 'draining' | 'stopped' = 'accepting'

  constructor(options: DispatcherOptions) {
    this.#onceOnly = options.onceOnly
    this.#authorization = options.authorization
    this.#clock = options.clock
    this.#logger = options.logger
    this.#maxRepetitionsWaiting = options.maxRepetitionsWaiting ?? 16
    this.#running = new RunningExecutions({
      clock: options.clock,
      abandonAfterMs: options.abandonAfterMs ?? 300_000,
      onAbandoned: (execution) => this.#abandon(execution),
    })
    const codec = this.#codec
    const maxPayloadBytes = options.maxPayloadBytes ?? DEFAULT_MAX_FRAME_BYTES - FRAME_OVERHEAD_BYTES
    const { bankCode, routes, clock, logger, ilp, sealing, refusals, maxConcurrent = 1_024, minBudgetMs = 5 } = options
    this.#ilp = ilp
    this.#sealing = sealing
    this.#maxPayloadBytes = maxPayloadBytes
    this.#admission = new Admission({
      bankCode,
      routes,
      clock,
      logger,
      codec,
      maxConcurrent,
      minBudgetMs,
      maxPayloadBytes,
      ilp,
      sealing,
      refusals,
    })
    this.#responses = new ResponseWriter({ codec, maxPayloadBytes })
  }

  get inFlight(): number {
    return this.#running.size
  }

  dispatch(request: RequestRecord, respond: Respond, origin: RequestOrigin = {}): void {
    const twin = this.#running.get(request.key)
    if (twin !== undefined) {
      this.#joinTwin(twin, request, respond)
      return
    }
    const admitted =
      this.#phase === 'accepting'
        ? this.#admission.admit(request, respond, this.#running.size)
        : ('SHUTTING_DOWN' satisfies ErrorCode)
    if (!(admitted instanceof Execution)) {
      this.#refuseUnlessKnown(request, respond, admitted, origin)
      return
    }
    this.#begin(admitted, origin)
  }

  stateOf(key: string): 'begun' | 'done' | undefined {
    if (this.#running.get(key) !== undefined) return 'begun'
    return this.#recent.has(key) ? 'done' : undefined
  }

  refuse(request: RequestRecord, code: ErrorCode, respond: Respond): void {
    whenSettled(
      () => this.stateOf(request.key) ?? this.#onceOnly.find(request.key, requestDigest(request)),
      (known) =>
        this.#send(respond, request.id, known === undefined ? this.#responses.refused(code) : this.#responses.inDoubt),
      (error) => {
        this.#logger.error(
          { idempotencyKey: request.key, error: describeError(error) },
          'the once-only table cannot be read',
        )
        this.#send(respond, request.id, this.#responses.inDoubt)
      },
    )
  }

  drain(signal: AbortSignal): Promise<void> {
    if (this.#phase === 'accepting') this.#phase = 'draining'
    return this.#running.whenIdle(signal)
  }

  stop(): void {
    this.#phase = 'stopped'
    this.#running.stop(new LsxError('SHUTTING_DOWN', 'the xchange is shutting down'))
  }

  /** In the table of the running before the once-only table is asked: a repetition that comes meanwhile joins it. */
  #begin(execution: Execution, origin: RequestOrigin): void {
    const { key: idempotencyKey, method, meta } = execution.invocation
    const authorization = this.#authorization
    if (authorization?.asksFor(method) !== true) {
      this.#beginKey(execution)
      return
    }
    this.#running.add(execution)
    whenSettled(
      () => authorization.check({ method, idempotencyKey, token: meta.token }, origin),
      () => this.#beginKey(execution),
      (error) => this.#notAuthorized(execution, toLsxError(error)),
    )
  }

  /** The key is not begun by this request. Where an earlier one did, that is all that this one is told. */
  #notAuthorized(execution: Execution, error: LsxError): void {
    const { invocation, request } = execution
    invocation.log.warn(
      { audit: true, code: error.code, error: describeError(error) },
      `refused a request: ${error.message}`,
    )
    whenSettled(
      () => this.#recent.find(request.key, request) ?? this.#onceOnly.find(request.key, execution.digest),
      (known) => {
        const code = error.code === 'BUSY' ? 'BUSY' : 'TOKEN_INVALID'
        this.#settle(execution, known === undefined ? this.#responses.refused(code) : this.#responses.inDoubt)
      },
      (failure) => {
        invocation.log.error({ error: describeError(failure) }, 'the once-only table cannot be read')
        this.#settle(execution, this.#responses.inDoubt)
      },
    )
  }

  #beginKey(execution: Execution): void {
    this.#running.add(execution)
    const { key } = execution.request
    const recent = this.#recent.find(key, execution.request)
    if (recent !== undefined) {
      this.#settle(execution, this.#responseFor(recent, execution.request))
      return
    }
    whenSettled(
      () =>
        execution.route.repeatable === true
          ? this.#beginRepeatable(execution)
          : this.#onceOnly.begin(key, execution.digest),
      (result) => this.#keyBegun(execution, result),
      (error) => this.#beginFailed(execution, error),
    )
  }

  /** Nothing is recorded, but a key that the table knows is not run: another request had it, or was told its answer. */
  #beginRepeatable(execution: Execution): MaybePromise<BeginResult> {
    const { key } = execution.request
    if (this.#onceOnly.mayKnow?.(key) === false) return NEW
    const known = this.#onceOnly.find(key, execution.digest)
    return known instanceof Promise ? known.then(newUnlessSettled) : newUnlessSettled(known)
  }

  /** A repetition of a key that runs here waits for the same answer. */
  #joinTwin(twin: Execution, request: RequestRecord, respond: Respond): void {
    if (!isSameRequest(twin.digest, requestDigest(request))) {
      this.#send(respond, request.id, this.#responses.refused('DUPLICATE_MISMATCH'))
    } else if (
      twin.repetitionsWaiting >= this.#maxRepetitionsWaiting ||
      isOfAnotherPacket(request, twin.ilp?.fulfilment)
    ) {
      this.#send(respond, request.id, this.#responses.inDoubt)
    } else {
      twin.addRepetition(request.id, respond)
    }
  }

  #refuseUnlessKnown(request: RequestRecord, respond: Respond, code: ErrorCode, origin: RequestOrigin): void {
    whenSettled(
      () => this.#recent.find(request.key, request) ?? this.#onceOnly.find(request.key, requestDigest(request)),
      (known) => {
        if (known?.kind === 'inDoubt' && code === 'DEADLINE_EXCEEDED' && this.#settleDoubt(request, respond, origin))
          return
        const response = known === undefined ? this.#responses.refused(code) : this.#responseFor(known, request)
        this.#send(respond, request.id, response)
      },
      (error) => {
        this.#logger.error(
          { idempotencyKey: request.key, error: describeError(error) },
          'the once-only table cannot be read',
        )
        this.#send(respond, request.id, this.#responses.inDoubt)
      },
    )
  }

  /**
   * LS asks what became of a key long after the request's own time, and the bank can tell then as well as before. False
   * where the handler cannot be asked.
   */
  #settleDoubt(request: RequestRecord, respond: Respond, origin: RequestOrigin): boolean {
    const twin = this.#running.get(request.key)
    if (twin !== undefined) {
      this.#joinTwin(twin, request, respond)
      return true
    }
    const admitted = this.#admission.admitInquiry(request, respond, this.#running.size)
    if (!(admitted instanceof Execution) || admitted.route.inquire === undefined) return false
    this.#begin(admitted, origin)
    return true
  }

  /** Without running anything. What runs elsewhere on the same table is in doubt for us. */
  #responseFor(known: KnownKey, request: RequestRecord): StoredResponse {
    if (known.kind === 'done') {
      // Not refused: the key was executed. LS would take the proof of another packet for a forgery.
      const isProofOfAnother = isOfAnotherPacket(request, fulfilmentIn(known.response.meta))
      return isProofOfAnother ? this.#responses.inDoubt : known.response
    }
    return known.kind === 'mismatch' ? this.#responses.refused('DUPLICATE_MISMATCH') : this.#responses.inDoubt
  }

  #keyBegun(execution: Execution, result: BeginResult): void {
    if (result.kind === 'new') {
      this.#open(execution, {
        next: () => this.#run(execution),
        failed: () => this.#releaseAndRefuse(execution, 'BAD_REQUEST'),
      })
    } else if (result.kind !== 'inDoubt') this.#settle(execution, this.#responseFor(result, execution.request))
    else if (execution.route.inquire === undefined || result.isOtherPacket === true)
      this.#finish(execution, this.#responses.inDoubt)
    else {
      const { inquire } = execution.route
      this.#open(execution, {
        next: () => this.#inquire(execution, inquire),
        // Begun before: that it cannot be opened now is no news of what became of it.
        failed: () => this.#finish(execution, this.#responses.inDoubt),
      })
    }
  }

  /** A sealed request is opened when it is certain that it goes on. That takes a while, and leaves the event loop free. */
  #open(execution: Execution, { next, failed }: { next: () => void; failed: () => void }): void {
    const { sealed } = execution
    if (sealed === undefined) {
      next()
      return
    }
    whenSettled(
      async () => {
        const opened = await this.#sealing.open(sealed)
        execution.payload = this.#codec.decode(opened.payload, undefined)
        execution.opened = opened
      },
      next,
      (error) => {
        execution.invocation.log.warn({ error: describeError(error) }, 'a sealed request cannot be opened')
        failed()
      },
    )
  }

  #beginFailed(execution: Execution, error: unknown): void {
    execution.invocation.log.error({ error: describeError(error) }, 'the once-only table cannot record the key')
    const full = error instanceof LsxError && error.code === 'STORE_FULL'
    this.#settle(execution, full ? this.#responses.refused('STORE_FULL') : this.#responses.inDoubt)
  }

  #inquire(execution: Execution, inquire: (key: string) => Promise<InquiryAnswer>): void {
    whenSettled(
      () => inquire(execution.invocation.key),
      (answer) => {
        // The bank's code need not be TypeScript: what is neither true nor false settles nothing.
        if (answer?.done === true) this.#answerOk(execution, answer.payload, answer.doneAtMs)
        else if (answer?.done === false) this.#run(execution)
        else this.#finish(execution, this.#responses.inDoubt)
      },
      (error) => {
        execution.invocation.log.error({ error: describeError(error) }, 'the inquiry about a key in doubt failed')
        this.#finish(execution, this.#responses.inDoubt)
      },
    )
  }

  #run(execution: Execution): void {
    const { invocation, route, payload } = execution
    // The once-only table or the inquiry may have taken the budget, and the xchange may have stopped meanwhile.
    if (this.#phase === 'stopped') {
      this.#releaseAndRefuse(execution, 'SHUTTING_DOWN')
      return
    }
    if (!this.#admission.hasTimeFor(execution)) {
      this.#releaseAndRefuse(execution, 'DEADLINE_EXCEEDED')
      return
    }
    const startedMs = this.#clock.monotonicMs()
    failpoint('handler-begin:before')
    whenSettled(
      () => {
        const answer = route.handler(payload, invocation)
        failpoint('handler-begin:after')
        return answer
      },
      (value) => {
        this.#admission.learn(execution, startedMs)
        this.#answerOk(execution, value)
      },
      (error) => {
        // A system that cannot be reached says nothing about how long its work takes.
        if (handlerEndingOf(error) !== 'notReached') this.#admission.learn(execution, startedMs)
        this.#handlerThrew(execution, error)
      },
    )
  }

  /** With the fulfilment, where the request had a packet. One that comes too late says so itself, by its time. */
  #answerOk(execution: Execution, value: unknown, doneAtMs?: number): void {
    const { ilp, invocation } = execution
    const response = this.#responses.ok(value, invocation, this.#maxAnswerBytes(execution))
    if (ilp === undefined) this.#answer(execution, response, undefined)
    else if (response.status === ResponseStatus.ok) this.#answer(execution, response, this.#ilp.fulfil(ilp, doneAtMs))
    // The transfer was made, and its answer cannot be carried: as a failure it would be taken for one that was not.
    else this.#finish(execution, this.#responses.inDoubt)
  }

  #answerFailed(execution: Execution, code: string, message: string, body?: unknown): void {
    const { invocation } = execution
    const maxBytes = this.#maxAnswerBytes(execution)
    this.#answer(execution, this.#responses.failed(code, message, body, invocation, maxBytes), undefined)
  }

  /** What the handler has to say, sealed where the request was. */
  #answer(execution: Execution, response: StoredResponse, ilp: Record<string, unknown> | undefined): void {
    const { opened } = execution
    if (opened === undefined) {
      this.#finish(execution, ilp === undefined ? response : { ...response, meta: encodeMap({ ilp }) })
      return
    }
    whenSettled(
      () => this.#sealing.seal(response, opened),
      ({ status, payload, type }) => this.#finish(execution, { status, payload, meta: encodeMap({ type, ilp }) }),
      (error) => {
        execution.invocation.log.error({ error: describeError(error) }, 'an answer cannot be sealed to the app')
        this.#finish(execution, this.#responses.inDoubt)
      },
    )
  }

  #maxAnswerBytes({ opened }: Execution): number {
    return opened === undefined ? this.#maxPayloadBytes : plainBytesWithin(this.#maxPayloadBytes)
  }

  #handlerThrew(execution: Execution, error: unknown): void {
    const { invocation } = execution
    switch (handlerEndingOf(error)) {
      case 'failed': {
        const { code, message, body } = error as HandlerError
        this.#answerFailed(execution, code, message, body)
        return
      }
      case 'notReached':
        invocation.log.warn({ error: describeError(error) }, "the bank's system was not reached")
        this.#releaseAndRefuse(execution, 'BUSY')
        return
      case 'inDoubt':
        invocation.log.error({ error: describeError(error) }, 'the outcome of a request is not known')
        this.#finish(execution, this.#responses.inDoubt)
        return
      default:
        if (invocation.toldToStop) {
          invocation.log.error({ error: describeError(error) }, 'a handler stopped before its end when it was told to')
          this.#finish(execution, this.#responses.inDoubt)
        } else {
          invocation.log.error({ error: describeError(error) }, 'a handler failed')
          this.#answerFailed(execution, 'HANDLER_FAILED', 'the handler failed')
        }
    }
  }

  #releaseAndRefuse(execution: Execution, code: ErrorCode): void {
    const refuse = () => this.#settle(execution, this.#responses.refused(code))
    if (execution.route.repeatable === true) {
      refuse()
      return
    }
    whenSettled(
      () => this.#onceOnly.release(execution.invocation.key),
      refuse,
      (error) => {
        execution.invocation.log.error({ error: describeError(error) }, 'the once-only table cannot release the key')
        refuse()
      },
    )
  }

  /** Keeps the response, then sends it: an answer that a repetition would not get again must not leave. */
  #finish(execution: Execution, response: StoredResponse): void {
    if (execution.route.repeatable === true) {
      if (response.status !== ResponseStatus.inDoubt)
        this.#recent.keep(execution.request.key, execution.request, response)
      this.#settle(execution, response)
      return
    }
    const settle = () => {
      failpoint('handler-end:after')
      this.#settle(execution, response)
    }
    failpoint('handler-end:before')
    whenSettled(
      () => this.#onceOnly.finish(execution.invocation.key, response),
      settle,
      (error) => {
        // The handler did its work, and its answer is the truth; a repetition of the key will be in doubt.
        execution.invocation.log.error({ error: describeError(error) }, 'the once-only table cannot keep the response')
        settle()
      },
    )
  }

  #settle(execution: Execution, response: StoredResponse): void {
    execution.invocation.close()
    this.#running.remove(execution)
    execution.forEachWaiting((requestId, respond) => this.#send(respond, requestId, response))
  }

  #send(respond: Respond, requestId: number, response: StoredResponse): void {
    const record: ResponseRecord = {
      id: requestId,
      status: response.status,
      payload: response.payload,
      meta: response.meta,
    }
    try {
      respond(record)
    } catch (error) {
      this.#logger.error({ error: describeError(error) }, 'a response could not be handed to the channel')
    }
  }

  /** Should the handler come back after all, its answer is still used. */
  #abandon(execution: Execution): void {
    const { invocation } = execution
    invocation.log.error(
      { overdueMs: Math.round(this.#clock.monotonicMs() - invocation.deadlineMs) },
      'a handler does not come back; its place is given to others and its key is in doubt',
    )
    if (execution.route.repeatable === true) return
    whenSettled(
      () => this.#onceOnly.finish(invocation.key, this.#responses.inDoubt),
      () => {},
      (error) => invocation.log.error({ error: describeError(error) }, 'the once-only table cannot keep the response'),
    )
  }
}
