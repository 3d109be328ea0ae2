import { encodeMap } from '../frames/index.ts'
import { type IpcConnection, type IpcHandler, type Message, parseRequest } from '../ipc/index.ts'
import { type Clock, LsxError, toLsxError } from '../runtime/index.ts'
import type { BankLink } from './bank-link.ts'
import type { IlpDesk, PreparedIlp } from './ilp-desk.ts'
import type { Registry } from './registry.ts'
import { RoutedRequest, type Settlement } from './routed-request.ts'

/** Takes the apps' requests and gives each to its bank's lane. It never looks into a payload. */
export class Router implements IpcHandler {
  readonly #registry: Registry
  readonly #clock: Clock
  readonly #ilp: IlpDesk
  readonly #durableByDefault: () => boolean
  #accepting = true

  constructor(options: { registry: Registry; clock: Clock; ilp: IlpDesk; durableByDefault?: () => boolean }) {
    const { registry, clock, ilp, durableByDefault = () => false } = options
    this.#registry = registry
    this.#clock = clock
    this.#ilp = ilp
    this.#durableByDefault = durableByDefault
  }

  /** From here on every request is refused. */
  stop(): void {
    this.#accepting = false
  }

  onMessage(connection: IpcConnection, message: Message): void {
    if (message.op !== 'request')
      throw new LsxError('BAD_REQUEST', 'op: apps send "request"; operators have their own socket')
    const appRequest = parseRequest(message)
    const { id, to, method, payload, key, timeoutMs, durable, late, token, type } = appRequest
    const acceptedAtMs = this.#clock.monotonicMs()
    const link = this.#registry.get(to)
    let refusal = this.#refusalOf(to, link)
    let ilp: PreparedIlp | undefined
    try {
      if (refusal === undefined) ilp = this.#ilp.prepare({ bankCode: to, method, key, payload, ilp: appRequest.ilp })
    } catch (thrown) {
      const { code, message } = toLsxError(thrown)
      refusal = { outcome: 'refused', code, message }
    }
    const request = new RoutedRequest({
      asker: connection,
      askerId: id,
      bankCode: to,
      key,
      method,
      payload,
      meta: metaOf({ type, ilp: ilp?.fields, token }),
      ilp: ilp?.terms,
      acceptedAtMs,
      timeoutMs,
      durable: durable ?? link?.bank.durable ?? this.#durableByDefault(),
      wantsLate: late,
    })
    if (refusal === undefined) link?.lane.submit(request)
    else if (link === undefined) request.settle(refusal, acceptedAtMs)
    else link.lane.refuse(request, refusal)
  }

  #refusalOf(to: string, link: BankLink | undefined): Settlement | undefined {
    if (!this.#accepting) return { outcome: 'refused', code: 'SHUTTING_DOWN', message: 'LS is shutting down' }
    if (link !== undefined) return undefined
    return { outcome: 'refused', code: 'UNKNOWN_BANK', message: `no bank ${to} is configured here` }
  }

  /** What the app asked for goes on: it may have been sent. The replies find nobody. */
  onClose(): void {}
}

/** Most requests have nothing to say beside their payload. */
function metaOf(fields: {
  readonly type: string | undefined
  readonly ilp: PreparedIlp['fields'] | undefined
  readonly token: string | undefined
}): Buffer | undefined {
  return Object.values(fields).every((field) => field === undefined) ? undefined : encodeMap(fields)
}
