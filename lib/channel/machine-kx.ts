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
import { type Advanced, abandon, close, type OpenState, sealed, unchanged, violation } from './advanced.ts'
import { advanceEcho, echoBody, startEcho } from './echo.ts'
import {
  type ChannelConfig,
  type ChannelEffect,
  type ChannelState,
  CloseCode,
  type KxReason,
  LAST_EPOCH,
  type Now,
  type PendingKx,
  type Secured,
} from './state.ts'

export function beginKx(
  state: OpenState,
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

export function onKxFrame(state: OpenState, frame: Buffer, now: Now, config: ChannelConfig): Advanced {
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
  state: OpenState,
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
  state: OpenState,
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
  const fresh = startEcho(isLs ? now.monotonicMs : now.monotonicMs + session.terms.echoIntervalMs)
  const { echo, send } = advanceEcho(fresh, session.terms, now.monotonicMs)
  if (send !== undefined) effects.push(sealed(session, 'echo', echoBody(session, send)))
  const secured: Secured = {
    session,
    previous: isLs ? undefined : before,
    echo,
    keyed: { reason: pending.reason, atMs: now.monotonicMs },
    pendingKx: undefined,
    rekeyAtMs: isLs ? now.monotonicMs + session.terms.rekeyAfterMs : Number.POSITIVE_INFINITY,
  }
  const next: ChannelState =
    state.name === 'securing'
      ? { name: 'connected', sinceMs: now.monotonicMs, peerDraining: false, ...secured }
      : { ...state, ...secured }
  return { state: next, effects }
}

function onKxFailed(
  state: OpenState,
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

export function onPeerSwitched(state: ChannelState): Advanced {
  if ((state.name !== 'connected' && state.name !== 'draining') || state.previous === undefined) return unchanged(state)
  return {
    state: { ...state, previous: undefined },
    effects: [{ type: 'destroyKeys', session: state.previous, half: 'both' }],
  }
}
