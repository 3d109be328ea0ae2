import type { Dispatcher } from 'undici'
import { HandlerError, InDoubtError, NotReachedError } from './handler.ts'

/**
 * One request to the bank's system, as undici reports on it:
 *
 *   waiting ── a connection takes it ──> written ── status line ──> answering ── end of the body ──> settled
 *
 * How far it came decides what a failure means: nothing was begun, in doubt, or answered.
 */
type Progress =
  | { readonly name: 'waiting' }
  | { readonly name: 'written'; readonly controller: Dispatcher.DispatchController }
  | {
      readonly name: 'answering'
      readonly controller: Dispatcher.DispatchController
      readonly status: number
      readonly chunks: Buffer[]
      bodyBytes: number
    }
  | { readonly name: 'settled' }

export class HttpExchange implements Dispatcher.DispatchHandler {
  /** The value that the bank's system answered, or one of the errors of handler.ts. */
  readonly answer: Promise<unknown>
  readonly #signal: AbortSignal
  readonly #maxResponseBytes: number
  readonly #onWaitOver: () => void
  readonly #onAbort = () => this.#interrupted(this.#signal.reason)
  #resolve: (value: unknown) => void = () => {}
  #reject: (error: Error) => void = () => {}
  #progress: Progress = { name: 'waiting' }
  #waitOver = false

  /** `signal` has not aborted yet. `onWaitOver` is called once, when undici no longer keeps the request in its queue. */
  constructor(options: { signal: AbortSignal; maxResponseBytes: number; onWaitOver: () => void }) {
    this.#signal = options.signal
    this.#maxResponseBytes = options.maxResponseBytes
    this.#onWaitOver = options.onWaitOver
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#endWait()
    // Given up while it waited for a connection: throwing keeps undici from writing it.
    if (this.#progress.name === 'settled') throw new NotReachedError('given up before it was written')
    this.#progress = { name: 'written', controller }
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    // 1xx is not the answer yet (RFC 9110, section 15.2).
    if (this.#progress.name !== 'written' || status < 200) return
    this.#progress = { name: 'answering', controller, status, chunks: [], bodyBytes: 0 }
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const progress = this.#progress
    if (progress.name !== 'answering') return
    progress.bodyBytes += chunk.byteLength
    if (progress.bodyBytes <= this.#maxResponseBytes) {
      progress.chunks.push(chunk)
      return
    }
    const { controller, status } = progress
    this.#fail(
      new HandlerError('TOO_LARGE', `the bank's system answered more than ${this.#maxResponseBytes} bytes`, {
        httpStatus: status,
      }),
    )
    controller.abort(new Error('the answer is too large'))
  }

  onResponseEnd(): void {
    const progress = this.#progress
    if (progress.name !== 'answering') return
    const { status } = progress
    const text = Buffer.concat(progress.chunks).toString()
    if (status >= 300) {
      this.#fail(errorForStatus(status, text))
      return
    }
    try {
      this.#succeed(text === '' ? null : JSON.parse(text))
    } catch (cause) {
      this.#fail(new InDoubtError(`the bank's system answered ${status} with a body that is not JSON`, { cause }))
    }
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#endWait()
    this.#interrupted(error)
  }

  /** The deadline passed, or the connection was lost or never made. */
  #interrupted(cause: unknown): void {
    const progress = this.#progress
    switch (progress.name) {
      case 'waiting':
        this.#fail(new NotReachedError("no connection to the bank's system was made", { cause }))
        return
      case 'written':
        this.#fail(new InDoubtError("the bank's system did not answer", { cause }))
        progress.controller.abort(new Error('given up'))
        return
      case 'answering':
        this.#fail(
          progress.status < 300
            ? new InDoubtError(`the bank's system answered ${progress.status} and broke off`, { cause })
            : errorForStatus(progress.status, ''),
        )
        progress.controller.abort(new Error('given up'))
        return
      case 'settled':
        return
    }
  }

  #succeed(value: unknown): void {
    this.#settle()
    this.#resolve(value)
  }

  #fail(error: Error): void {
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.#progress = { name: 'settled' }
    this.#signal.removeEventListener('abort', this.#onAbort)
  }

  #endWait(): void {
    if (this.#waitOver) return
    this.#waitOver = true
    this.#onWaitOver()
  }
}

function errorForStatus(status: number, text: string): Error {
  const message = `the bank's system answered ${status}`
  // RFC 9110, sections 15.6.3 and 15.6.5: the gateway had no (valid) answer, and the system behind it may have acted.
  if (status === 502 || status === 504) return new InDoubtError(message)
  if (status < 400 || status >= 500) return new HandlerError('HANDLER_FAILED', message, { httpStatus: status })
  const body = jsonObject(text)
  const code = typeof body.code === 'string' && body.code !== '' ? body.code : 'HANDLER_FAILED'
  return new HandlerError(code, typeof body.message === 'string' ? body.message : message, {
    ...body,
    httpStatus: status,
  })
}

function jsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = text === '' ? {} : JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
    return { body: value }
  } catch {
    return {}
  }
}
