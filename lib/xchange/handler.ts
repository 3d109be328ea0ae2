import type { Logger } from '../runtime/index.ts'

/** An ILP packet that the bank is asked to fulfil. */
export interface IlpTransfer {
  readonly version: 1 | 4
  /** In the smallest unit of the currency. 0 where LS made the packet and the app named no amount. */
  readonly amount: bigint
  /** ILP address. */
  readonly destination: string
  /** Unix ms. */
  readonly expiresAtMs: number
  /** The whole packet. */
  readonly packet: Buffer
  /** 32 bytes. */
  readonly condition: Buffer
}

/** What a handler gets to know about the request it serves. */
export interface HandlerContext {
  /** Idempotency key, 1-64 characters; the same for every repetition of one request. */
  readonly key: string
  readonly method: string
  /** The bank that this xchange serves. */
  readonly bankCode: string
  /** When the answer is due, on the `monotonicMs` clock. What comes later is still delivered, as a late answer. */
  readonly deadlineMs: number
  /** Aborts when the budget is over or the xchange shuts down; the reason says which. */
  readonly signal: AbortSignal
  /** What travelled beside the payload: traceparent and the like. */
  readonly meta: Readonly<Record<string, unknown>>
  /**
   * The ILP packet that an answer will fulfil. It was checked: it is not expired, and this bank can meet its condition.
   * Whether it is about what the payload asks for, such as its amount, is for the handler to check.
   */
  readonly ilp: IlpTransfer | undefined
  /** Writes with the method and the idempotency key. */
  readonly log: Logger
  /** Wall time, Unix ms. */
  nowMs(): number
  /** A clock that never jumps, ms: compare with `deadlineMs`. */
  monotonicMs(): number
}

/**
 * Serves one method. Returns what the app shall get (anything that msgpack carries; dates travel as ISO text), or
 * throws: HandlerError for an answer of its own that is an error, NotReachedError when nothing was begun, InDoubtError
 * when nobody can say. Anything else thrown is HANDLER_FAILED to the app, with the details in the log only; thrown
 * after `signal` aborted it leaves the request in doubt, because what was interrupted may have taken effect.
 *
 * @param payload decoded msgpack; the bytes themselves when `meta.type` names another format
 */
export type Handler = (payload: unknown, context: HandlerContext) => unknown

/**
 * What the bank's system knows of a key that was begun and whose end is not known.
 * `done: true` settles it with this payload. `done: false` promises that it did not happen and will not: a repetition
 * is then run. `undefined` leaves it in doubt.
 */
export type InquiryAnswer =
  | {
      readonly done: true
      readonly payload: unknown
      /** When it was done, Unix ms, where the bank's system knows: tells whether an ILP packet was fulfilled in time. */
      readonly doneAtMs?: number
    }
  | { readonly done: false }
  | undefined

export interface HandlerModuleOptions {
  readonly bankCode: string
  readonly log: Logger
}

/** What a bank's own module exports by default, itself or as the result of a function of HandlerModuleOptions. */
export interface HandlerModule {
  /** By method name: 1-64 characters of `A-Za-z0-9._:/-`. */
  readonly methods: Readonly<Record<string, Handler>>
  /**
   * How long a method takes, ms. A request with a smaller budget is refused. Where nothing is said it is learned;
   * 0 turns it off, for a method whose duration depends on its input.
   */
  readonly expectedMs?: Readonly<Record<string, number>>
  /**
   * Methods that may run twice without harm: inquiries, which change nothing. Their keys are remembered in memory and not
   * on disk, which is several times quicker; after a restart a repeated key runs again. All others run a key once, also
   * through crashes.
   */
  readonly repeatable?: readonly string[]
  inquire?(key: string): Promise<InquiryAnswer>
  /** Called before the first request. A rejection keeps the xchange from starting. */
  start?(options: HandlerModuleOptions): Promise<void>
  /** Called after the last request. */
  stop?(): Promise<void>
}

export type HandlerModuleFactory = (options: HandlerModuleOptions) => HandlerModule | Promise<HandlerModule>

/** Returns the module as it is: gives an author the types. */
export function defineHandlers(module: HandlerModule): HandlerModule {
  return module
}

/**
 * Marks the errors below. A registered symbol and not `instanceof`, because a bank's module may come with its own copy
 * of this package.
 */
const ENDING: unique symbol = Symbol.for('ls-xchange.handler.ending')

export type HandlerEnding = 'failed' | 'notReached' | 'inDoubt'

/** The bank's own error: the app gets `{code, message, ...body}` as an answer with status failed. */
export class HandlerError extends Error {
  readonly [ENDING] = 'failed' satisfies HandlerEnding
  readonly code: string
  readonly body: unknown

  constructor(code: string, message: string, body?: unknown) {
    super(message)
    this.name = 'HandlerError'
    this.code = code
    this.body = body
  }
}

/** The bank's system was never reached and nothing was begun: the app is refused and may try again. */
export class NotReachedError extends Error {
  readonly [ENDING] = 'notReached' satisfies HandlerEnding

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'NotReachedError'
  }
}

/** Begun, and nobody can say how it ended: the app must ask again with the same key only. */
export class InDoubtError extends Error {
  readonly [ENDING] = 'inDoubt' satisfies HandlerEnding

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'InDoubtError'
  }
}

/** Which of the three errors above this is, or undefined for any other value. */
export function handlerEndingOf(thrown: unknown): HandlerEnding | undefined {
  if (typeof thrown !== 'object' || thrown === null) return undefined
  const ending: unknown = Reflect.get(thrown, ENDING)
  return ending === 'failed' || ending === 'notReached' || ending === 'inDoubt' ? ending : undefined
}
