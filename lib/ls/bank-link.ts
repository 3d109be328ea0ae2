import { formatIdentityPin, readIdentityPin, xchangeSpiffeId } from '../certs/index.ts'
import {
  AllowList,
  type ChannelCounters,
  type ChannelSocket,
  CloseCode,
  DialError,
  type DropCause,
  dialChannel,
  type KxReason,
  keepConnected,
  LsChannel,
  newChannelCounters,
  newSessionId,
  newX25519KeyPair,
  type TlsFacts,
  type TlsTarget,
} from '../channel/index.ts'
import { checkIdentityPublicKey, type LsKxConfig, type Session } from '../kx/index.ts'
import { checkSigningMode, type EvidenceKeeper, LsSigning, type SigningMaterial } from '../message/jws/index.ts'
import { describeError, type Logger, LsxError, systemClock, toLsxError } from '../runtime/index.ts'
import { BankTokens, tokenMetaBytes } from './bank-tokens.ts'
import type { BankConfig, LsConfig } from './config.ts'
import { type Deferred, deferred, settledOrAborted } from './deferred.ts'
import type { KxRecord } from './kx-record.ts'
import { KxRecordKeeper } from './kx-record-keeper.ts'
import { isAllowed, type LinkCause, type LinkFailure, type LinkState } from './link-state.ts'
import type { Quarantine } from './quarantine.ts'
import type { EvidenceKind } from './quarantine-rules.ts'
import { type LaneBlock, RequestLane } from './request-lane.ts'
import type { RoutedRequest } from './routed-request.ts'
import type { SwitchContext } from './switch-context.ts'

const NO_BYTES = Buffer.alloc(0)
const ON_THE_WAY_UP: ReadonlySet<LinkState['name']> = new Set(['dialing', 'securing'])

/** Who is at the other end of a socket. */
export interface LinkPeer {
  readonly address: string
  readonly certificateNotAfter: Date
  readonly tls?: TlsFacts | undefined
}

/** A socket on its way to being the link's channel. */
interface Candidate extends LinkPeer {
  readonly channel: LsChannel<RoutedRequest>
  readonly tokens: BankTokens
  /** Resolves when keyed, rejects when it ends before. */
  readonly keyed: Deferred
  readonly ended: Deferred
}

/** Holds the one perpetual channel to a bank: dials or accepts, keys, replaces, drains and quarantines it. */
export class BankLink {
  #bank: BankConfig
  readonly lane: RequestLane
  readonly counters: ChannelCounters = newChannelCounters()
  readonly #context: SwitchContext
  readonly #logger: Logger
  readonly #allowList: AllowList
  #pins: readonly Buffer[]
  #state: LinkState
  #candidate: Candidate | undefined
  #active: Candidate | undefined
  #everConnected = false
  /** Drained for good: another link, or none, holds the channel from now on. */
  #isStopped = false
  readonly #firstAttemptDone: Deferred = deferred()
  #dialling: { readonly abort: AbortController; readonly done: Promise<void> } | undefined
  #lastFailure: LinkFailure | undefined
  #nextDialAtMs: number | undefined
  readonly #kxRecord: KxRecordKeeper
  readonly #signing: LsSigning<RoutedRequest> | undefined

  /** Reads a bank's allow-list and pins, and throws what the constructor would throw. */
  static check(bank: BankConfig, config: LsConfig, signing: SigningMaterial | undefined): void {
    new AllowList(bank.allow)
    readPins(bank)
    newSigning(bank, { config, signing, clock: systemClock })
  }

  /** Throws what `takePins` would throw. */
  static checkPins(bank: BankConfig): void {
    readPins(bank)
  }

