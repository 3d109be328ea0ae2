import type { LsKxConfig, LsKxState, Session, XchangeKxConfig, XchangeKxState } from '../kx/index.ts'
import type { ErrorCode, LsxError } from '../runtime/index.ts'
import type { EchoState } from './echo.ts'

/** Why a channel ended, as the uptime log has it. */
export type DropCause = 'dns' | 'tcp' | 'tls' | 'upgrade' | 'kx' | 'echo' | 'peer-close' | 'local' | 'policy'

/** What began a kx. */
export type KxReason = 'start' | 'echo' | 'age' | 'operator' | 'health'

/** A kx under way; it never touches the session that serves meanwhile. */
export interface PendingKx {
  readonly kx: LsKxState | XchangeKxState
  readonly reason: KxReason
  readonly startedAtMs: number
  readonly deadlineMs: number
}

/** What a channel holds once it is keyed. */
export interface Secured {
  readonly session: Session
  /** The xchange keeps the session before until LS's first frame of the new epoch arrives. */
  readonly previous: Session | undefined
  readonly echo: EchoState
  /** What began the kx that made the session, and when that was done (monotonic ms). */
  readonly keyed: { readonly reason: KxReason; readonly atMs: number }
  readonly pendingKx: PendingKx | undefined
  /** LS begins the next kx no later than this. Infinity at an xchange. */
  readonly rekeyAtMs: number
}

/**
 * One socket's channel.
 *
 *                 kx done                 drain                 nothing in flight, or deadline
 *   securing ───────────────> connected ─────────> draining ───────────────────────────────────> closed
 *      │                        │   ▲ └─ kx done: same state, next epoch                            ▲
 *      │                        └───┘                   │                                           │
 *      └── kx failed, time-out, peer closed, drop ──────┴───────────────────────────────────────────┘
 *
 * A channel that is closed stays closed: a reconnect is a new socket, a new channel, a full kx.
 */
export type ChannelState =
  | {
      readonly name: 'securing'
      readonly sinceMs: number
      readonly deadlineMs: number
      readonly pendingKx: PendingKx | undefined
    }
  | ({ readonly name: 'connected'; readonly sinceMs: number; readonly peerDraining: boolean } & Secured)
  | ({
      readonly name: 'draining'
      readonly sinceMs: number
      readonly deadlineMs: number
      /** The peer has said `drain` too: from LS, that no request follows. */
      readonly peerDraining: boolean
    } & Secured)
  | {
      readonly name: 'closed'
      readonly sinceMs: number
      readonly cause: DropCause
      readonly error: LsxError | undefined
    }

export type ChannelEvent =
  | { readonly type: 'opened' }
  | { readonly type: 'kxFrame'; readonly frame: Buffer }
  | { readonly type: 'echo'; readonly body: Record<string, unknown>; readonly epoch: number }
  | { readonly type: 'echoReply'; readonly body: Record<string, unknown>; readonly epoch: number }
  | { readonly type: 'control'; readonly body: Record<string, unknown> }
  /** LS's first frame of the new epoch was opened: the session before is over. */
  | { readonly type: 'peerSwitched' }
  | { readonly type: 'tick' }
  | { readonly type: 'rekey'; readonly reason: KxReason }
  | { readonly type: 'drain'; readonly deadlineMs: number }
  | { readonly type: 'nothingInFlight' }
  | {
      readonly type: 'drop'
      readonly cause: DropCause
      readonly error: LsxError | undefined
      readonly closeCode: number
    }
  | { readonly type: 'peerClosed'; readonly closeCode: number; readonly reason: string }
  | { readonly type: 'socketFailed'; readonly error: LsxError; readonly cause: DropCause }

