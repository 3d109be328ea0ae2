import { Pool } from 'undici'
import { signFspiop } from '../message/fspiop/index.ts'
import type { SigningKey } from '../message/jws/index.ts'
import { LsxError, type Service } from '../runtime/index.ts'
import { type HandlerContext, type IlpTransfer, NotReachedError } from './handler.ts'
import { HttpExchange } from './http-exchange.ts'
import { toPlainValue } from './plain-value.ts'
import type { Route } from './route.ts'

export interface HttpForwardOptions {
  /** Where the bank's system listens, http or https. `{method}` in the path stands for the method's name. */
  readonly url: string
  /** Sent with each request, beside our own. */
  readonly headers?: Readonly<Record<string, string>>
  /** PEM: the CA of the bank's system, and our certificate for it. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
  /** Default 64. */
  readonly maxConnections?: number
  /** Requests that wait for a connection; more are not forwarded. Default 1,024. */
  readonly maxWaiting?: number
  /** Default 2 s. */
  readonly connectTimeoutMs?: number
  /** Of one answer's body. Default 256 KiB. */
  readonly maxResponseBytes?: number
  /** Signs each request as Mojaloop's API does; `key` is of the source. */
  readonly fspiop?: { readonly key: SigningKey; readonly destination?: string | undefined } | undefined
}

/** After the deadline itself has ended the request: only for the case that this failed. */
const TIMEOUT_RESERVE_MS = 1_000
/** W3C Trace Context, level 2, section 3.2. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

/**
 * Hands requests to the bank's own system: POST with `{method, key, payload, ilp?}` as JSON, bytes as base64; the packet
 * and condition of `ilp` as base64url, its amount as text.
 * Headers: Idempotency-Key, X-Bank-Code, X-Deadline-Ms (ms left), traceparent when the request has one; with `fspiop`
 * also those of a signature as in Mojaloop's API.
 *
 * 2xx is the answer. 4xx is a failed one with its JSON body, 5xx a failed one with `httpStatus` only. In doubt are
 * requests that were written and not answered in time or in full, and 502 and 504, with which a gateway says the same.
 * When no connection was made, the request is refused.
 */
export class HttpForward implements Service {
  readonly name = 'http-forward'
  readonly #template: string
  readonly #origin: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #maxWaiting: number
  readonly #maxResponseBytes: number
  readonly #pool: Pool
  readonly #fspiop: HttpForwardOptions['fspiop']
  #waiting = 0

