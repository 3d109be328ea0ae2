import { type Clock, type Logger, LsxError, type TimerHandle } from '../runtime/index.ts'
import type { HandlerContext, IlpTransfer } from './handler.ts'

/** What all invocations of a dispatcher share; made once. */
export interface InvocationEnvironment {
  readonly bankCode: string
  readonly clock: Clock
  readonly logger: Logger
  readonly nowMs: () => number
  readonly monotonicMs: () => number
}

export function invocationEnvironment(options: {
  bankCode: string
  clock: Clock
  logger: Logger
}): InvocationEnvironment {
  const { bankCode, clock, logger } = options
  return { bankCode, clock, logger, nowMs: () => clock.nowMs(), monotonicMs: () => clock.monotonicMs() }
}

/**
 * The context of one run of a handler. Signal, timer and child logger are made when the handler first asks for them:
 * most handlers never do, and they would cost more than the rest of the dispatch.
 */
export class Invocation implements HandlerContext {
  readonly key: string
  readonly method: string
  readonly bankCode: string
  readonly deadlineMs: number
  readonly meta: Readonly<Record<string, unknown>>
  readonly ilp: IlpTransfer | undefined
  // Properties and not methods, so that a handler may take them out of the context.
  readonly nowMs: () => number
  readonly monotonicMs: () => number
  readonly #environment: InvocationEnvironment
  #controller: AbortController | undefined
  #timer: TimerHandle | undefined
  #log: Logger | undefined
  #abortReason: LsxError | undefined
  #closed = false

  constructor(
    environment: InvocationEnvironment,
    request: { readonly key: string; readonly method: string },
    deadlineMs: number,
    meta: Readonly<Record<string, unknown>>,
    ilp: IlpTransfer | undefined,
  ) {
    this.key = request.key
    this.method = request.method
    this.bankCode = environment.bankCode
    this.deadlineMs = deadlineMs
    this.meta = meta
    this.ilp = ilp
    this.nowMs = environment.nowMs
    this.monotonicMs = environment.monotonicMs
    this.#environment = environment
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason)
      else if (!this.#closed) this.#watchDeadline(this.#controller)
    }
    return this.#controller.signal
  }

  get log(): Logger {
    this.#log ??= this.#environment.logger.child({ method: this.method, idempotencyKey: this.key })
    return this.#log
  }

  /** True when the handler was told to stop. One that never looked at its signal was not told. */
  get toldToStop(): boolean {
    return this.#controller?.signal.aborted === true
  }

  abort(reason: LsxError): void {
    this.#abortReason ??= reason
    this.#controller?.abort(this.#abortReason)
    this.#cancelTimer()
  }

  /** The handler is done: nothing aborts any more, and the timer is released. */
  close(): void {
    this.#closed = true
    this.#cancelTimer()
  }

  #watchDeadline(controller: AbortController): void {
    const leftMs = this.deadlineMs - this.monotonicMs()
    if (leftMs <= 0) controller.abort(budgetOver())
    else this.#timer = this.#environment.clock.startTimer(leftMs, () => this.abort(budgetOver()))
  }

  #cancelTimer(): void {
    if (this.#timer === undefined) return
    this.#environment.clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }
}

function budgetOver(): LsxError {
  return new LsxError('DEADLINE_EXCEEDED', 'the budget of the request is over')
}
