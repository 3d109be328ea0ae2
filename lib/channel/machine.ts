import { LsxError } from '../runtime/index.ts'
import {
  type Advanced,
  abandon,
  close,
  type OpenState,
  type SecuredState,
  sealed,
  terminate,
  unchanged,
} from './advanced.ts'
import { advanceEcho, echoBody, echoDeadlineMs } from './echo.ts'
import { onControl } from './machine-control.ts'
import { onEcho, onEchoReply, withEcho } from './machine-echo.ts'
import { beginKx, onKxFrame, onPeerSwitched } from './machine-kx.ts'
import {
  type ChannelConfig,
  type ChannelEffect,
  type ChannelEvent,
  type ChannelState,
  CloseCode,
  type DropCause,
  type Now,
  type PendingKx,
} from './state.ts'

export type { Advanced } from './advanced.ts'

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
function onTick(state: OpenState, now: Now, config: ChannelConfig): Advanced {
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

function onDrain(state: OpenState, deadlineMs: number, now: Now): Advanced {
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

function onPeerClosed(state: OpenState, event: { closeCode: number; reason: string }, now: Now): Advanced {
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