  /** @throws LsxError REFUSED, party self, for a URL that cannot be used */
  constructor(options: HttpForwardOptions) {
    this.#template = options.url
    this.#fspiop = options.fspiop
    this.#origin = urlFor(options.url, 'method').origin
    this.#headers = options.headers ?? {}
    this.#maxWaiting = options.maxWaiting ?? 1_024
    this.#maxResponseBytes = options.maxResponseBytes ?? 256 * 1024
    this.#pool = new Pool(this.#origin, {
      connections: options.maxConnections ?? 64,
      // One at a time on a connection: a lost one leaves one request in doubt, and a slow one holds up no other.
      pipelining: 1,
      connect: { timeout: options.connectTimeoutMs ?? 2_000, ...options.tls },
    })
  }

  /** The route of one method. The options as in Route. */
  route(method: string, options: { expectedMs?: number; repeatable?: boolean } = {}): Route {
    const url = urlFor(this.#template, method)
    if (url.origin !== this.#origin) throw unusable(this.#template, '{method} may stand in the path only')
    const path = `${url.pathname}${url.search}`
    return { handler: (payload, context) => this.#forward(path, payload, context), ...options }
  }

  async start(): Promise<void> {}

  /** Lets requests finish until `signal` aborts; what is then still under way is in doubt. */
  async stop(signal: AbortSignal): Promise<void> {
    const destroy = () => {
      this.#pool.destroy().catch(() => {})
    }
    if (signal.aborted) {
      await this.#pool.destroy()
      return
    }
    signal.addEventListener('abort', destroy, { once: true })
    try {
      if (!this.#pool.closed && !this.#pool.destroyed) await this.#pool.close()
    } finally {
      signal.removeEventListener('abort', destroy)
    }
  }

  #forward(path: string, payload: unknown, context: HandlerContext): Promise<unknown> {
    if (this.#waiting >= this.#maxWaiting) {
      throw new NotReachedError(`${this.#maxWaiting} requests wait for a connection to the bank's system`)
    }
    const { key, method, signal } = context
    const leftMs = context.deadlineMs - context.monotonicMs()
    if (signal.aborted || leftMs <= 0) {
      throw new NotReachedError('the budget was over before anything was sent', { cause: signal.reason })
    }
    const ilp = context.ilp === undefined ? {} : { ilp: ilpJson(context.ilp) }
    const content = { method, key, payload: toPlainValue(payload, 'json') ?? null, ...ilp }
    const { headers: signed, body } = this.#signed(path, content, context)
    const headers = { ...this.#headersFor(context, leftMs), ...signed }
    const timeoutMs = Math.ceil(leftMs) + TIMEOUT_RESERVE_MS
    const exchange = new HttpExchange({
      signal,
      maxResponseBytes: this.#maxResponseBytes,
      onWaitOver: () => {
        this.#waiting -= 1
      },
    })
    this.#waiting += 1
    this.#pool.dispatch(
      { method: 'POST', path, headers, body, headersTimeout: timeoutMs, bodyTimeout: timeoutMs },
      exchange,
    )
    return exchange.answer
  }

  #signed(
    uri: string,
    content: unknown,
    context: HandlerContext,
  ): { headers: Readonly<Record<string, string>>; body: string } {
    if (this.#fspiop === undefined) return { headers: {}, body: JSON.stringify(content) }
    const { key, destination } = this.#fspiop
    const date = new Date(context.nowMs()).toUTCString()
    return signFspiop({ method: 'POST', uri, source: key.party, destination, date, body: content }, key)
  }

  #headersFor(context: HandlerContext, leftMs: number): Record<string, string> {
    const headers: Record<string, string> = {
      ...this.#headers,
      'content-type': 'application/json',
      accept: 'application/json',
      'idempotency-key': headerText(context.key),
      'x-bank-code': context.bankCode,
      'x-deadline-ms': String(Math.floor(leftMs)),
    }
    const { traceparent } = context.meta
    if (typeof traceparent === 'string' && TRACEPARENT.test(traceparent)) headers.traceparent = traceparent
    return headers
  }
}

/** As ILP's own tools have it. */
function ilpJson({ version, amount, destination, expiresAtMs, packet, condition }: IlpTransfer): unknown {
  return {
    version,
    amount: amount.toString(),
    destination,
    expiresAt: new Date(expiresAtMs).toISOString(),
    packet: packet.toString('base64url'),
    condition: condition.toString('base64url'),
  }
}

/** A key may hold any character, a header may not. `%` is escaped too, so that no two keys become one. */
function headerText(key: string): string {
  return /^[!-$&-~]+$/.test(key) ? key : encodeURIComponent(key)
}

function urlFor(template: string, method: string): URL {
  if (method === '.' || method === '..') throw unusable(template, `a method named "${method}" would change the path`)
  let url: URL
  try {
    url = new URL(template.replaceAll('{method}', encodeURIComponent(method)))
  } catch (error) {
    throw unusable(template, 'it is not a URL', error)
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw unusable(template, 'it must begin with http:// or https://')
  if (url.username !== '' || url.password !== '')
    throw unusable('(hidden)', 'it must not hold a user name or a password')
  return url
}

function unusable(template: string, reason: string, cause?: unknown): LsxError {
  return new LsxError('REFUSED', `the forwarding URL ${template} cannot be used: ${reason}`, { party: 'self', cause })
}
