import { isKey } from '../frames/index.ts'
import {
  answerFinKx,
  answerInitKx,
  beginLsKx,
  continueLsKx,
  type LsKxState,
  type LsKxStep,
  type Session,
  type XchangeKxState,
  type XchangeKxStep,
} from '../kx/index.ts'
import { LsxError } from '../runtime/index.ts'
import { advanceEcho, echoAnswered, echoDeadlineMs, startEcho } from './echo.ts'
import {
  type ChannelConfig,
  type ChannelEffect,
  type ChannelEvent,
  type ChannelState,
  CloseCode,
  type DropCause,
  ECHO_MISSES_BEFORE_KX,
  ECHO_MISSES_BEFORE_XCHANGE_CLOSES,
  type KeyState,
  type KxReason,
  LAST_EPOCH,
  MAX_RESOLVE_KEYS,
  type Now,
  type PendingKx,
  type Secured,
} from './state.ts'

export interface Advanced {
  readonly state: ChannelState
  readonly effects: readonly ChannelEffect[]
}

type SecuredState = Extract<ChannelState, { name: 'connected' | 'draining' }>

/** The state of a socket that has just opened. */
export function openChannel(config: ChannelConfig, now: Now): ChannelState {
  return {
    name: 'securing',
    sinceMs: now.monotonicMs,
    deadlineMs: now.monotonicMs + config.times.kxTimeoutMs,
    pendingKx: undefined,
  }
}

/** When the state next wants a `tick` (monotonic ms); undefined when it waits for nothing but its peer. */
export function nextDeadlineMs(state: ChannelState): number | undefined {
  switch (state.name) {
    case 'securing':
      return state.deadlineMs
    case 'connected':
      return Math.min(echoDeadlineMs(state.echo), state.pendingKx?.deadlineMs ?? state.rekeyAtMs)
    case 'draining':
      return Math.min(
        state.deadlineMs,
        echoDeadlineMs(state.echo),
        state.pendingKx?.deadlineMs ?? Number.POSITIVE_INFINITY,
      )
    case 'closed':
      return undefined
  }
}

/** Every change of a channel's state happens here. A closed channel ignores all that comes after. */
export function advance(state: ChannelState, event: ChannelEvent, now: Now, config: ChannelConfig): Advanced {
  if (state.name === 'closed') return { state, effects: [] }
  switch (event.type) {
    case 'opened':
      if (config.role !== 'ls' || state.name !== 'securing' || state.pendingKx !== undefined) return unchanged(state)
      return beginKx(state, 'start', now, config)
    case 'kxFrame':
      return onKxFrame(state, event.frame, now, config)
    case 'echo':
      return onEcho(state, event, now, config)
    case 'echoReply':
      return onEchoReply(state, event, now, config)
    case 'control':
      return onControl(state, event.body, now, config)
    case 'peerSwitched':
      return onPeerSwitched(state)
    case 'tick':
      return onTick(state, now, config)
    case 'rekey':
      if (state.name !== 'connected' || state.pendingKx !== undefined || config.role !== 'ls') return unchanged(state)
      return beginKx(state, event.reason, now, config)
    case 'drain':
      return onDrain(state, event.deadlineMs, now)
    case 'nothingInFlight':
      return state.name === 'draining' ? sayGoodbye(state, now) : unchanged(state)
    case 'drop':
      return close(state, now, event.cause, event.error, event.closeCode)
    case 'peerClosed':
      return onPeerClosed(state, event, now)
    case 'socketFailed':
      return terminate(state, now, event.cause, event.error)
  }
}

function unchanged(state: ChannelState, ...effects: ChannelEffect[]): Advanced {
  return { state, effects }
}

function sealed(
  session: Session,
  frameType: 'echo' | 'echoReply' | 'control',
  body: Record<string, unknown>,
): ChannelEffect {
  return { type: 'sendSealed', session, frameType, body }
}

