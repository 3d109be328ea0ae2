import type { Session } from '../kx/index.ts'
import { LsxError } from '../runtime/index.ts'
import { type ChannelEffect, type ChannelState, CloseCode, type DropCause, type Now, type PendingKx } from './state.ts'

/** What an event leads to, and the results that all parts of the state machine share. */
export interface Advanced {
  readonly state: ChannelState
  readonly effects: readonly ChannelEffect[]
}

/** A channel that is not closed takes events. */
export type OpenState = Exclude<ChannelState, { name: 'closed' }>

export type SecuredState = Extract<ChannelState, { name: 'connected' | 'draining' }>

export function unchanged(state: ChannelState, ...effects: ChannelEffect[]): Advanced {
  return { state, effects }
}

export function sealed(
  session: Session,
  frameType: 'echo' | 'echoReply' | 'control',
  body: Record<string, unknown>,
): ChannelEffect {
  return { type: 'sendSealed', session, frameType, body }
}

/** Ends the channel with a close frame: the socket still works. */
export function close(
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
export function terminate(state: ChannelState, now: Now, cause: DropCause, error: LsxError | undefined): Advanced {
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

export function abandon(pendingKx: PendingKx | undefined): ChannelEffect[] {
  return pendingKx === undefined ? [] : [{ type: 'abandonKx', pendingKx }]
}

export function violation(state: ChannelState, now: Now, message: string): Advanced {
  return close(state, now, 'policy', new LsxError('FRAME_INVALID', message), CloseCode.frameInvalid)
}
