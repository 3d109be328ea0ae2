import { ChannelRequest } from '../channel/index.ts'
import type { ErrorCode } from '../runtime/index.ts'

/** Who asked: the part of an app's connection that routing needs. */
export interface Asker {
  readonly closed: boolean
  reply(message: Record<string, unknown>): void
}

export type Outcome = 'answered' | 'refused' | 'not-sent' | 'in-doubt'

/** How a request ended. */
export interface Settlement {
  readonly outcome: Outcome
  readonly code?: ErrorCode | undefined
  /** msgpack, from the bank's handler. */
  readonly payload?: Buffer | undefined
  /** For people. */
  readonly message?: string | undefined
}

/** One request of an app on its way through LS. It settles exactly once. */
export class RoutedRequest extends ChannelRequest {
  readonly asker: Asker
  readonly askerId: number | string
  readonly bankCode: string
  readonly acceptedAtMs: number
  #settled = false

  constructor(request: {
    asker: Asker
    askerId: number | string
    bankCode: string
    key: string
    method: string
    payload: Buffer
    acceptedAtMs: number
    timeoutMs: number
  }) {
    super({ ...request, deadlineMs: request.acceptedAtMs + request.timeoutMs })
    this.asker = request.asker
    this.askerId = request.askerId
    this.bankCode = request.bankCode
    this.acceptedAtMs = request.acceptedAtMs
  }

  get settled(): boolean {
    return this.#settled
  }

  /** Tells the app that the request waits for a session key. */
  tellPending(nowMs: number): void {
    this.asker.reply({
      id: this.askerId,
      outcome: 'pending',
      code: 'KEY_PENDING',
      key: this.key,
      ms: elapsedMs(this.acceptedAtMs, nowMs),
    })
  }

  /** Tells the app its outcome. False when it was settled before: the first outcome stands. */
  settle(settlement: Settlement, nowMs: number): boolean {
    if (this.#settled) return false
    this.#settled = true
    const { outcome, code, payload, message } = settlement
    const reply: Record<string, unknown> = { id: this.askerId, outcome }
    if (code !== undefined) reply.code = code
    if (payload !== undefined) reply.payload = payload
    if (message !== undefined) reply.message = message
    reply.key = this.key
    reply.ms = elapsedMs(this.acceptedAtMs, nowMs)
    this.asker.reply(reply)
    return true
  }
}

/** Milliseconds with microseconds behind the point. */
function elapsedMs(fromMs: number, toMs: number): number {
  return Math.round((toMs - fromMs) * 1_000) / 1_000
}