/** Ends the channel with a close frame: the socket still works. */
function close(
  state: ChannelState,
  now: Now,
  cause: DropCause,
  error: LsxError | undefined,
  closeCode: number,
  before: readonly ChannelEffect[] = [],
): Advanced {
  // The peer learns one opaque code, never the detail.
  const reason = error === undefined ? 'goodbye' : peerVisibleCode(error)
  return {
    state: { name: 'closed', sinceMs: now.monotonicMs, cause, error },
    effects: [...before, ...destroyAllKeys(state), { type: 'close', closeCode, reason }],
  }
}

/** Ends the channel at once: nothing can be said over this socket any more. */
function terminate(state: ChannelState, now: Now, cause: DropCause, error: LsxError | undefined): Advanced {
  return {
    state: { name: 'closed', sinceMs: now.monotonicMs, cause, error },
    effects: [...destroyAllKeys(state), { type: 'terminate' }],
  }
}

function peerVisibleCode(error: LsxError): LsxError['code'] {
  switch (error.code) {
    case 'IDENTITY_DENIED':
    case 'STALE_GENERATION':
      return 'KX_FAILED'
    default:
      return error.code
  }
}

function destroyAllKeys(state: ChannelState): ChannelEffect[] {
  if (state.name === 'closed') return []
  const effects: ChannelEffect[] = abandon(state.pendingKx)
  if (state.name === 'securing') return effects
  effects.push({ type: 'destroyKeys', session: state.session, half: 'both' })
  if (state.previous !== undefined) effects.push({ type: 'destroyKeys', session: state.previous, half: 'both' })
  return effects
}

function abandon(pendingKx: PendingKx | undefined): ChannelEffect[] {
  return pendingKx === undefined ? [] : [{ type: 'abandonKx', pendingKx }]
}

function violation(state: ChannelState, now: Now, message: string): Advanced {
  return close(state, now, 'policy', new LsxError('FRAME_INVALID', message), CloseCode.frameInvalid)
}

// ---- key exchange

function beginKx(
  state: Exclude<ChannelState, { name: 'closed' }>,
  reason: KxReason,
  now: Now,
  config: Extract<ChannelConfig, { role: 'ls' }>,
): Advanced {
  const epoch = state.name === 'securing' ? 1 : state.session.epoch + 1
  if (epoch > LAST_EPOCH) {
    return close(
      state,
      now,
      'local',
      new LsxError('KX_FAILED', 'this socket has used all its epochs', { party: 'self' }),
      CloseCode.dropped,
    )
  }
  const step = beginLsKx(config.newKx(epoch), now)
  const pendingKx: PendingKx = {
    kx: step.state,
    reason,
    startedAtMs: now.monotonicMs,
    deadlineMs: now.monotonicMs + config.times.kxTimeoutMs,
  }
  const started: ChannelEffect = { type: 'kxStarted', reason }
  if (step.state.name === 'failed') {
    // Our own configuration cannot work. No frame went out, so no answer would ever end this kx.
    const failed = onKxFailed(state, pendingKx, step.state.error, [], now, config)
    return { state: failed.state, effects: [started, ...failed.effects] }
  }
  return { state: { ...state, pendingKx }, effects: [started, ...sendKx(step)] }
}

function sendKx(step: LsKxStep | XchangeKxStep): ChannelEffect[] {
  return step.frame === undefined ? [] : [{ type: 'sendKx', frame: step.frame }]
}

function onKxFrame(
  state: Exclude<ChannelState, { name: 'closed' }>,
  frame: Buffer,
  now: Now,
  config: ChannelConfig,
): Advanced {
  if (config.role === 'ls') {
    const pending = state.pendingKx
    if (pending === undefined) return violation(state, now, 'a kx frame came though LS began no kx')
    const step = continueLsKx(pending.kx as LsKxState, frame, now)
    return onKxStep(state, pending, step, now, config)
  }
  const pending = state.pendingKx
  if (pending === undefined || isInitKx(frame)) {
    // LS may give up a kx over a live session and begin another: the newest counts.
    const epoch = state.name === 'securing' ? 1 : state.session.epoch + 1
    if (epoch > LAST_EPOCH) return violation(state, now, 'a kx beyond the last epoch')
    if (state.name !== 'securing' && state.previous !== undefined) {
      return violation(state, now, 'LS began a kx before it used the session of the last one')
    }
    if (state.name === 'securing' && pending !== undefined)
      return violation(state, now, 'a second INIT_KX before the first was finished')
    const step = answerInitKx(config.newKx(epoch), frame, now)
    const started: PendingKx = {
      kx: step.state,
      reason: state.name === 'securing' ? 'start' : 'age',
      startedAtMs: now.monotonicMs,
      deadlineMs: now.monotonicMs + config.times.kxTimeoutMs,
    }
    const advanced = onKxStep(state, started, step, now, config)
    const replaced = abandon(pending)
    return {
      state: advanced.state,
      effects: [...replaced, { type: 'kxStarted', reason: started.reason }, ...advanced.effects],
    }
  }
  return onKxStep(state, pending, answerFinKx(pending.kx as XchangeKxState, frame, now), now, config)
}

