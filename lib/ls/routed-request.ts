import { ChannelRequest } from '../channel/index.ts'
import { conditionOf, type IlpTerms } from '../message/ilp/index.ts'
import type { SignedRequest } from '../message/jws/index.ts'
import type { ErrorCode } from '../runtime/index.ts'

/** Who asked: the part of an app's connection that routing needs. */
export interface Asker {
  readonly closed: boolean
  reply(message: Record<string, unknown>): void
}

/** One who waits for a request's outcome. */
interface Waiter {
  readonly asker: Asker
  readonly askerId: number | string
  readonly sinceMs: number
  /** Wants to hear of an outcome that comes after `in-doubt`. */
  readonly wantsLate: boolean
}

/** What LS must know of a request's ILP packet when the answer comes. */
export interface RequestIlp extends IlpTerms {
  /** The packet where LS made it: the app gets it with the proof. */
  readonly madePacket: Buffer | undefined
}

export type Outcome = 'answered' | 'refused' | 'not-sent' | 'in-doubt'

/** How a request ended. */
export interface Settlement {
  readonly outcome: Outcome
  readonly code?: ErrorCode | undefined
  /** msgpack, from the bank's handler. */
  readonly payload?: Buffer | undefined
  /** What the payload is, where it is not msgpack. */
  readonly type?: string | undefined
  /** Proves an answer to a request that had an ILP packet; checked. */
  readonly fulfilment?: Buffer | undefined
  /** For people. */
  readonly message?: string | undefined
}

export interface RequestParts {
  readonly asker: Asker
  readonly askerId: number | string
  readonly bankCode: string
  readonly key: string
  readonly method: string
  readonly payload: Buffer
  /** Encoded map, for the bank's node. */
  readonly meta?: Buffer | undefined
  readonly ilp?: RequestIlp | undefined
  /** Monotonic ms. */
  readonly acceptedAtMs: number
  readonly timeoutMs: number
  readonly durable?: boolean
  readonly wantsLate?: boolean
}

/** Apps that ask again with the key of a durable request that is still open; more are refused with BUSY. */
export const MAX_WAITERS = 16

/** What a waiter is told. */
type News = Omit<Settlement, 'outcome'> & { readonly outcome: Outcome | 'pending' }

const NO_WAITERS: readonly Waiter[] = []
const NOBODY: Asker = { closed: true, reply: () => {} }

/**
 * One request of an app on its way through LS.
 *
 *   open ──answered, refused, not-sent──> settled
 *     └──in-doubt──> inDoubt ──answered, refused, not-sent──> settled
 *
 * Its app hears exactly one outcome; one that comes after `in-doubt` reaches it as an event, if it asked for that.
 */
export class RoutedRequest extends ChannelRequest {
  readonly bankCode: string
  readonly acceptedAtMs: number
  readonly durable: boolean
  readonly ilp: RequestIlp | undefined
  /** What was signed of it, each time that it was sent, the newest last. */
  signed: readonly SignedRequest[] | undefined = undefined
  #state: 'open' | 'inDoubt' | 'settled' = 'open'
  #settlement: Settlement | undefined
  /** Who asked, which is one as a rule; whoever asked again with the same key is among `#joined`. */
  #waiter: Waiter | undefined
  #joined: readonly Waiter[] = NO_WAITERS

  constructor(parts: RequestParts) {
    super(parts, parts.acceptedAtMs + parts.timeoutMs)
    this.bankCode = parts.bankCode
    this.acceptedAtMs = parts.acceptedAtMs
    this.durable = parts.durable ?? false
    this.ilp = parts.ilp
    const { asker, askerId, acceptedAtMs, wantsLate = false } = parts
    this.#waiter = { asker, askerId, sinceMs: acceptedAtMs, wantsLate }
  }

  /** One that the journal remembers from before this process; nobody waits for it. */
  static recovered(parts: Omit<RequestParts, 'asker' | 'askerId' | 'durable'>): RoutedRequest {
    const request = new RoutedRequest({ ...parts, asker: NOBODY, askerId: 0, durable: true })
    request.mayBeExecuted = true
    return request
  }

