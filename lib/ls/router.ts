import { type IpcConnection, type IpcHandler, type Message, parseRequest } from '../ipc/index.ts'
import { type Clock, LsxError } from '../runtime/index.ts'
import type { BankLink } from './bank-link.ts'
import type { Registry } from './registry.ts'
import { RoutedRequest, type Settlement } from './routed-request.ts'

/** Takes the apps' requests and gives each to its bank's lane. It never looks into a payload. */
export class Router implements IpcHandler {
  readonly #registry: Registry
  readonly #clock: Clock
  readonly #durableByDefault: () => boolean
  #accepting = true

  constructor(registry: Registry, clock: Clock, durableByDefault: () => boolean = () => false) {
    this.#registry = registry
    this.#clock = clock
    this.#durableByDefault = durableByDefault
  }

  /** From here on every request is refused. */
  stop(): void {
    this.#accepting = false
  }

  onMessage(connection: IpcConnection, message: Message): void {
    if (message.op !== 'request')
      throw new LsxError('BAD_REQUEST', 'op: apps send "request"; operators have their own socket')
    const { id, to, method, payload, key, timeoutMs, durable, late, token } = parseRequest(message)
    const acceptedAtMs = this.#clock.monotonicMs()
    const link = this.#registry.get(to)
    const request = new RoutedRequest({
      asker: connection,
      askerId: id,
      bankCode: to,
      key,
      method,
      payload,
      acceptedAtMs,
      timeoutMs,
      durable: durable ?? link?.bank.durable ?? this.#durableByDefault(),
      wantsLate: late,
      token,
    })
    const refusal = this.#refusalOf(to, link)
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