/** INIT_KX is the kx message of index 0; all the rest of the frame is judged by the kx itself. */
function isInitKx(frame: Buffer): boolean {
  return frame.length >= 12 && frame.readUInt16BE(2) === 0 && frame.readBigUInt64BE(4) === 0n
}

function onKxStep(
  state: Exclude<ChannelState, { name: 'closed' }>,
  pending: PendingKx,
  step: LsKxStep | XchangeKxStep,
  now: Now,
  config: ChannelConfig,
): Advanced {
  switch (step.state.name) {
    case 'failed':
      return onKxFailed(state, pending, step.state.error, sendKx(step), now, config)
    case 'established':
      return onKxEstablished(state, pending, step.state.session, sendKx(step), now, config)
    default:
      return { state: { ...state, pendingKx: { ...pending, kx: step.state } }, effects: sendKx(step) }
  }
}

function onKxEstablished(
  state: Exclude<ChannelState, { name: 'closed' }>,
  pending: PendingKx,
  session: Session,
  confirmation: readonly ChannelEffect[],
  now: Now,
  config: ChannelConfig,
): Advanced {
  const isLs = config.role === 'ls'
  const before = state.name === 'securing' ? undefined : state.session
  const effects: ChannelEffect[] = []
  if (!isLs) effects.push({ type: 'acceptGeneration', generation: session.generation })
  effects.push(...confirmation)
  if (before !== undefined) effects.push({ type: 'destroyKeys', session: before, half: isLs ? 'both' : 'seal' })
  effects.push({
    type: 'kxCompleted',
    session,
    durationMs: now.monotonicMs - pending.startedAtMs,
    reason: pending.reason,
  })
  // LS's first echo goes out at once: it is the first frame of the new epoch and lets the xchange retire the old key.
  const firstEchoAtMs = isLs ? now.monotonicMs : now.monotonicMs + session.terms.echoIntervalMs
  const secured: Secured = {
    session,
    previous: isLs ? undefined : before,
    echo: startEcho(firstEchoAtMs),
    keyed: { reason: pending.reason, atMs: now.monotonicMs },
    pendingKx: undefined,
    rekeyAtMs: isLs ? now.monotonicMs + session.terms.rekeyAfterMs : Number.POSITIVE_INFINITY,
  }
  const next: ChannelState =
    state.name === 'securing'
      ? { name: 'connected', sinceMs: now.monotonicMs, peerDraining: false, ...secured }
      : { ...state, ...secured }
  if (!isLs) return { state: next, effects }
  const ticked = onTick(next, now, config)
  return { state: ticked.state, effects: [...effects, ...ticked.effects] }
}

function onKxFailed(
  state: Exclude<ChannelState, { name: 'closed' }>,
  pending: PendingKx,
  error: LsxError,
  refusal: readonly ChannelEffect[],
  now: Now,
  config: ChannelConfig,
): Advanced {
  const effects: ChannelEffect[] = [...refusal, { type: 'kxFailed', error, reason: pending.reason }]
  // A kx that fails over a live session leaves that session alone, unless the kx was to prove that the session still
  // lives, or the xchange may have switched to a session that LS could not confirm.
  const provesLife = pending.reason === 'echo' || pending.reason === 'health'
  const isSplit = pending.kx.name === 'awaitingFinKxRsp' && error.facts.refusedByPeer !== true
  if (state.name !== 'securing' && !provesLife && !isSplit) {
    const rekeyAtMs = config.role === 'ls' ? now.monotonicMs + config.times.kxRetryMs : Number.POSITIVE_INFINITY
    return { state: { ...state, pendingKx: undefined, rekeyAtMs }, effects }
  }
  return close(state, now, 'kx', error, CloseCode.kxFailed, effects)
}