export type ChannelEffect =
  | { readonly type: 'sendKx'; readonly frame: Buffer }
  | {
      readonly type: 'sendSealed'
      readonly session: Session
      readonly frameType: 'echo' | 'echoReply' | 'control'
      readonly body: Record<string, unknown>
    }
  /** The xchange writes down a higher generation before it confirms the kx. */
  | { readonly type: 'acceptGeneration'; readonly generation: number }
  | { readonly type: 'kxStarted'; readonly reason: KxReason }
  | { readonly type: 'kxCompleted'; readonly session: Session; readonly durationMs: number; readonly reason: KxReason }
  | { readonly type: 'kxFailed'; readonly error: LsxError; readonly reason: KxReason }
  | { readonly type: 'echoAnswered'; readonly roundTripMs: number }
  | { readonly type: 'echoMissed'; readonly missed: number }
  /** The peer, whose key has sealed it, named another session or bank than the one of that key. */
  | { readonly type: 'sessionMixup'; readonly facts: Readonly<Record<string, unknown>> }
  | { readonly type: 'windowChanged'; readonly windowRecords: number }
  /** LS asks what became of these keys; each answer names its question by `n`. */
  | { readonly type: 'resolveAsked'; readonly n: number; readonly keys: readonly string[] }
  | { readonly type: 'resolveAnswered'; readonly n: number; readonly answer: KeyAnswer }
  /** The peer's token for this session, not yet verified. */
  | { readonly type: 'tokenReceived'; readonly token: string }
  | { readonly type: 'destroyKeys'; readonly session: Session; readonly half: 'seal' | 'open' | 'both' }
  /** The secrets of a kx that will not be continued are destroyed. */
  | { readonly type: 'abandonKx'; readonly pendingKx: PendingKx }
  | { readonly type: 'peerDraining' }
  | { readonly type: 'close'; readonly closeCode: number; readonly reason: ErrorCode | 'goodbye' }
  | { readonly type: 'terminate' }
  | { readonly type: 'ignored'; readonly what: string }

/** What an xchange knows of an idempotency key: executed, begun and not known to be finished, or never seen. */
export type KeyState = 'done' | 'begun' | 'never'

/** An xchange's answer to a question about keys. */
export interface KeyAnswer {
  /** One for each key asked about, in their order. */
  readonly states: readonly KeyState[]
  /** `never` says nothing of requests older than this: the xchange's memory does not reach back further. ms. */
  readonly rememberedForMs: number
}

/** Named durations of a channel, all ms. */
export interface ChannelTimes {
  /** A kx must end within this, or the socket is dropped. */
  readonly kxTimeoutMs: number
  /** Pause before another try when the xchange refused a kx over a live session. */
  readonly kxRetryMs: number
}

/** What the state machine needs to know; randomness comes in through `newKx`. */
export type ChannelConfig = { readonly bankCode: string; readonly times: ChannelTimes } & (
  | { readonly role: 'ls'; readonly newKx: (epoch: number) => LsKxConfig }
  | { readonly role: 'xchange'; readonly newKx: (epoch: number) => XchangeKxConfig }
)

/** Both clocks at the moment of an event. */
export interface Now {
  readonly wallMs: number
  readonly monotonicMs: number
}

/** WebSocket close codes of this protocol (RFC 6455 section 7.4.2, private range). */
export const CloseCode = {
  goodbye: 1001,
  frameInvalid: 4400,
  kxFailed: 4401,
  refused: 4403,
  echoLost: 4408,
  superseded: 4409,
  dropped: 4410,
} as const

export const ECHO_MISSES_BEFORE_KX = 2
/** An xchange cannot begin a kx: it gives LS two more echoes to do so, then lets go of the socket. */
export const ECHO_MISSES_BEFORE_XCHANGE_CLOSES = 4
/** Keys in one question; LS asks for fewer where the agreed frame is small. */
export const MAX_RESOLVE_KEYS = 256
/** A session's token in a CONTROL frame. */
export const MAX_TOKEN_CHARACTERS = 4_096
/** Between the kx that an xchange asks for. */
export const ASKED_KX_GAP_MS = 1_000
/** The header has 16 bits for the epoch: at the last one the socket is replaced. */
export const LAST_EPOCH = 0xffff
