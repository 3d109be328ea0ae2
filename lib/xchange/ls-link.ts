import type { AuditSink } from '../audit/index.ts'
import {
  type ChannelCounters,
  type ChannelSocket,
  CloseCode,
  type DropCause,
  dialChannel,
  type KeyAnswer,
  type KxReason,
  newChannelCounters,
  newX25519KeyPair,
  type TlsTarget,
  XchangeChannel,
  type XchangeSigningOptions,
} from '../channel/index.ts'
import type { RequestRecord, ResponseRecord } from '../frames/index.ts'
import type { Identity, Session, XchangeKxConfig } from '../kx/index.ts'
import { type Clock, describeError, type Logger, LsxError } from '../runtime/index.ts'
import type { XchangeConfig } from './config.ts'
import type { RequestOrigin } from './dispatcher.ts'
import type { XchangeTokens } from './tokens.ts'

const NO_BYTES = Buffer.alloc(0)

export interface LsLinkOptions {
  readonly config: XchangeConfig
  /** Asked at each kx. */
  readonly identity: () => Identity
  readonly tokens: Pick<XchangeTokens, 'sessionTokens'>
  /** Ed25519, 32 bytes each. */
  readonly pins: () => readonly Buffer[]
  /** 16 bytes: 8 that name the memory of keys, and 8 that are new at each start. */
  readonly bootId: () => Buffer
  /** The highest generation accepted so far; on disk before `acceptGeneration` returns. */
  readonly highestGeneration: () => number
  readonly acceptGeneration: (generation: number) => void
  readonly onRequest: (
    request: RequestRecord,
    respond: (response: ResponseRecord) => void,
    origin: RequestOrigin,
  ) => void
  /** What became of these keys. */
  readonly onResolve: (keys: readonly string[]) => KeyAnswer | Promise<KeyAnswer>
  /** Left out where messages are neither signed nor verified. */
  readonly signing?: XchangeSigningOptions | undefined
  readonly audit: AuditSink
  readonly clock: Clock
  readonly logger: Logger
  readonly defer: (flush: () => void) => void
}

interface Leg {
  readonly channel: XchangeChannel
  readonly address: string
  settle: { keyed: () => void; failed: (error: LsxError) => void; ended: () => void }
}

/**
 * The one channel to LS. A newer socket takes over only once its kx is done: whoever cannot complete the kx, an older
 * LS among them, never disturbs the channel that serves.
 */
export class LsLink {
  readonly counters: ChannelCounters = newChannelCounters()
  readonly #options: LsLinkOptions
  #active: Leg | undefined
  #candidate: Leg | undefined
  #stopping = false

  constructor(options: LsLinkOptions) {
    this.#options = options
  }

  get session(): Session | undefined {
    return this.#active?.channel.session
  }

  /** LS has connected; the gate has checked address and certificate. */
  accept(socket: ChannelSocket, exporter: Buffer, address: string): void {
    const leg = this.#open(socket, exporter, address)
    leg.keyed.catch(() => {})
  }

  /** Dials LS and resolves when the channel is keyed; `ended` resolves at its end. */
  async connect(target: TlsTarget, signal: AbortSignal): Promise<{ ended: Promise<void> }> {
    const { config, clock } = this.#options
    const dialled = await dialChannel(
      { ...target, maxFrameBytes: config.frames.maxFrameBytes, timeoutMs: config.reconnect.dialTimeoutMs },
      clock,
      signal,
    )
    const leg = this.#open(dialled.socket, dialled.exporter, dialled.address)
    await leg.keyed
    return { ended: leg.ended }
  }

  /** Asks LS for a new kx, to prove another identity. */
  askForKx(): void {
    if (this.session !== undefined) this.#active?.channel.askForKx()
  }

  /** A pin was taken away: the session of an LS that proved it then is over. */
  dropUnlessPinned(pins: readonly Buffer[]): void {
    const identity = this.session?.peerIdentity
    if (identity === undefined || pins.some((pin) => pin.equals(identity))) return
    const error = new LsxError('IDENTITY_DENIED', 'the identity that LS has proven is no longer pinned')
    this.#active?.channel.drop('policy', error, CloseCode.refused)
  }

  drop(): void {
    this.#active?.channel.drop('local', undefined)
    this.#candidate?.channel.drop('local', undefined)
  }

