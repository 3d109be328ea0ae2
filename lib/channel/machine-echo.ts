import type { Session } from '../kx/index.ts'
import { LsxError } from '../runtime/index.ts'
import { type Advanced, close, type OpenState, type SecuredState, sealed, unchanged, violation } from './advanced.ts'
import { echoAnswered, echoBody } from './echo.ts'
import { beginKx } from './machine-kx.ts'
import {
  type ChannelConfig,
  type ChannelEffect,
  CloseCode,
  ECHO_MISSES_BEFORE_KX,
  ECHO_MISSES_BEFORE_XCHANGE_CLOSES,
  type Now,
} from './state.ts'

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

function namesSession(echo: { sessionId: Buffer; bankCode: string }, session: Session | undefined): boolean {
  return session !== undefined && echo.bankCode === session.bankCode && echo.sessionId.equals(session.sessionId)
}

function mixupOf(during: string, { sessionId, bankCode }: { sessionId: Buffer; bankCode: string }): ChannelEffect {
  return {
    type: 'sessionMixup',
    facts: { during, named: sessionId.toString('hex').slice(0, 64), namedBank: bankCode.slice(0, 32) },
  }
}

export function onEcho(
  state: OpenState,
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
  const mixup = mixupOf('echo', echo)
  return withEcho(state, { ...state.echo, missed: state.echo.missed + 1 }, now, config, [mixup, reply])
}

export function onEchoReply(
  state: OpenState,
  event: { body: Record<string, unknown>; epoch: number },
  now: Now,
  config: ChannelConfig,
): Advanced {
  if (state.name === 'securing') return violation(state, now, 'an echo reply before the kx was finished')
  const reply = parseEcho(event.body)
  if (reply === undefined) return violation(state, now, 'an echo reply of the wrong shape')
  const sessionMatches = namesSession(reply, sessionOfEpoch(state, event.epoch))
  const answered = echoAnswered(state.echo, { number: reply.n, sessionMatches }, now.monotonicMs)
  const mixups = sessionMatches ? [] : [mixupOf('echo-reply', reply)]
  if (answered.roundTripMs === undefined) return withEcho(state, answered.echo, now, config, mixups)
  return {
    state: { ...state, echo: answered.echo },
    effects: [{ type: 'echoAnswered', roundTripMs: answered.roundTripMs }],
  }
}

/** Puts a changed echo into the state and acts where too many were missed. */
export function withEcho(
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
