export { AllowList } from './allow-list.ts'
export { askHealth } from './ask-health.ts'
export type { BackoffTerms } from './backoff.ts'
export { type ChannelCounters, newChannelCounters } from './counters.ts'
export { type Deadlined, DeadlineWheel, WHEEL_TICK_MS } from './deadline-wheel.ts'
export { DialError, type Dialled, dialChannel } from './dial.ts'
export { DialSlots } from './dial-slots.ts'
export { newBootId, newSessionId, newX25519KeyPair } from './entropy.ts'
export { ChannelRequest } from './in-flight.ts'
export { ChannelListener, type ListenerGate, type ListenerPeer } from './listen.ts'
export { LsChannel, type RequestOwner } from './ls-channel.ts'
export type { LsMessageSigning, XchangeMessageSigning } from './message-signing.ts'
export { type ChannelAttempt, keepConnected } from './redial.ts'
export { RefusalLog } from './refusals.ts'
export type { ChannelObserver } from './secured-channel.ts'
export type { ChannelSocket } from './socket.ts'
export {
  type ChannelState,
  type ChannelTimes,
  CloseCode,
  type DropCause,
  type KeyAnswer,
  type KeyState,
  type KxReason,
  MAX_RESOLVE_KEYS,
} from './state.ts'
export { type TlsFacts, tlsFactsOf } from './tls-facts.ts'
export type { TlsTarget } from './tls-peer.ts'
export { XchangeChannel, type XchangeSigningOptions } from './xchange-channel.ts'