  /** Throws BAD_REQUEST or IDENTITY_DENIED when the bank's allow-list or pins cannot be used. */
  constructor(bank: BankConfig, context: SwitchContext) {
    this.#bank = bank
    this.#context = context
    this.#logger = context.logger.child({ bankCode: bank.code })
    this.#allowList = new AllowList(bank.allow)
    this.#pins = readPins(bank)
    this.#state = { name: 'idle', sinceMs: context.clock.monotonicMs() }
    this.#signing = newSigning(bank, context)
    this.#kxRecord = new KxRecordKeeper({
      bankCode: bank.code,
      table: context.kxRecords,
      counters: this.counters,
      logger: this.#logger,
    })
    this.lane = new RequestLane(
      {
        early: bank.early ?? context.config.requests.early,
        bounds: context.config.requests,
        maxFrameBytes: context.config.frames.maxFrameBytes,
        durable: context.durable,
        onUnverified: (error) => this.#onUnverified(error),
        addedMetaBytes: (request) => tokenMetaBytes(request, context.tokenMethods),
        ilp: context.ilp,
        clock: context.clock,
        logger: this.#logger,
      },
      this.#waitingForKey(),
    )
  }

  get bank(): BankConfig {
    return this.#bank
  }

  get state(): LinkState {
    return this.#state
  }

  get session(): Session | undefined {
    return this.#active?.channel.session
  }

  get inFlight(): number {
    return this.#active?.channel.inFlight ?? 0
  }

  /** Unix ms; undefined while the bank has no valid token here. */
  get peerTokenExpiresAtMs(): number | undefined {
    return this.#active?.tokens.session.peerExpiresAtMs
  }

  get lastFailure(): LinkFailure | undefined {
    return this.#lastFailure
  }

  get kxRecord(): KxRecord | undefined {
    return this.#kxRecord.record
  }

  /** Monotonic ms of the next dial, while the link waits for one. */
  get nextDialAtMs(): number | undefined {
    return this.#state.name === 'idle' ? this.#nextDialAtMs : undefined
  }

  /** Ed25519 public keys, in the order of the configuration. */
  get pins(): readonly Buffer[] {
    return this.#pins
  }

  get peer(): LinkPeer | undefined {
    return this.#active
  }

  /** Resolves when the first try for a channel has come to its end, well or badly. */
  get firstAttempt(): Promise<void> {
    return this.#firstAttemptDone.promise
  }

  /**
   * Takes other pins, of configuration or of their files, without a new link. A session of an identity that is no longer
   * pinned ends, and the bank has to prove another. Throws what the constructor would throw.
   */
  takePins(bank: BankConfig): boolean {
    const pins = readPins(bank)
    this.#bank = bank
    if (pins.length === this.#pins.length && pins.every((pin, index) => this.#pins[index]?.equals(pin) === true))
      return false
    this.#pins = pins
    // A kx that is under way was begun with the pins of before.
    this.#candidate?.channel.drop('local', undefined, CloseCode.dropped)
    const identity = this.session?.peerIdentity
    if (identity !== undefined && !pins.some((pin) => pin.equals(identity))) {
      const error = new LsxError('IDENTITY_DENIED', 'the identity that the bank has proven is no longer pinned')
      this.#active?.channel.drop('policy', error, CloseCode.refused)
    }
    return true
  }

  /** Begins to hold the channel. Where the xchange dials, that is to wait for it. */
  start(): void {
    if (this.bank.dial !== 'ls' || this.#isStopped || this.#dialling !== undefined) return
    if (this.#state.name !== 'quarantined') this.#startDialling()
  }

  /** A socket that the xchange dialled; the gate has checked address and certificate. */
  accept(socket: ChannelSocket, exporter: Buffer, peer: LinkPeer): void {
    // On a link that is stopped the bank would be connected, and yet nobody could reach it: it has to dial again.
    if (this.#isStopped || this.#state.name === 'quarantined') {
      socket.close(CloseCode.goodbye, 'goodbye')
      return
    }
    // The newest socket of a bank counts: an older one that is not keyed yet gives way, one that serves goes on until then.
    this.#candidate?.channel.drop('local', superseded(), CloseCode.superseded)
    const candidate = this.#openCandidate(socket, exporter, peer)
    candidate.keyed.promise.catch(() => {})
    candidate.channel.open()
  }

  permitsAddress(address: string | undefined): boolean {
    return this.#allowList.permits(address)
  }

  /** Where and as whom the xchange is to be reached. For banks that LS dials. */
  tlsTarget(): TlsTarget {
    return {
      host: this.bank.host ?? '',
      port: this.bank.port ?? 0,
      secureContext: this.#context.secureContext,
      expectedSpiffeId: xchangeSpiffeId(this.#context.config.trustDomain, this.bank.code),
      allowList: this.#allowList,
    }
  }

  rekey(reason: KxReason): void {
    if (this.#state.name !== 'connected')
      throw new LsxError('CHANNEL_DOWN', `the channel is ${this.#state.name}; there is no session to replace`)
    this.#state.channel.rekey(reason)
  }

  /** Ends the socket by an operator's word; the link comes back by itself. */
  drop(): void {
    const candidate = this.#active ?? this.#candidate
    if (candidate === undefined)
      throw new LsxError('CHANNEL_DOWN', `the channel is ${this.#state.name}; there is no socket to drop`)
    candidate.channel.drop('local', undefined, CloseCode.dropped)
  }

  /** Takes no more requests, finishes those in flight, says goodbye. Resolves when the socket is gone or `signal` aborts. */
  async drain(deadlineMs: number, signal: AbortSignal): Promise<void> {
    this.#isStopped = true
    this.#dialling?.abort.abort(new LsxError('SHUTTING_DOWN', 'the link is stopped'))
    this.#candidate?.channel.drop('local', undefined, CloseCode.goodbye)
    this.lane.block({ code: 'SHUTTING_DOWN', message: 'LS is shutting down', mayWait: false })
    const active = this.#active
    if (active !== undefined) {
      active.channel.drain(deadlineMs)
      if (this.#state.name === 'connected')
        this.#enter({ name: 'draining', sinceMs: this.#nowMs(), channel: active.channel }, {})
      await settledOrAborted(active.ended.promise, signal)
      active.channel.drop('local', undefined, CloseCode.goodbye)
      // Whoever stops the process next must not cut off the goodbye.
      await settledOrAborted(active.channel.gone, signal)
    }
    await this.#dialling?.done
    this.#dialling = undefined
    this.lane.stop()
  }

  quarantine({ reason, by, sinceMs }: Pick<Quarantine, 'reason' | 'by'> & { readonly sinceMs?: number }): void {
    if (this.#state.name === 'quarantined') return
    this.#dialling?.abort.abort(new LsxError('QUARANTINED', reason))
    this.#dialling = undefined
    const error = new LsxError('QUARANTINED', `quarantined: ${reason}`)
    this.#candidate?.channel.drop('policy', error, CloseCode.refused)
    this.#active?.channel.drop('policy', error, CloseCode.refused)
    const quarantine = {
      reason,
      ...(by === undefined ? {} : { by }),
      quarantinedAtMs: sinceMs ?? this.#context.clock.nowMs(),
    }
    this.#enter({ name: 'quarantined', sinceMs: this.#nowMs(), ...quarantine }, { cause: 'policy', error })
    this.lane.block({ code: 'QUARANTINED', message: error.message, mayWait: false })
    this.#firstAttemptDone.resolve()
  }

  resume(): void {
    if (this.#state.name !== 'quarantined') throw new LsxError('BAD_REQUEST', 'the bank is not in quarantine')
    this.#enter({ name: 'idle', sinceMs: this.#nowMs() }, {})
    this.lane.block(this.#waitingForKey())
    this.start()
  }

  #nowMs(): number {
    return this.#context.clock.monotonicMs()
  }

  #waitingForKey(): LaneBlock {
    return this.#everConnected
      ? { code: 'CHANNEL_DOWN', message: 'the channel is down; LS is reconnecting', mayWait: true }
      : { code: 'KEY_PENDING', message: 'the channel has no session key yet', mayWait: true }
  }

  // ---- sockets

  #startDialling(): void {
    const abort = new AbortController()
    const { config, clock, random, dialSlots } = this.#context
    const done = keepConnected({
      attempt: { connect: (signal) => this.#connect(signal), ended: (signal) => this.#ended(signal) },
      backoff: config.reconnect,
      slots: dialSlots,
      clock,
      random,
      signal: abort.signal,
      onWaiting: (delayMs) => {
        this.#nextDialAtMs = clock.monotonicMs() + delayMs
      },
    }).catch((error) => {
      this.#logger.fatal({ error: describeError(error) }, 'the reconnect loop ended: this is a defect; restart lsd')
    })
    this.#dialling = { abort, done }
  }

  async #connect(signal: AbortSignal): Promise<void> {
    const { config, clock } = this.#context
    this.#enter({ name: 'dialing', sinceMs: this.#nowMs() }, {})
    try {
      const { exporter, socket, ...peer } = await dialChannel(
        {
          ...this.tlsTarget(),
          maxFrameBytes: config.frames.maxFrameBytes,
          timeoutMs: config.reconnect.dialTimeoutMs,
        },
        clock,
        signal,
      )
      const candidate = this.#openCandidate(socket, exporter, peer)
      candidate.channel.open()
      await candidate.keyed.promise
    } catch (thrown) {
      const error = toLsxError(thrown)
      if (this.#state.name === 'dialing') {
        const cause: DropCause = error instanceof DialError ? error.dropCause : 'local'
        // Whoever answers at the bank's address and is not the bank is news for the audit.
        if (error.code === 'CERT_DENIED' || error.code === 'IP_DENIED')
          this.#context.refusals.record(error, { bankCode: this.bank.code })
        this.#fail(cause, error)
        this.#enter({ name: 'idle', sinceMs: this.#nowMs() }, { cause, error })
      }
      throw error
    } finally {
      this.#firstAttemptDone.resolve()
    }
  }

  async #ended(signal: AbortSignal): Promise<void> {
    const active = this.#active
    if (active !== undefined) await settledOrAborted(active.ended.promise, signal)
    signal.throwIfAborted()
  }

  #openCandidate(socket: ChannelSocket, exporter: Buffer, peer: LinkPeer): Candidate {
    const { config, clock } = this.#context
    const binding = config.kx.channelBinding ? exporter : NO_BYTES
    const tokens = new BankTokens(this.#context, this.bank.code, {
      send: (token) => channel.sendToken(token),
      onRefused: (error) => channel.drop('policy', error, CloseCode.refused),
    })
    const channel: LsChannel<RoutedRequest> = new LsChannel<RoutedRequest>({
      config: {
        role: 'ls',
        bankCode: this.bank.code,
        times: { kxTimeoutMs: config.kx.timeoutMs, kxRetryMs: config.kx.retryMs },
        newKx: (epoch) => this.#newKx(epoch, binding),
      },
      socket,
      owner: this.lane,
      observer: {
        onKxCompleted: (session, reason, durationMs) => {
          // Before any request: the node looks for this token when the first one comes.
          tokens.session.sessionBegan(session)
          this.#onKxCompleted(candidate, session, reason, durationMs)
        },
        onToken: (token) => tokens.session.tokenReceived(token),
        onKxFailed: (error, reason) => this.#onKxFailed(candidate, error, reason),
        onSessionMixup: (facts) => this.#noteEvidence('session-mixup', facts),
        onPeerDraining: () => {
          this.#logger.info({}, 'the xchange is draining; requests wait for its return')
          if (this.#active === candidate) {
            this.lane.block({
              code: 'CHANNEL_DOWN',
              message: 'the xchange is shutting down or restarting',
              mayWait: true,
            })
          }
        },
        onClosed: (cause, error) => {
          tokens.stop()
          this.#onClosed(candidate, cause, error)
        },
      },
      counters: this.counters,
      clock,
      logger: this.#logger,
      maxFrameBytes: config.frames.maxFrameBytes,
      metaOf: (request) => tokens.metaOf(request),
      defer: this.#context.defer,
      signing: this.#signing,
    })
    const candidate: Candidate = { channel, tokens, ...peer, keyed: deferred(), ended: deferred() }
    this.#candidate = candidate
    if (this.#active === undefined) this.#enter({ name: 'securing', sinceMs: this.#nowMs(), channel }, {})
    return candidate
  }

  #newKx(epoch: number, exporter: Buffer): LsKxConfig {
    const { config, random, generation, staticKeys, identity } = this.#context
    return {
      bankCode: this.bank.code,
      generation,
      exporter,
      staticKeys,
      newEphemeral: newX25519KeyPair,
      identity,
      pinnedIdentities: this.#pins,
      epoch,
      sessionId: newSessionId(),
      terms: {
        echoIntervalMs: config.echo.intervalMs,
        echoTimeoutMs: config.echo.timeoutMs ?? Math.ceil(config.echo.intervalMs / 2),
        // Up to a tenth early, so that channels that were keyed together do not renew together.
        rekeyAfterMs: Math.max(1, Math.floor(config.rekey.afterMs * (1 - random() / 10))),
        rekeyAfterFrames: config.rekey.afterFrames,
        rekeyAfterBytes: config.rekey.afterBytes,
        maxFrameBytes: config.frames.maxFrameBytes,
      },
    }
  }

  // ---- what the channel tells

  #onKxCompleted(candidate: Candidate, session: Session, reason: KxReason, durationMs: number): void {
    const sessionId = session.sessionId.toString('hex')
    this.#logger.info({ sessionId, epoch: session.epoch, reason, durationMs }, 'key exchange completed')
    this.#context.audit.record({
      event: 'kx-completed',
      bankCode: this.bank.code,
      facts: { sessionId, epoch: session.epoch, reason, identity: formatIdentityPin(session.peerIdentity) },
    })
    if (this.#candidate === candidate) {
      const before = this.#active
      this.#candidate = undefined
      this.#active = candidate
      this.counters.connects++
      this.#everConnected = true
      this.#nextDialAtMs = undefined
      this.#enter({ name: 'connected', sinceMs: this.#nowMs(), channel: candidate.channel }, {})
      // The lane changes over first, so that what had not left over the older socket goes out over this one.
      this.lane.attach(candidate.channel)
      before?.channel.drop('local', superseded(), CloseCode.superseded)
      candidate.keyed.resolve()
      this.#firstAttemptDone.resolve()
    } else this.#recordRekey(session)
    this.#kxRecord.update({ state: this.#state.name, status: 1, session })
  }

  #onKxFailed(candidate: Candidate, error: LsxError, reason: KxReason): void {
    const facts = { audit: true, code: error.code, reason, error: describeError(error) }
    this.#logger.error(facts, `key exchange failed: ${error.message}`)
    this.#context.audit.record({
      event: 'kx-failed',
      bankCode: this.bank.code,
      facts: { ...error.facts, code: error.code, message: error.message, reason },
    })
    if (error.code === 'IDENTITY_DENIED') this.#context.refusals.record(error, { bankCode: this.bank.code })
    // Without a session nobody has proven to be the bank: a thief of its TLS key alone gets as far as this.
    // An identity that is not pinned does not count either: the bank may have rotated it before we had its pin.
    if (error.facts.evidence === 'session-mixup' && this.#active === candidate)
      this.#noteEvidence('session-mixup', { during: 'kx', refusal: error.code, message: error.message })
    this.#fail('kx', error)
  }

  /** Of a channel that is keyed, so that the bank's identity has proven whose doing it is. */
  #onUnverified(error: LsxError): void {
    this.#context.refusals.record(error, { bankCode: this.bank.code })
    // A key that we lack, or clocks that differ, may be our own mistake.
    if (error.facts.isSetup !== true) this.#noteEvidence('bad-signature', { ...error.facts, message: error.message })
  }

  /**
   * Counts towards quarantine only where the socket itself is bound to the bank's identity: without the binding somebody
   * in between could end TLS and spoil frames under the bank's name.
   */
  #noteEvidence(kind: EvidenceKind, facts: Readonly<Record<string, unknown>>): void {
    const { config, desk, audit } = this.#context
    if (kind === 'bad-signature' || config.kx.channelBinding) desk.note(this.bank.code, kind, facts)
    else audit.record({ event: 'evidence', bankCode: this.bank.code, facts: { code: kind, ...facts, counts: false } })
  }

  #onClosed(candidate: Candidate, cause: DropCause, error: LsxError | undefined): void {
    if (error !== undefined && cause === 'policy') this.#context.refusals.record(error, { bankCode: this.bank.code })
    const isActive = this.#active === candidate
    const isCandidate = this.#candidate === candidate
    if (isActive) this.#active = undefined
    if (isCandidate) this.#candidate = undefined
    if (isActive || (isCandidate && this.#state.name === 'securing')) {
      this.counters.drops[cause]++
      if (error !== undefined) this.#fail(cause, error)
      if (this.#state.name !== 'quarantined') {
        this.#enter({ name: 'idle', sinceMs: this.#nowMs() }, { cause, ...(error === undefined ? {} : { error }) })
        if (isActive) this.lane.block(this.#waitingForKey())
      }
      // A newer socket that is being keyed takes the place of the one that is gone.
      if (this.#candidate !== undefined && this.#state.name === 'idle') {
        this.#enter({ name: 'securing', sinceMs: this.#nowMs(), channel: this.#candidate.channel }, {})
      }
    }
    this.#kxRecord.update({ state: this.#state.name, status: this.session === undefined ? 0 : 1 })
    if (isActive && error?.facts.evidence === 'bad-tag')
      this.#noteEvidence('bad-tag', { ...error.facts, message: error.message })
    candidate.keyed.reject(error ?? new LsxError('CHANNEL_DOWN', 'the channel was closed'))
    candidate.ended.resolve()
    this.#firstAttemptDone.resolve()
  }

  // ---- state and records

  #fail(cause: DropCause, error: LsxError): void {
    this.#lastFailure = { atMs: this.#context.clock.nowMs(), cause, code: error.code, message: error.message }
  }

  #enter(next: LinkState, { cause, error }: LinkCause): void {
    const from = this.#state
    if (!isAllowed(from.name, next.name)) {
      throw new LsxError('INTERNAL', `a link cannot go from ${from.name} to ${next.name}`)
    }
    this.#state = next
    const session = this.#active?.channel.session
    const facts = {
      from: from.name,
      to: next.name,
      ...(cause === undefined ? {} : { cause }),
      ...(error === undefined ? {} : { code: error.code, detail: error.message }),
      ...(next.name === 'connected' && session !== undefined
        ? { sessionId: session.sessionId.toString('hex'), epoch: session.epoch }
        : {}),
      durationMs: next.sinceMs - from.sinceMs,
    }
    this.#context.uptime.record({ atMs: this.#context.clock.nowMs(), bankCode: this.bank.code, ...facts })
    // On the way up there is a line of each step in uptime.log; here the end of it is news.
    if (error === undefined && ON_THE_WAY_UP.has(next.name)) this.#logger.debug(facts, `channel ${next.name}`)
    else if (error === undefined) this.#logger.info(facts, `channel ${next.name}`)
    else this.#logger.warn({ ...facts, error: describeError(error) }, `channel ${next.name}: ${error.message}`)
  }

  #recordRekey(session: Session): void {
    if (this.#state.name !== 'connected') return
    this.#context.uptime.record({
      atMs: this.#context.clock.nowMs(),
      bankCode: this.bank.code,
      from: 'connected',
      to: 'connected',
      sessionId: session.sessionId.toString('hex'),
      epoch: session.epoch,
      durationMs: this.#nowMs() - this.#state.sinceMs,
    })
  }
}