  /** Tells LS to send no more, answers what came, says goodbye. Resolves when the socket is gone or `signal` aborts. */
  async drain(deadlineMs: number, signal: AbortSignal): Promise<void> {
    this.#stopping = true
    this.#candidate?.channel.drop('local', undefined, CloseCode.goodbye)
    const active = this.#active
    if (active === undefined) return
    active.channel.drain(deadlineMs)
    // To the end of the socket and not only of the channel: the last answers and the goodbye must leave the process.
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
      if (signal.aborted) resolve()
      active.channel.gone.then(resolve)
    })
    active.channel.drop('local', undefined, CloseCode.goodbye)
  }

  #open(socket: ChannelSocket, exporter: Buffer, address: string): { keyed: Promise<void>; ended: Promise<void> } {
    const { config, clock, logger, onRequest, onResolve, defer, signing } = this.#options
    this.#candidate?.channel.drop('local', superseded(), CloseCode.superseded)
    const tokens = this.#options.tokens.sessionTokens({
      send: (token) => channel.sendToken(token),
      onRefused: (error) => channel.drop('policy', error, CloseCode.refused),
    })
    const origin: RequestOrigin = { tokens }
    const channel: XchangeChannel = new XchangeChannel({
      config: {
        role: 'xchange',
        bankCode: config.bankCode,
        times: { kxTimeoutMs: config.kx.timeoutMs, kxRetryMs: config.kx.timeoutMs },
        newKx: (epoch) => this.#newKx(epoch, config.kx.channelBinding ? exporter : NO_BYTES),
      },
      socket,
      onRequest: (request, respond) => onRequest(request, respond, origin),
      onResolve,
      observer: {
        onKxCompleted: (session, reason, durationMs) => {
          tokens.sessionBegan(session)
          this.#onKxCompleted(leg, session, reason, durationMs)
        },
        onToken: (token) => tokens.tokenReceived(token),
        onKxFailed: (error) => this.#onKxFailed(leg, error),
        // Recorded only: this node has one LS, and must not lock itself out.
        onSessionMixup: (facts) =>
          this.#options.audit.record({ event: 'evidence', facts: { code: 'session-mixup', ...facts } }),
        onPeerDraining: () => logger.info({}, 'LS is draining; it will come back by itself'),
        onClosed: (cause, error) => {
          tokens.stop()
          this.#onClosed(leg, cause, error)
        },
        acceptGeneration: (generation) => this.#options.acceptGeneration(generation),
      },
      counters: this.counters,
      clock,
      logger,
      maxFrameBytes: config.frames.maxFrameBytes,
      maxBufferedBytes: config.requests.maxUnreadBytes,
      defer,
      signing,
    })
    const settle: Leg['settle'] = { keyed: () => {}, failed: () => {}, ended: () => {} }
    const keyed = new Promise<void>((resolve, reject) => {
      settle.keyed = resolve
      settle.failed = reject
    })
    const ended = new Promise<void>((resolve) => {
      settle.ended = resolve
    })
    const leg: Leg = { channel, address, settle }
    this.#candidate = leg
    channel.open()
    return { keyed, ended }
  }

  #newKx(epoch: number, exporter: Buffer): XchangeKxConfig {
    const { config, bootId } = this.#options
    return {
      bankCode: config.bankCode,
      highestGeneration: this.#options.highestGeneration(),
      exporter,
      newKeyPair: newX25519KeyPair,
      identity: this.#options.identity(),
      pinnedIdentities: this.#options.pins(),
      offer: { windowRecords: config.requests.window, maxFrameBytes: config.frames.maxFrameBytes, bootId: bootId() },
      epoch,
    }
  }

  #onKxCompleted(leg: Leg, session: Session, reason: KxReason, durationMs: number): void {
    const facts = {
      sessionId: session.sessionId.toString('hex'),
      epoch: session.epoch,
      generation: session.generation,
      durationMs,
    }
    this.#options.logger.info({ ...facts, reason, address: leg.address }, 'key exchange completed')
    this.#options.audit.record({ event: 'kx-completed', facts: { ...facts, reason, address: leg.address } })
    if (this.#candidate !== leg) return
    const before = this.#active
    this.#candidate = undefined
    this.#active = leg
    this.counters.connects++
    before?.channel.drop('local', superseded(), CloseCode.superseded)
    leg.settle.keyed()
    if (this.#stopping) leg.channel.drop('local', undefined, CloseCode.goodbye)
  }

  #onKxFailed(leg: Leg, error: LsxError): void {
    this.#options.logger.error(
      { audit: true, code: error.code, address: leg.address, error: describeError(error) },
      `key exchange failed: ${error.message}`,
    )
    const { code, message, facts } = error
    this.#options.audit.record({ event: 'kx-failed', facts: { ...facts, code, message, address: leg.address } })
  }

  #onClosed(leg: Leg, cause: DropCause, error: LsxError | undefined): void {
    const { logger } = this.#options
    const wasActive = this.#active === leg
    if (wasActive) this.#active = undefined
    if (this.#candidate === leg) this.#candidate = undefined
    this.counters.drops[cause]++
    const facts = {
      cause,
      address: leg.address,
      wasActive,
      ...(error === undefined ? {} : { code: error.code, error: describeError(error) }),
    }
    if (error === undefined) logger.info(facts, 'the channel to LS ended')
    else logger.warn({ audit: cause === 'policy', ...facts }, `the channel to LS ended: ${error.message}`)
    if (error !== undefined && cause === 'policy') {
      const { code, message } = error
      const session = wasActive ? { wasKeyed: true } : {}
      this.#options.audit.record({
        event: 'channel-ended',
        facts: { ...error.facts, code, message, address: leg.address, ...session },
      })
    }
    leg.settle.failed(error ?? new LsxError('CHANNEL_DOWN', 'the channel was closed'))
    leg.settle.ended()
  }
}

function superseded(): LsxError {
  return new LsxError('CHANNEL_DOWN', 'a newer socket of LS took over')
}
