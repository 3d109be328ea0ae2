import type { IncomingMessage, ServerResponse } from 'node:http'
import { bankCodeOfSpiffeId, lsSpiffeId } from '../certs/index.ts'
import { AllowList, type ChannelSocket, type ListenerGate, type ListenerPeer } from '../channel/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { BankLink } from './bank-link.ts'
import type { Registry } from './registry.ts'
import { SocketAllowance } from './socket-allowance.ts'
import type { SwitchContext } from './switch-context.ts'

/** How ready the daemon is, as `/ready` and the operators see it. */
export type Phase = 'starting' | 'ready' | 'draining'

/** Who may connect to LS: banks that dial it, and whoever asks for its health with a certificate of our CA. */
export class LsGate implements ListenerGate {
  readonly #context: SwitchContext
  readonly #registry: Registry
  readonly #phase: () => Phase
  readonly #warnings: () => readonly string[]
  readonly #allowances = new WeakMap<BankLink, SocketAllowance>()
  #allowed: { readonly entries: readonly string[]; readonly list: AllowList } | undefined

  /** `warnings`: what LS's operator has to see to, told with the health to who asks with LS's own certificate. */
  constructor(
    context: SwitchContext,
    registry: Registry,
    phase: () => Phase,
    warnings: () => readonly string[] = () => [],
  ) {
    this.#context = context
    this.#registry = registry
    this.#phase = phase
    this.#warnings = warnings
  }

  permitsAddress(address: string | undefined): boolean {
    if (this.#listenAllowList().permits(address)) return true
    return this.#registry.all().some((link) => link.bank.dial === 'xchange' && link.permitsAddress(address))
  }

  /** Made anew only when a reload has brought another list. */
  #listenAllowList(): AllowList {
    const { allow } = this.#context.config.listen
    if (this.#allowed?.entries !== allow) this.#allowed = { entries: allow, list: new AllowList(allow) }
    return this.#allowed.list
  }

  admitChannel(peer: ListenerPeer): void {
    if (this.#phase() === 'draining') throw new LsxError('SHUTTING_DOWN', 'a bank dialled while LS was draining')
    const link = this.#linkOf(peer)
    if (link === undefined) {
      throw new LsxError(
        'CERT_DENIED',
        'the certificate names no bank that may dial this LS; is it configured with dial: xchange?',
      )
    }
    const { code } = link.bank
    if (!link.permitsAddress(peer.address))
      throw new LsxError('IP_DENIED', `bank ${code} dialled from an address that its allow-list lacks`)
    if (link.state.name === 'quarantined') throw new LsxError('QUARANTINED', `bank ${code} dialled while in quarantine`)
    if (!this.#allowanceOf(link).take(this.#context.clock.monotonicMs()))
      throw new LsxError(
        'RATE_LIMITED',
        `bank ${code} opens sockets without end; the log has why the ones before ended`,
        { party: 'peer' },
      )
  }

  #allowanceOf(link: BankLink): SocketAllowance {
    let allowance = this.#allowances.get(link)
    if (allowance === undefined) {
      allowance = new SocketAllowance(this.#context.clock.monotonicMs())
      this.#allowances.set(link, allowance)
    }
    return allowance
  }

  onChannel(peer: ListenerPeer, socket: ChannelSocket, exporter: Buffer): void {
    const link = this.#linkOf(peer)
    if (link === undefined) socket.terminate()
    else link.accept(socket, exporter, peer)
  }

  onRequest(peer: ListenerPeer, request: IncomingMessage, response: ServerResponse): void {
    const phase = this.#phase()
    if (request.method !== 'GET' && request.method !== 'HEAD') sendJson(response, 405, { error: 'method' })
    else if (request.url === '/health')
      sendJson(response, 200, { status: 'ok', phase, ...this.#condition(), ...this.#told(peer) })
    else if (request.url === '/ready') sendJson(response, phase === 'ready' ? 200 : 503, { phase })
    else sendJson(response, 404, { error: 'path' })
  }

  /** Only what is not as it should be: who asks may be any party with a certificate. */
  #condition(): Record<string, unknown> {
    const { config, audit } = this.#context
    const quarantined = this.#registry.all().filter((link) => link.state.name === 'quarantined').length
    return {
      ...(config.security.mode === 'strict' ? {} : { mode: 'permissive' }),
      ...(audit.health?.state === 'failing' ? { audit: 'failing' } : {}),
      ...(quarantined === 0 ? {} : { quarantined }),
    }
  }

  #told(peer: ListenerPeer): { readonly warnings?: readonly string[] } {
    const isOwn = peer.spiffeId === lsSpiffeId(this.#context.config.trustDomain)
    const warnings = isOwn ? this.#warnings() : []
    return warnings.length === 0 ? {} : { warnings }
  }

  #linkOf(peer: ListenerPeer): BankLink | undefined {
    const bankCode = bankCodeOfSpiffeId(this.#context.config.trustDomain, peer.spiffeId)
    const link = bankCode === undefined ? undefined : this.#registry.get(bankCode)
    return link?.bank.dial === 'xchange' ? link : undefined
  }
}

function sendJson(response: ServerResponse, status: number, body: Record<string, unknown>): void {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  })
  response.end(text)
}
