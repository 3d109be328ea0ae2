import { randomBytes } from 'node:crypto'
import { type ChannelCounters, newChannelCounters } from '../../lib/channel/counters.ts'
import { ChannelRequest } from '../../lib/channel/in-flight.ts'
import { LsChannel, type RequestOwner } from '../../lib/channel/ls-channel.ts'
import type { ChannelObserver } from '../../lib/channel/secured-channel.ts'
import type { ChannelTimes, KeyAnswer } from '../../lib/channel/state.ts'
import { XchangeChannel } from '../../lib/channel/xchange-channel.ts'
import { type RequestRecord, type ResponseRecord, ResponseStatus } from '../../lib/frames/index.ts'
import type { LsKxConfig, SessionTerms, XchangeKxConfig, XchangeOffer } from '../../lib/kx/index.ts'
import type { LsxError } from '../../lib/runtime/index.ts'
import { VirtualLink } from './channel-link.ts'
import { type RecordingLogger, recordingLogger } from './channel-log.ts'
import { type KxParties, kxParties } from './kx-parties.ts'
import { VirtualClock } from './virtual-clock.ts'

export type Respond = (response: ResponseRecord) => void
export type RequestHandler = (request: RequestRecord, respond: Respond) => void

export interface ChannelPairOptions {
  readonly clock?: VirtualClock
  /** One way. Default 5 ms. */
  readonly latencyMs?: number
  readonly terms?: Partial<SessionTerms>
  readonly offer?: Partial<XchangeOffer>
  readonly times?: Partial<ChannelTimes>
  /** Largest frame before a kx has agreed on one. */
  readonly maxFrameBytes?: number
  readonly maxBufferedBytes?: number
  /** Default: answers at once with the payload that came. */
  readonly onRequest?: RequestHandler
  /** Default: remembers the highest. */
  readonly acceptGeneration?: (generation: number) => void
  /** Default: the end of the current turn. */
  readonly defer?: (flush: () => void) => void
}

export type RequestEnd = 'answered' | 'expired' | 'lost' | 'unsent' | 'unverified'

/** What became of each request; `ends` has exactly one entry for each that is over. */
export class RecordingOwner implements RequestOwner<ChannelRequest> {
  readonly ends = new Map<string, RequestEnd[]>()
  readonly responses = new Map<string, ResponseRecord>()
  readonly late: string[] = []
  readonly losses: LsxError[] = []
  writableCalls = 0
  whenWritable: () => void = () => {}

  onResponse(request: ChannelRequest, response: ResponseRecord): void {
    this.#end(request, 'answered')
    this.responses.set(request.key, { ...response, payload: Buffer.from(response.payload) })
  }

  onExpired(request: ChannelRequest): void {
    this.#end(request, 'expired')
  }

  onLost(request: ChannelRequest, error: LsxError): void {
    this.#end(request, 'lost')
    this.losses.push(error)
  }

  onUnsent(request: ChannelRequest): void {
    this.#end(request, 'unsent')
  }

  onLateResponse(request: ChannelRequest): void {
    this.late.push(request.key)
  }

  onUnverifiedResponse(request: ChannelRequest, error: LsxError, { late }: { readonly late: boolean }): void {
    if (!late) this.#end(request, 'unverified')
    this.losses.push(error)
  }

  onWritable(): void {
    this.writableCalls++
    this.whenWritable()
  }

  /** How many requests ended so. */
  count(end: RequestEnd): number {
    return [...this.ends.values()].filter((ends) => ends.includes(end)).length
  }

  #end(request: ChannelRequest, end: RequestEnd): void {
    const ends = this.ends.get(request.key)
    if (ends === undefined) this.ends.set(request.key, [end])
    else ends.push(end)
  }
}

/** Both ends of one channel, in memory, joined by a virtual link, on virtual time. */
export class ChannelPair {
  readonly clock: VirtualClock
  readonly link: VirtualLink
  readonly parties: KxParties
  readonly ls: LsChannel<ChannelRequest>
  readonly xchange: XchangeChannel
  readonly owner = new RecordingOwner()
  /** What both observers were told: `<ms> <who> <what>`. */
  readonly transcript: string[] = []
  readonly lsLog: RecordingLogger = recordingLogger()
  readonly xchangeLog: RecordingLogger = recordingLogger()
  readonly lsCounters: ChannelCounters = newChannelCounters()
  readonly xchangeCounters: ChannelCounters = newChannelCounters()
  /** Requests as the xchange took them, payloads copied. */
  readonly received: RequestRecord[] = []
  highestGeneration = 0
  /** Change what the next kx of either side is made with. */
  spoilLsKx: (kx: LsKxConfig) => LsKxConfig = (kx) => kx
  spoilXchangeKx: (kx: XchangeKxConfig) => XchangeKxConfig = (kx) => kx
  onRequest: RequestHandler
  onResolve: (keys: readonly string[]) => KeyAnswer | Promise<KeyAnswer> = (keys) => {
    return { states: keys.map(() => 'never'), rememberedForMs: 86_400_000 }
  }
  #requests = 0