function onPeerSwitched(state: ChannelState): Advanced {
  if ((state.name !== 'connected' && state.name !== 'draining') || state.previous === undefined) return unchanged(state)
  return {
    state: { ...state, previous: undefined },
    effects: [{ type: 'destroyKeys', session: state.previous, half: 'both' }],
  }
}

// ---- echo

/** An echo names the session of the epoch whose key sealed it, whichever of the two is newer by now. */
function sessionOfEpoch(state: SecuredState, epoch: number): Session | undefined {
  if (state.session.epoch === epoch) return state.session
  return state.previous?.epoch === epoch ? state.previous : undefined
}

function parseEcho(body: Record<string, unknown>): { sessionId: Buffer; bankCode: string; n: number } | undefined {
  const { sessionId, bankCode, n } = body
  if (Object.keys(body).length !== 3 || !Buffer.isBuffer(sessionId) || typeof bankCode !== 'string') return undefined
  if (typeof n !== 'number' || !Number.isInteger(n) || n < 0 || n > 0xffffffff) return undefined
  return { sessionId, bankCode, n }
}

function echoBody(session: Session, n: number): Record<string, unknown> {
  return { sessionId: session.sessionId, bankCode: session.bankCode, n }
}

function namesSession(echo: { sessionId: Buffer; bankCode: string }, session: Session | undefined): boolean {
  return session !== undefined && echo.bankCode === session.bankCode && echo.sessionId.equals(session.sessionId)
}

function onEcho(
  state: Exclude<ChannelState, { name: 'closed' }>,
  event: { body: Record<string, unknown>; epoch: number },
  now: Now,
  config: ChannelConfig,
): Advanced {
  if (state.name === 'securing') return violation(state, now, 'an echo before the kx was finished')
  const echo = parseEcho(event.body)
  if (echo === undefined) return violation(state, now, 'an echo of the wrong shape')
  const reply: ChannelEffect = sealed(state.session, 'echoReply', echoBody(state.session, echo.n))
  if (namesSession(echo, sessionOfEpoch(state, event.epoch))) return unchanged(state, reply)
  // The asker is told our session all the same, so that it finds the mismatch too.
  return withEcho(state, { ...state.echo, missed: state.echo.missed + 1 }, now, config, [reply])
}

function onEchoReply(
  state: Exclude<ChannelState, { name: 'closed' }>,
  event: { body: Record<string, unknown>; epoch: number },
  now: Now,
  config: ChannelConfig,
): Advanced {
  if (state.name === 'securing') return violation(state, now, 'an echo reply before the kx was finished')
  const reply = parseEcho(event.body)
  if (reply === undefined) return violation(state, now, 'an echo reply of the wrong shape')
  const sessionMatches = namesSession(reply, sessionOfEpoch(state, event.epoch))
  const answered = echoAnswered(state.echo, { number: reply.n, sessionMatches }, now.monotonicMs)
  if (answered.roundTripMs === undefined) return withEcho(state, answered.echo, now, config, [])
  return {
    state: { ...state, echo: answered.echo },
    effects: [{ type: 'echoAnswered', roundTripMs: answered.roundTripMs }],
  }
}

