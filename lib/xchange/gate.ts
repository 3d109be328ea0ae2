import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AuditHealth } from '../audit/index.ts'
import { lsSpiffeId } from '../certs/index.ts'
import { AllowList, type ChannelSocket, type ListenerGate, type ListenerPeer } from '../channel/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { XchangeConfig } from './config.ts'
import type { LsLink } from './ls-link.ts'

/** Lets LS in and nobody else: address, then certificate; the pinned identity is for the kx to prove. */
export class XchangeGate implements ListenerGate {
  readonly #config: XchangeConfig
  readonly #link: LsLink
  readonly #allowList: AllowList
  readonly #isDraining: () => boolean
  readonly #audit: () => Pick<AuditHealth, 'state'> | undefined
  readonly #warnings: () => readonly string[]

  constructor(options: {
    readonly config: XchangeConfig
    readonly link: LsLink
    readonly isDraining: () => boolean
    readonly audit?: () => Pick<AuditHealth, 'state'> | undefined
    /** What the node's operator has to see to, told to LS with the health. */
    readonly warnings?: () => readonly string[]
  }) {
    this.#config = options.config
    this.#link = options.link
    this.#allowList = new AllowList(options.config.ls.allow)
    this.#isDraining = options.isDraining
    this.#audit = options.audit ?? (() => undefined)
    this.#warnings = options.warnings ?? (() => [])
  }

  permitsAddress(address: string | undefined): boolean {
    return this.#allowList.permits(address)
  }

  admitChannel(peer: ListenerPeer): void {
    if (this.#isDraining()) throw new LsxError('SHUTTING_DOWN', 'LS connected while this xchange was draining')
    if (this.#config.dial === 'xchange')
      throw new LsxError('REFUSED', 'a channel was asked for, but this xchange dials LS itself')
    if (!this.#isLs(peer)) {
      throw new LsxError(
        'NOT_LS',
        `a peer that is not LS asked for a channel: its certificate does not name ${lsSpiffeId(this.#config.trustDomain)}`,
      )
    }
  }

  onChannel(peer: ListenerPeer, socket: ChannelSocket, exporter: Buffer): void {
    this.#link.accept(socket, exporter, peer.address)
  }

  /** LS learns the session id; anybody else of this CA only that the process lives. */
  onRequest(peer: ListenerPeer, request: IncomingMessage, response: ServerResponse): void {
    if (request.method !== 'GET' && request.method !== 'HEAD') this.#send(response, 405, { error: 'method' })
    else if (request.url !== '/health') this.#send(response, 404, { error: 'path' })
    else if (!this.#isLs(peer)) this.#send(response, 200, this.#condition())
    else {
      const { session } = this.#link
      this.#send(response, 200, {
        ...this.#condition(),
        bankCode: this.#config.bankCode,
        connected: session === undefined ? 0 : 1,
        sessionId: session?.sessionId.toString('hex') ?? null,
        ...(this.#warnings().length === 0 ? {} : { warnings: this.#warnings() }),
      })
    }
  }

  /** Says more than `ok` only when something is not as it should be. */
  #condition(): Record<string, unknown> {
    return {
      status: 'ok',
      ...(this.#config.security.mode === 'strict' ? {} : { mode: 'permissive' }),
      ...(this.#audit()?.state === 'failing' ? { audit: 'failing' } : {}),
    }
  }

  #isLs(peer: ListenerPeer): boolean {
    return peer.spiffeId === lsSpiffeId(this.#config.trustDomain)
  }

  #send(response: ServerResponse, status: number, body: Record<string, unknown>): void {
    const text = JSON.stringify(body)
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
    })
    response.end(text)
  }
}
