import { isKey } from '../frames/index.ts'
import { type Advanced, close, type OpenState, type SecuredState, sealed, unchanged, violation } from './advanced.ts'
import {
  ASKED_KX_GAP_MS,
  type ChannelConfig,
  type ChannelEffect,
  CloseCode,
  type KeyState,
  MAX_RESOLVE_KEYS,
  MAX_TOKEN_CHARACTERS,
  type Now,
} from './state.ts'

export function onControl(state: OpenState, body: Record<string, unknown>, now: Now, config: ChannelConfig): Advanced {
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
    case 'token': {
      const { token } = body
      const sound = typeof token === 'string' && token.length > 0 && token.length <= MAX_TOKEN_CHARACTERS
      if (!sound) return violation(state, now, 'a token of the wrong shape')
      return unchanged(state, { type: 'tokenReceived', token })
    }
    case 'rekey':
      if (config.role !== 'ls') return violation(state, now, 'LS begins a kx itself')
      return onRekeyAsked(state, now)
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

/** The xchange has a new identity to prove. It may ask as often as it likes; a kx follows once in so many ms at most. */
function onRekeyAsked(state: SecuredState, now: Now): Advanced {
  const earliestMs = Math.max(now.monotonicMs, state.keyed.atMs + ASKED_KX_GAP_MS)
  return unchanged({ ...state, rekeyAtMs: Math.min(state.rekeyAtMs, earliestMs) })
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