function readPins(bank: BankConfig): readonly Buffer[] {
  return bank.identities.map((pin) => {
    const publicKey = readIdentityPin(pin)
    checkIdentityPublicKey(publicKey)
    return publicKey
  })
}

/** @throws LsxError BAD_REQUEST, party self, where the key cannot sign as this bank asks for */
function newSigning(
  bank: BankConfig,
  context: Pick<SwitchContext, 'signing' | 'config' | 'evidence' | 'clock'>,
): LsSigning<RoutedRequest> | undefined {
  const { signing, config } = context
  if (signing === undefined || config.signing === undefined) return undefined
  const { sign, mode } = { ...config.signing, ...bank.signing }
  checkSigningMode(signing.key, { sign, mode })
  return new LsSigning<RoutedRequest>({
    ...signing.forChannel(bank.code, bank.signing),
    evidence: evidenceKeeper(bank.code, context),
  })
}

function evidenceKeeper(
  bankCode: string,
  { evidence, config, clock }: Pick<SwitchContext, 'config' | 'evidence' | 'clock'>,
): EvidenceKeeper<RoutedRequest> | undefined {
  if (evidence === undefined) return undefined
  return {
    isWanted: (request) => request.durable || config.evidence.keep === 'all',
    onProven: ({ key }, { sent, answered }) =>
      evidence.keep({ key, bankCode, keptAtMs: clock.nowMs(), request: sent, response: answered }),
  }
}

function superseded(): LsxError {
  return new LsxError('CHANNEL_DOWN', 'a newer socket of the same bank took over')
}