/** Puts a changed echo into the state and acts where too many were missed. */
function withEcho(
  state: SecuredState,
  echo: SecuredState['echo'],
  now: Now,
  config: ChannelConfig,
  before: readonly ChannelEffect[],
): Advanced {
  const effects = [...before]
  if (echo.missed > state.echo.missed) effects.push({ type: 'echoMissed', missed: echo.missed })
  const next: SecuredState = { ...state, echo }
  if (echo.missed < ECHO_MISSES_BEFORE_KX || echo.missed === state.echo.missed) return { state: next, effects }
  const lost = new LsxError('CHANNEL_DOWN', `${echo.missed} echoes in a row were missed or named another session`)
  if (config.role === 'xchange') {
    if (echo.missed < ECHO_MISSES_BEFORE_XCHANGE_CLOSES) return { state: next, effects }
    return close(next, now, 'echo', lost, CloseCode.echoLost, effects)
  }
  if (next.pendingKx !== undefined) return { state: next, effects }
  // To miss two echoes takes longer than an interval, so these named another session, right after a new key was to end
  // that. A peer must not keep LS at kx after kx: the redial has its delays.
  const isFutile = next.keyed.reason === 'echo' && now.monotonicMs - next.keyed.atMs < next.session.terms.echoIntervalMs
  if (isFutile || next.name === 'draining') return close(next, now, 'echo', lost, CloseCode.echoLost, effects)
  const begun = beginKx(next, 'echo', now, config)
  return { state: begun.state, effects: [...effects, ...begun.effects] }
}

// ---- control

function onControl(
  state: Exclude<ChannelState, { name: 'closed' }>,
  body: Record<string, unknown>,
  now: Now,
  config: ChannelConfig,
): Advanced {
  if (state.name === 'securing') return violation(state, now, 'a control frame before the kx was finished')
  switch (body.kind) {
    case 'drain':
      return onPeerDraining(state, config)
    case 'goodbye':
      return close(state, now, 'peer-close', undefined, CloseCode.goodbye)
    case 'window': {
      const { windowRecords } = body
      if (config.role !== 'ls') return violation(state, now, 'LS sets no window')
      if (!isCount(windowRecords, 65_536)) return violation(state, now, 'a window of the wrong shape')
      return unchanged(state, { type: 'windowChanged', windowRecords })
    }
    case 'resolve': {
      const { n, keys } = body
      if (config.role !== 'xchange') return violation(state, now, 'only LS asks what became of keys')
      const sound =
        isCount(n, 0xffffffff) && Array.isArray(keys) && keys.length <= MAX_RESOLVE_KEYS && keys.every(isKeyText)
      if (!sound) return violation(state, now, 'a question about keys of the wrong shape')
      return unchanged(state, { type: 'resolveAsked', n, keys })
    }
    case 'resolved': {
      const { n, states, rememberedForMs } = body
      if (config.role !== 'ls') return violation(state, now, 'LS does not answer questions about keys')
      const sound =
        isCount(n, 0xffffffff) && Array.isArray(states) && states.length <= MAX_RESOLVE_KEYS && states.every(isKeyState)
      if (!sound || !isCount(rememberedForMs, Number.MAX_SAFE_INTEGER)) {
        return violation(state, now, 'an answer about keys of the wrong shape')
      }
      return unchanged(state, { type: 'resolveAnswered', n, answer: { states, rememberedForMs } })
    }
    default:
      // A later revision may say more; what we do not know does no harm here.
      return unchanged(state, { type: 'ignored', what: 'control frame of an unknown kind' })
  }
}

/**
 * The peer finishes what it has. LS answers with a `drain` of its own once its last request has left: the transport is
 * ordered, so an xchange that hears it knows that nothing is on its way any more.
 */
function onPeerDraining(state: SecuredState, config: ChannelConfig): Advanced {
  const hasSaidSo = config.role === 'ls' && state.name === 'draining'
  if (state.peerDraining || hasSaidSo) return unchanged(state)
  const effects: ChannelEffect[] = [{ type: 'peerDraining' }]
  if (config.role === 'ls') effects.push(sealed(state.session, 'control', { kind: 'drain' }))
  return { state: { ...state, peerDraining: true }, effects }
}

function isCount(value: unknown, maximum: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= maximum
}

function isKeyText(value: unknown): value is string {
  return typeof value === 'string' && isKey(value)
}

function isKeyState(value: unknown): value is KeyState {
  return value === 'done' || value === 'begun' || value === 'never'
}

// ---- time, drain and the end