  constructor(options: ChannelPairOptions = {}) {
    const { maxFrameBytes = 65_536 } = options
    const clock = options.clock ?? new VirtualClock()
    const link = new VirtualLink(clock, options.latencyMs)
    const parties = kxParties()
    const times = { kxTimeoutMs: 5_000, kxRetryMs: 30_000, ...options.times }
    const defer = options.defer ?? queueMicrotask
    const terms = { ...parties.ls.terms, ...options.terms }
    const offer = { ...parties.xchange.offer, ...options.offer }
    this.clock = clock
    this.link = link
    this.parties = parties
    this.onRequest = options.onRequest ?? answerOk

    this.ls = new LsChannel<ChannelRequest>({
      config: {
        role: 'ls',
        bankCode: parties.ls.bankCode,
        times,
        newKx: (epoch) => this.spoilLsKx({ ...parties.ls, terms, epoch, sessionId: randomBytes(16) }),
      },
      socket: link.lsSocket,
      owner: this.owner,
      observer: this.#observer('ls'),
      counters: this.lsCounters,
      clock,
      logger: this.lsLog,
      maxFrameBytes,
      defer,
    })
    this.xchange = new XchangeChannel({
      config: {
        role: 'xchange',
        bankCode: parties.xchange.bankCode,
        times,
        newKx: (epoch) =>
          this.spoilXchangeKx({ ...parties.xchange, offer, epoch, highestGeneration: this.highestGeneration }),
      },
      socket: link.xchangeSocket,
      onResolve: (keys) => this.onResolve(keys),
      onRequest: (request, respond) => {
        this.received.push({ ...request, payload: Buffer.from(request.payload) })
        this.onRequest(request, respond)
      },
      observer: {
        ...this.#observer('xchange'),
        acceptGeneration: (generation) => {
          options.acceptGeneration?.(generation)
          this.highestGeneration = generation
        },
      },
      counters: this.xchangeCounters,
      clock,
      logger: this.xchangeLog,
      maxFrameBytes,
      maxBufferedBytes: options.maxBufferedBytes ?? 4_194_304,
      defer,
    })
  }

  open(): void {
    this.xchange.open()
    this.ls.open()
  }

  /** Opens both ends and lets the first kx and LS's first echo be done. */
  async connect(): Promise<void> {
    this.open()
    await this.clock.advance(this.link.latencyMs * 6)
    if (this.ls.state.name !== 'connected' || this.xchange.state.name !== 'connected') {
      throw new Error(`not connected:\n${this.transcript.join('\n')}`)
    }
  }

  newRequest(fields: { payload?: Buffer; timeoutMs?: number; method?: string; meta?: Buffer } = {}): ChannelRequest {
    const request = {
      key: `key-${this.#requests++}`,
      method: fields.method ?? 'balance',
      payload: fields.payload ?? Buffer.from([0x80]),
      meta: fields.meta,
    }
    return new ChannelRequest(request, this.clock.monotonicMs() + (fields.timeoutMs ?? 30_000))
  }

  /** Sends so many new requests as long as LS takes them; returns those that it took. */
  send(count: number, fields: Parameters<ChannelPair['newRequest']>[0] = {}): ChannelRequest[] {
    const sent: ChannelRequest[] = []
    while (sent.length < count) {
      const request = this.newRequest(fields)
      if (!this.ls.trySend(request)) break
      sent.push(request)
    }
    return sent
  }

  #observer(who: 'ls' | 'xchange'): ChannelObserver {
    const write = (what: string) => this.transcript.push(`${this.clock.monotonicMs()} ${who} ${what}`)
    return {
      onKxCompleted: (session, reason) => write(`kx completed (${reason}), epoch ${session.epoch}`),
      onKxFailed: (error, reason) => write(`kx failed (${reason}): ${error.code}`),
      onPeerDraining: () => write('peer draining'),
      onClosed: (cause, error) => write(`closed: ${cause}${error === undefined ? '' : ` ${error.code}`}`),
      acceptGeneration: () => {},
    }
  }
}

export function answerOk(request: RequestRecord, respond: Respond): void {
  respond({ id: request.id, status: ResponseStatus.ok, payload: request.payload, meta: undefined })
}
