import { decodeMap, encodeMap, FrameType, HEADER_BYTES, readHeader, TAG_BYTES } from '../frames/index.ts'
import { abandonLsKx, abandonXchangeKx, type LsKxState, type Session, type XchangeKxState } from '../kx/index.ts'
import {
  type Clock,
  describeError,
  failpoint,
  type Logger,
  LsxError,
  type TimerHandle,
  toLsxError,
} from '../runtime/index.ts'
import { type ChannelCounters, countKxDuration, countRoundTrip } from './counters.ts'
import { isWorthALine } from './log-thinning.ts'
import { advance, nextDeadlineMs, openChannel } from './machine.ts'
import type { ChannelSocket } from './socket.ts'
import {
  type ChannelConfig,
  type ChannelEffect,
  type ChannelEvent,
  type ChannelState,
  CloseCode,
  type DropCause,
  ECHO_MISSES_BEFORE_XCHANGE_CLOSES,
  type KeyAnswer,
  type KxReason,
  type Now,
} from './state.ts'

/** Who owns a channel hears of its transitions here; nothing of the message path passes through. */
export interface ChannelObserver {
  /** The first kx of this socket, or a later one, is done. */
  onKxCompleted(session: Session, reason: KxReason, durationMs: number): void
  onKxFailed(error: LsxError, reason: KxReason): void
  /** The peer's key has sealed what is of another session: no honest peer does that. */
  onSessionMixup?(facts: Readonly<Record<string, unknown>>): void
  /** The xchange finishes what it has and takes no more. */
  onPeerDraining(): void
  /** The peer's token for the session in force; nothing of it is verified. */
  onToken?(token: string): void
  /** Called once. `error` is undefined where the end was orderly. */
  onClosed(cause: DropCause, error: LsxError | undefined): void
  /** An xchange writes the generation down before this returns; throwing ends the channel. */
  acceptGeneration(generation: number): void
}

/** Where the opened bodies of REQUEST and RESPONSE frames go. */
export interface RecordSink {
  /** The frame type that this side may receive. */
  readonly accepts: typeof FrameType.request | typeof FrameType.response
  /** `session`: whose key had sealed the frame. */
  onBody(body: Buffer, session: Session): void
  onWindow(windowRecords: number): void
  /** An xchange is asked what became of keys. */
  onResolveAsked(n: number, keys: readonly string[]): void
  /** LS hears what became of the keys of its question `n`. */
  onResolveAnswered(n: number, answer: KeyAnswer): void
}

export interface SecuredChannelOptions {
  readonly config: ChannelConfig
  readonly socket: ChannelSocket
  readonly sink: RecordSink
  readonly observer: ChannelObserver
  readonly counters: ChannelCounters
  readonly clock: Clock
  readonly logger: Logger
  /** The largest frame that this side takes before a kx has agreed on a limit. */
  readonly maxFrameBytes: number
  /** A peer that lets more than this lie unread is dropped. */
  readonly maxUnreadBytes: number
}

/**
 * The driver of one socket's channel: turns socket, timer and commands into events of the state machine and performs
 * its effects. Sealing and opening of record batches go straight through; they change no state but the keys' counters.
 */
export class SecuredChannel {
  /** Resolves when the socket is gone: all that was sent has left this process, or never will. */
  readonly gone: Promise<void>
  readonly #options: SecuredChannelOptions
  #onGone: () => void = () => {}
  #state: ChannelState
  #timer: TimerHandle | undefined
  #timerAtMs: number | undefined
  #maxFrameBytes: number
  #nextCountedKxAtMs = 0
  #ignored = 0
  readonly #pendingEvents: ChannelEvent[] = []
  #advancing = false

  constructor(options: SecuredChannelOptions) {
    this.#options = options
    this.gone = new Promise((resolve) => {
      this.#onGone = resolve
    })
    this.#maxFrameBytes = options.maxFrameBytes
    this.#state = openChannel(options.config, this.#now())
  }

  get state(): ChannelState {
    return this.#state
  }