  get state(): 'open' | 'inDoubt' | 'settled' {
    return this.#state
  }

  /** True when nobody is left who could hear the outcome. */
  get abandoned(): boolean {
    return this.#waiters().every((waiter) => waiter.asker.closed)
  }

  /**
   * Whoever waits for this request waits for `open` instead, which has the same key and content. False when too many do.
   */
  mergeInto(open: RoutedRequest, nowMs: number): boolean {
    const staying = open.#waiters().filter((waiter) => !waiter.asker.closed)
    const joining = this.#waiters()
    if (staying.length + joining.length > MAX_WAITERS) return false
    open.#waiter = undefined
    open.#joined = [...staying, ...joining]
    // It was settled while the journal was asked, or is in doubt: then that is the news.
    if (open.#settlement !== undefined)
      for (const waiter of joining) open.#tell(waiter, open.#settlement, nowMs, undefined)
    this.#waiter = undefined
    this.#joined = NO_WAITERS
    this.#state = 'settled'
    return true
  }

  /** Tells the app that the request waits for a session key. */
  tellPending(nowMs: number): void {
    this.#tellAll({ outcome: 'pending', code: 'KEY_PENDING' }, nowMs, undefined)
  }

  /** Tells the outcome. False where that changes nothing: settled requests stay as they are, a doubt is told once. */
  settle(settlement: Settlement, nowMs: number): boolean {
    const isDoubt = settlement.outcome === 'in-doubt'
    if (this.#state === 'settled' || (isDoubt && this.#state === 'inDoubt')) return false
    this.#tellAll(settlement, nowMs, this.#state === 'inDoubt' ? 'settled' : undefined)
    this.#state = isDoubt ? 'inDoubt' : 'settled'
    this.#settlement = settlement
    const hearing = isDoubt ? this.#waiters().filter((waiter) => waiter.wantsLate) : NO_WAITERS
    this.#waiter = undefined
    this.#joined = hearing
    return true
  }

  #waiters(): Waiter[] {
    return this.#waiter === undefined ? [...this.#joined] : [this.#waiter, ...this.#joined]
  }

  #tellAll(news: News, nowMs: number, event: 'settled' | undefined): void {
    if (this.#waiter !== undefined) this.#tell(this.#waiter, news, nowMs, event)
    for (let index = 0; index < this.#joined.length; index++)
      this.#tell(this.#joined[index] as Waiter, news, nowMs, event)
  }

  #tell({ asker, askerId, sinceMs }: Waiter, news: News, nowMs: number, event: 'settled' | undefined): void {
    if (asker.closed) return
    const { outcome, code, payload, type, fulfilment, message } = news
    const ms = elapsedMs(sinceMs, nowMs)
    const isPlain = code === undefined && message === undefined && type === undefined && fulfilment === undefined
    if (event === undefined && isPlain && payload !== undefined) {
      asker.reply({ id: askerId, outcome, payload, key: this.key, ms })
      return
    }
    const reply: Record<string, unknown> =
      event === undefined ? { id: askerId, outcome } : { id: askerId, event, outcome }
    if (code !== undefined) reply.code = code
    if (payload !== undefined) reply.payload = payload
    if (type !== undefined) reply.type = type
    if (fulfilment !== undefined) reply.ilp = proofOf(fulfilment, this.ilp?.madePacket)
    if (message !== undefined) reply.message = message
    reply.key = this.key
    reply.ms = ms
    asker.reply(reply)
  }
}

/** The proof as an app gets it. */
function proofOf(fulfilment: Buffer, madePacket: Buffer | undefined): Record<string, unknown> {
  return { fulfilment, condition: conditionOf(fulfilment), ...(madePacket === undefined ? {} : { packet: madePacket }) }
}

/** Milliseconds with microseconds behind the point. */
function elapsedMs(fromMs: number, toMs: number): number {
  return Math.round((toMs - fromMs) * 1_000) / 1_000
}
