import { isErrorCode, LsxError } from '../runtime/index.ts'
import { callApp } from './call-app.ts'
import type { Message } from './message.ts'

/** What `subscribe` gives. */
export interface Subscription {
  /** The result of the operation. */
  readonly result: unknown
  /** Resolves when no more events come: cancelled, or the connection has ended. */
  readonly ended: Promise<void>
  cancel(): void
}

export type EventListener = (event: string, data: unknown) => void

/** An operation that has no answer yet. */
export interface OpenCall {
  readonly id: number
  readonly op: string
  /** Monotonic. */
  readonly overdueAtMs: number
  readonly signal: AbortSignal | undefined
  readonly resolve: (result: unknown) => void
  readonly reject: (reason: unknown) => void
}

/** The open operations of one connection, and the listeners of its subscriptions. */
export class OpenCalls {
  readonly #byId = new Map<number, { call: OpenCall; abort: () => void }>()
  readonly #listeners = new Map<number, { onEvent: EventListener; end: () => void }>()

  get size(): number {
    return this.#byId.size
  }

  add(call: OpenCall): void {
    const abort = (): void => this.#take(call.id)?.reject(call.signal?.reason)
    this.#byId.set(call.id, { call, abort })
    call.signal?.addEventListener('abort', abort, { once: true })
  }

  settle(id: number, message: Message): void {
    const call = this.#take(id)
    if (message.ok === true) call?.resolve(message.result)
    else call?.reject(errorFromDaemon(call.op, message))
  }

  giveUpOnOverdue(nowMs: number): void {
    for (const { call } of this.#byId.values()) {
      if (call.overdueAtMs > nowMs) continue
      const error = new LsxError('DEADLINE_EXCEEDED', `lsd did not answer ${call.op} in time`, {
        facts: { op: call.op },
      })
      this.#take(call.id)?.reject(error)
    }
  }

  /** The promise resolves when the listener is taken away. */
  listen(id: number, onEvent: EventListener): Promise<void> {
    return new Promise((end) => this.#listeners.set(id, { onEvent, end }))
  }

  /** False when there was no such listener. */
  unlisten(id: number): boolean {
    this.#listeners.get(id)?.end()
    return this.#listeners.delete(id)
  }

  receiveEvent(id: number, message: Message): void {
    const listener = this.#listeners.get(id)
    if (listener !== undefined) callApp(() => listener.onEvent(String(message.event), message.data))
  }

  end(error: LsxError): void {
    for (const { call } of this.#byId.values()) this.#take(call.id)?.reject(error)
    for (const id of this.#listeners.keys()) this.unlisten(id)
  }

  #take(id: number): OpenCall | undefined {
    const open = this.#byId.get(id)
    this.#byId.delete(id)
    open?.call.signal?.removeEventListener('abort', open.abort)
    return open?.call
  }
}

/** A code that only a newer daemon knows is INTERNAL here; the fact `daemonCode` has it. */
function errorFromDaemon(op: string, message: Message): LsxError {
  const { code, message: text } = message
  return new LsxError(isErrorCode(code) ? code : 'INTERNAL', String(text ?? code), { facts: { op, daemonCode: code } })
}