function onTick(state: Exclude<ChannelState, { name: 'closed' }>, now: Now, config: ChannelConfig): Advanced {
  const nowMs = now.monotonicMs
  if (state.name === 'securing') {
    if (nowMs < state.deadlineMs) return unchanged(state)
    const error = new LsxError('KX_FAILED', `the kx was not finished within ${config.times.kxTimeoutMs} ms`)
    const effects: ChannelEffect[] = [{ type: 'kxFailed', error, reason: 'start' }]
    return close(state, now, 'kx', error, CloseCode.kxFailed, effects)
  }
  if (state.pendingKx !== undefined && nowMs >= state.pendingKx.deadlineMs)
    return onKxOverdue(state, state.pendingKx, now, config)
  if (state.name === 'draining' && nowMs >= state.deadlineMs) return sayGoodbye(state, now)
  const ticked = advanceEcho(state.echo, state.session.terms, nowMs)
  const effects: ChannelEffect[] = []
  if (ticked.send !== undefined) {
    effects.push(sealed(state.session, 'echo', echoBody(state.session, ticked.send)))
  }
  const echoed = withEcho(state, ticked.echo, now, config, effects)
  const next = echoed.state
  if (config.role !== 'ls' || next.name !== 'connected' || next.pendingKx !== undefined || nowMs < next.rekeyAtMs)
    return echoed
  const begun = beginKx(next, 'age', now, config)
  return { state: begun.state, effects: [...echoed.effects, ...begun.effects] }
}

function onKxOverdue(state: SecuredState, pending: PendingKx, now: Now, config: ChannelConfig): Advanced {
  const error = new LsxError(
    'KX_FAILED',
    `a new kx (${pending.reason}) was not finished within ${config.times.kxTimeoutMs} ms`,
  )
  const effects: ChannelEffect[] = [{ type: 'kxFailed', error, reason: pending.reason }]
  if (config.role === 'xchange')
    return { state: { ...state, pendingKx: undefined }, effects: [...abandon(pending), ...effects] }
  // The xchange may have switched already: a kx that hangs ends the socket. Where echoes were missed, that is the cause.
  const cause: DropCause = pending.reason === 'echo' ? 'echo' : 'kx'
  const ended = terminate(state, now, cause, error)
  return { state: ended.state, effects: [...effects, ...ended.effects] }
}

function onDrain(state: Exclude<ChannelState, { name: 'closed' }>, deadlineMs: number, now: Now): Advanced {
  if (state.name === 'securing') return close(state, now, 'local', undefined, CloseCode.goodbye)
  if (state.name === 'draining') return unchanged({ ...state, deadlineMs: Math.min(state.deadlineMs, deadlineMs) })
  return {
    state: { ...state, name: 'draining', sinceMs: now.monotonicMs, deadlineMs },
    effects: [sealed(state.session, 'control', { kind: 'drain' })],
  }
}

function sayGoodbye(state: SecuredState, now: Now): Advanced {
  return close(state, now, 'local', undefined, CloseCode.goodbye, [
    sealed(state.session, 'control', { kind: 'goodbye' }),
  ])
}

function onPeerClosed(
  state: Exclude<ChannelState, { name: 'closed' }>,
  event: { closeCode: number; reason: string },
  now: Now,
): Advanced {
  const cause: DropCause = state.name === 'securing' || event.closeCode === CloseCode.kxFailed ? 'kx' : 'peer-close'
  const error =
    cause === 'kx'
      ? new LsxError('KX_FAILED', 'the peer closed the socket during the kx; its log has the reason', {
          facts: { closeCode: event.closeCode, reason: event.reason },
        })
      : new LsxError('CHANNEL_DOWN', 'the peer closed the socket', {
          facts: { closeCode: event.closeCode, reason: event.reason },
        })
  const effects: ChannelEffect[] =
    cause === 'kx' ? [{ type: 'kxFailed', error, reason: state.pendingKx?.reason ?? 'start' }] : []
  const ended = terminate(state, now, cause, error)
  return { state: ended.state, effects: [...effects, ...ended.effects] }
}
