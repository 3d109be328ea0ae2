import { encodeMap, ResponseStatus } from '../frames/index.ts'
import { describeError, type ErrorCode, type Logger } from '../runtime/index.ts'
import type { StoredResponse } from './once-only.ts'
import type { PayloadCodec } from './payload.ts'

const NO_BYTES = Buffer.alloc(0)
const MAX_CODE_CHARACTERS = 64
const MAX_MESSAGE_CHARACTERS = 1_000

/** Whose log is made when it is first used, as in HandlerContext. */
interface LogHolder {
  readonly log: Logger
}

/** Writes the responses of a dispatcher. The peer gets codes; reasons go to the log. */
export class ResponseWriter {
  readonly #codec: PayloadCodec
  readonly #maxPayloadBytes: number
  readonly #refusals = new Map<ErrorCode, StoredResponse>()
  readonly inDoubt: StoredResponse

  constructor(options: { codec: PayloadCodec; maxPayloadBytes: number }) {
    this.#codec = options.codec
    this.#maxPayloadBytes = options.maxPayloadBytes
    this.inDoubt = { status: ResponseStatus.inDoubt, payload: NO_BYTES, meta: encodeMap({ code: 'IN_DOUBT' }) }
  }

  refused(code: ErrorCode): StoredResponse {
    let refusal = this.#refusals.get(code)
    if (refusal === undefined) {
      refusal = { status: ResponseStatus.refused, payload: NO_BYTES, meta: encodeMap({ code }) }
      this.#refusals.set(code, refusal)
    }
    return refusal
  }

  /**
   * Status ok with the handler's value. A value that cannot be carried is an answer too, a failed one that says so:
   * the handler did run, so the request is neither refused nor in doubt.
   */
  ok(value: unknown, context: LogHolder, maxPayloadBytes: number = this.#maxPayloadBytes): StoredResponse {
    let payload: Buffer
    try {
      payload = this.#codec.encode(value)
    } catch (error) {
      context.log.error({ error: describeError(error) }, 'the handler returned a value that msgpack cannot carry')
      return this.failed('HANDLER_FAILED', 'the handler finished, but its answer cannot be encoded', undefined, context)
    }
    if (payload.byteLength > maxPayloadBytes) {
      context.log.error(
        { payloadBytes: payload.byteLength, maxPayloadBytes },
        'the handler returned more than a frame carries',
      )
      return this.failed(
        'TOO_LARGE',
        'the handler finished, but its answer is too large for the channel',
        undefined,
        context,
      )
    }
    return { status: ResponseStatus.ok, payload, meta: undefined }
  }

  /** Status failed with `{code, message, ...body}`; a body that cannot be carried is left out. */
  failed(
    code: string,
    message: string,
    body: unknown,
    context: LogHolder,
    maxPayloadBytes: number = this.#maxPayloadBytes,
  ): StoredResponse {
    const answer = {
      code: String(code).slice(0, MAX_CODE_CHARACTERS),
      message: String(message).slice(0, MAX_MESSAGE_CHARACTERS),
    }
    if (body !== undefined) {
      try {
        const payload = this.#codec.encode({ ...answer, ...bodyFields(body), ...answer })
        if (payload.byteLength <= maxPayloadBytes) return { status: ResponseStatus.failed, payload, meta: undefined }
        context.log.warn(
          { payloadBytes: payload.byteLength },
          "the body of the handler's error is too large and was left out",
        )
      } catch (error) {
        context.log.warn(
          { error: describeError(error) },
          "the body of the handler's error cannot be encoded and was left out",
        )
      }
    }
    return { status: ResponseStatus.failed, payload: this.#codec.encode(answer), meta: undefined }
  }
}

function bodyFields(body: unknown): object {
  if (typeof body !== 'object' || body === null) return { body }
  const prototype: unknown = Object.getPrototypeOf(body)
  return prototype === Object.prototype || prototype === null ? body : { body }
}