  get session(): Session | undefined {
    return this.#state.name === 'connected' || this.#state.name === 'draining' ? this.#state.session : undefined
  }

  /** The largest batch body that fits the agreed frame limit. */
  get maxBodyBytes(): number {
    return this.#maxFrameBytes - HEADER_BYTES - TAG_BYTES
  }

  /** Begins to listen; LS sends INIT_KX. */
  open(): void {
    this.#options.socket.listen({
      onFrame: (frame) => this.#onFrame(frame),
      onClosed: (closeCode, reason) => {
        this.#apply({ type: 'peerClosed', closeCode, reason })
        this.#onGone()
      },
      onFailed: (error) =>
        this.#apply({ type: 'socketFailed', error, cause: error.code === 'FRAME_INVALID' ? 'policy' : 'peer-close' }),
    })
    this.#apply({ type: 'opened' })
  }

  rekey(reason: KxReason): void {
    this.#apply({ type: 'rekey', reason })
  }

  drain(deadlineMs: number): void {
    this.#apply({ type: 'drain', deadlineMs })
  }

  /** Matters to a channel that drains, and to no other. */
  nothingInFlight(): void {
    if (this.#state.name === 'draining') this.#apply({ type: 'nothingInFlight' })
  }

  /** Ends the channel. With an error its code is the close reason; without one the end is orderly. */
  drop(cause: DropCause, error: LsxError | undefined, closeCode: number): void {
    this.#apply({ type: 'drop', cause, error, closeCode })
  }

  sendControl(body: Record<string, unknown>): void {
    const session = this.session
    if (session !== undefined) this.#seal(session, FrameType.control, encodeMap(body))
  }

  /**
   * Seals a batch body and hands it to the socket. The channel must be keyed. `onSealed` is called in between: before it
   * nothing has left this process. A key that cannot seal ends the channel.
   */
  sendBody(
    type: FrameType,
    body: Buffer,
    events: { readonly onSealed?: () => void; readonly onWritten?: (() => void) | undefined } = {},
  ): void {
    const session = this.session
    if (session === undefined) throw new LsxError('CHANNEL_DOWN', 'the channel has no session')
    this.#seal(session, type, body, events)
    this.#rekeyWhenWorn(session)
  }

  #now(): Now {
    return { wallMs: this.#options.clock.nowMs(), monotonicMs: this.#options.clock.monotonicMs() }
  }

  /** At its hard stop a key seals no more. That ends this channel; thrown into a deferred flush it would end the daemon. */
  #seal(
    session: Session,
    type: FrameType,
    plaintext: Buffer,
    events: { readonly onSealed?: () => void; readonly onWritten?: (() => void) | undefined } = {},
  ): void {
    let frame: Buffer
    try {
      frame = session.seal.seal(type, plaintext, this.#options.clock.monotonicMs())
    } catch (thrown) {
      this.#apply({ type: 'socketFailed', cause: 'local', error: toLsxError(thrown) })
      return
    }
    events.onSealed?.()
    this.#send(frame, events.onWritten)
  }

  #send(frame: Buffer, onWritten?: () => void): void {
    this.#options.counters.framesSent++
    this.#options.counters.bytesSent += frame.length
    const { socket, maxUnreadBytes } = this.#options
    socket.send(frame, onWritten)
    if (socket.bufferedBytes <= maxUnreadBytes || this.#state.name === 'closed') return
    const error = new LsxError('BUSY', `the peer does not read: over ${maxUnreadBytes} bytes lie unsent`)
    this.drop('policy', error, CloseCode.dropped)
  }

  /** LS replaces a key that has sealed or opened its share; both directions count. */
  #rekeyWhenWorn(session: Session): void {
    const { terms } = session
    if (session.seal.framesSealed + session.open.framesOpened < terms.rekeyAfterFrames) {
      if (session.seal.bytesSealed + session.open.bytesOpened < terms.rekeyAfterBytes) return
    }
    if (this.#options.config.role !== 'ls' || this.#state.name !== 'connected' || this.#state.pendingKx !== undefined)
      return
    if (this.#options.clock.monotonicMs() < this.#nextCountedKxAtMs) return
    this.#apply({ type: 'rekey', reason: 'age' })
  }

  #onFrame(frame: Buffer): void {
    if (this.#state.name === 'closed') return
    const { counters, sink } = this.#options
    counters.framesReceived++
    counters.bytesReceived += frame.length
    try {
      if (frame.length > this.#maxFrameBytes) throw new LsxError('FRAME_INVALID', 'a frame over the agreed limit')
      const header = readHeader(frame)
      if (header.type === FrameType.kx) {
        this.#apply({ type: 'kxFrame', frame })
        return
      }
      const plaintext = this.#open(frame, header.epoch)
      switch (header.type) {
        case FrameType.request:
        case FrameType.response:
          if (header.type !== sink.accepts) throw this.#wrongWay(header.type)
          sink.onBody(plaintext, this.#sessionOf(header.epoch))
          break
        case FrameType.echo:
          this.#apply({ type: 'echo', body: decodeMap(plaintext), epoch: header.epoch })
          break
        case FrameType.echoReply:
          this.#apply({ type: 'echoReply', body: decodeMap(plaintext), epoch: header.epoch })
          break
        case FrameType.control:
          this.#apply({ type: 'control', body: decodeMap(plaintext) })
          break
      }
    } catch (thrown) {
      const error = toLsxError(thrown)
      const closeCode = error.code === 'REFUSED' ? CloseCode.refused : CloseCode.frameInvalid
      this.drop(error.code === 'INTERNAL' ? 'local' : 'policy', error, closeCode)
    }
  }

  #wrongWay(type: FrameType): LsxError {
    return type === FrameType.request
      ? new LsxError('REFUSED', 'the xchange sent a request: requests go from LS to xchange only', {
          facts: { audit: true },
        })
      : new LsxError('NOT_LS', 'LS sent a response: responses go from xchange to LS only', { facts: { audit: true } })
  }

  #open(frame: Buffer, epoch: number): Buffer {
    const state = this.#state
    if (state.name !== 'connected' && state.name !== 'draining') {
      throw new LsxError('FRAME_INVALID', 'a sealed frame before the kx was finished')
    }
    const nowMs = this.#options.clock.monotonicMs()
    if (epoch === state.session.epoch) {
      const plaintext = state.session.open.open(frame, nowMs)
      if (state.previous !== undefined) this.#apply({ type: 'peerSwitched' })
      return plaintext
    }
    if (state.previous !== undefined && epoch === state.previous.epoch) return state.previous.open.open(frame, nowMs)
    throw new LsxError('FRAME_INVALID', 'a frame of an epoch that is not in force', {
      facts: { epoch, evidence: 'bad-tag' },
    })
  }

  /** Of an epoch in force, from which a frame was opened. */
  #sessionOf(epoch: number): Session {
    const state = this.#state
    const sessions = state.name === 'connected' || state.name === 'draining' ? [state.session, state.previous] : []
    const session = sessions.find((candidate) => candidate?.epoch === epoch)
    if (session === undefined) throw new LsxError('INTERNAL', 'a frame was opened by a session that is not there')
    return session
  }

  /** One event at a time: what an effect brings about waits its turn. */
  #apply(event: ChannelEvent): void {
    this.#pendingEvents.push(event)
    if (this.#advancing) return
    this.#advancing = true
    try {
      for (let next = this.#pendingEvents.shift(); next !== undefined; next = this.#pendingEvents.shift())
        this.#step(next)
    } finally {
      this.#advancing = false
    }
    this.#armTimer()
  }

  #step(event: ChannelEvent): void {
    const wasClosed = this.#state.name === 'closed'
    let advanced: ReturnType<typeof advance>
    try {
      advanced = advance(this.#state, event, this.#now(), this.#options.config)
    } catch (thrown) {
      // Only a defect can throw here. The channel must not live on in a state nobody knows.
      const error = toLsxError(thrown)
      this.#options.logger.error(
        { event: event.type, error: describeError(error) },
        'a defect in the channel state machine; dropping',
      )
      advanced = advance(
        this.#state,
        { type: 'socketFailed', cause: 'local', error },
        this.#now(),
        this.#options.config,
      )
    }
    this.#state = advanced.state
    for (const effect of advanced.effects) {
      try {
        this.#perform(effect)
      } catch (thrown) {
        this.#pendingEvents.push({ type: 'socketFailed', cause: 'local', error: toLsxError(thrown) })
        if (this.#state.name !== 'closed') break
      }
    }
    if (this.#state.name === 'closed' && !wasClosed)
      this.#options.observer.onClosed(this.#state.cause, this.#state.error)
  }

  #perform(effect: ChannelEffect): void {
    const { socket, observer, counters, logger, sink } = this.#options
    switch (effect.type) {
      case 'sendKx':
        failpoint('kx-send:before')
        this.#send(effect.frame)
        failpoint('kx-send:after')
        break
      case 'sendSealed':
        this.#seal(effect.session, FrameType[effect.frameType], encodeMap(effect.body))
        break
      case 'acceptGeneration':
        observer.acceptGeneration(effect.generation)
        break
      case 'kxStarted':
        counters.kxStarted++
        break
      case 'kxCompleted':
        failpoint('epoch-switch:before')
        countKxDuration(counters, effect.durationMs)
        this.#maxFrameBytes = effect.session.terms.maxFrameBytes
        observer.onKxCompleted(effect.session, effect.reason, effect.durationMs)
        failpoint('epoch-switch:after')
        break
      case 'kxFailed':
        counters.kxFailed++
        this.#nextCountedKxAtMs = this.#options.clock.monotonicMs() + this.#options.config.times.kxRetryMs
        observer.onKxFailed(effect.error, effect.reason)
        break
      case 'echoAnswered':
        countRoundTrip(counters, effect.roundTripMs)
        break
      case 'echoMissed':
        counters.echoesMissed++
        if (effect.missed <= ECHO_MISSES_BEFORE_XCHANGE_CLOSES || isWorthALine(effect.missed))
          logger.warn({ missed: effect.missed }, 'an echo was missed or named another session')
        break
      case 'sessionMixup':
        observer.onSessionMixup?.(effect.facts)
        break
      case 'windowChanged':
        sink.onWindow(effect.windowRecords)
        break
      case 'resolveAsked':
        sink.onResolveAsked(effect.n, effect.keys)
        break
      case 'resolveAnswered':
        sink.onResolveAnswered(effect.n, effect.answer)
        break
      case 'tokenReceived':
        observer.onToken?.(effect.token)
        break
      case 'destroyKeys':
        if (effect.half !== 'open') effect.session.seal.destroy()
        if (effect.half !== 'seal') effect.session.open.destroy()
        break
      case 'abandonKx':
        if (this.#options.config.role === 'ls') abandonLsKx(effect.pendingKx.kx as LsKxState)
        else abandonXchangeKx(effect.pendingKx.kx as XchangeKxState)
        break
      case 'peerDraining':
        observer.onPeerDraining()
        break
      case 'close':
        socket.close(effect.closeCode, effect.reason)
        break
      case 'terminate':
        socket.terminate()
        break
      case 'ignored':
        this.#ignored++
        if (isWorthALine(this.#ignored)) logger.warn({ ignored: this.#ignored }, `ignored: ${effect.what}`)
        break
    }
  }

  #armTimer(): void {
    const { clock } = this.#options
    const atMs = nextDeadlineMs(this.#state)
    if (atMs === this.#timerAtMs) return
    if (this.#timer !== undefined) clock.cancelTimer(this.#timer)
    this.#timer = undefined
    this.#timerAtMs = atMs
    if (atMs === undefined || atMs === Number.POSITIVE_INFINITY) return
    this.#timer = clock.startTimer(Math.ceil(atMs - clock.monotonicMs()), () => {
      this.#timer = undefined
      this.#timerAtMs = undefined
      this.#apply({ type: 'tick' })
    })
  }
}
