import { type KeyObject, randomUUID } from 'node:crypto'
import { type Clock, LsxError, type TimerHandle, toLsxError } from '../../runtime/index.ts'
import { ed25519Key, ed25519Kid, readEd25519Jwk } from './ed25519-jwk.ts'
import { makeToken, numericDate, type TokenSigner } from './make-token.ts'
import type { TokenKeys } from './token-keys.ts'
import { type VerifiedToken, verifyToken } from './verify-token.ts'

export const SESSION_TOKEN_TYP = 'ls-session+jwt'

/** `off`: none is sent or looked at. `offered`: sent, and one that comes must be right. `required`: one must come. */
export type SessionTokenMode = 'off' | 'offered' | 'required'

export interface TokenTimes {
  /** Of a session's token. */
  readonly lifetimeMs: number
  /** Of request tokens; a session's own token has a minute at least. */
  readonly clockToleranceMs: number
  /** After a new kx, tokens of the session before still count for this long; and a token that must come may take it. */
  readonly graceMs: number
}

/** What a token of a session is bound to. */
export interface TokenSession {
  /** 16 bytes. */
  readonly sessionId: Buffer
  /** Ed25519, 32 bytes: the identity that the peer proved in this session's kx. */
  readonly peerIdentity: Buffer
}

export interface SessionTokensOptions {
  /** SPIFFE ids: the service ids of both sides. */
  readonly self: string
  readonly peer: string
  readonly mode: SessionTokenMode
  readonly times: TokenTimes
  /** The identity that this side proves in a kx. */
  readonly signer: () => TokenSigner
  readonly tokenKeys: TokenKeys
  /** Throws for a public key that must never be trusted. */
  readonly checkKey: (publicKey: Buffer) => void
  /** Hands a token to the channel, before anything that is sent later. */
  readonly send: (token: string) => void
  /** The peer's token is not valid, or did not come in time: TOKEN_INVALID. */
  readonly onRefused: (error: LsxError) => void
  readonly clock: Clock
}

/** Keys that one session's tokens may bring: the one in use, and earlier ones until their tokens end. */
const MAX_KEYS = 4
/** A peer needs one token an hour, and one more at each rotation of its key. */
const MAX_TOKENS_PER_SESSION = 1_024

interface LiveSession {
  readonly id: string
  /** As proven in its kx: one that replaces it later is not known to the peer until the next. */
  readonly signer: TokenSigner
  readonly peerIdentity: Buffer
  /** Of the peer's newest valid token; 0 before the first. Unix ms. */
  peerExpiresAtMs: number
  readonly peerKeys: Map<string, { readonly key: KeyObject; readonly untilMs: number }>
  tokensReceived: number
  /** Until what came so far is verified. */
  verifying: Promise<void>
}

/**
 * Both sides' tokens over the life of one channel: sends this side's token as the first word of each session and again
 * in time, and verifies the peer's. A token names issuer, audience and session, and is signed by the very identity that
 * the kx has proven; `cnf` (RFC 7800) brings the key that signs the issuer's request tokens.
 */
export class SessionTokens {
  readonly #options: SessionTokensOptions
  readonly #unfollow: () => void
  #session: LiveSession | undefined
  #previous: { readonly session: LiveSession; readonly untilMs: number } | undefined
  #renewal: TimerHandle | undefined
  #expiry: TimerHandle | undefined

  constructor(options: SessionTokensOptions) {
    this.#options = options
    this.#unfollow = options.tokenKeys.follow(() => this.renew())
  }

  /** The session id, hex; undefined before the first kx and after the end. */
  get sessionId(): string | undefined {
    return this.#session?.id
  }

  /** When the peer's token ends, Unix ms; undefined where none is valid. */
  get peerExpiresAtMs(): number | undefined {
    const atMs = this.#session?.peerExpiresAtMs ?? 0
    return atMs > this.#options.clock.nowMs() ? atMs : undefined
  }

  /** Resolves when every token that came so far is judged. */
  get judged(): Promise<void> {
    return this.#session?.verifying ?? Promise.resolve()
  }

  /** A kx is done. Sends this side's token on the same call stack. */
  sessionBegan({ sessionId, peerIdentity }: TokenSession): void {
    const { clock, mode, times } = this.#options
    if (this.#session !== undefined)
      this.#previous = { session: this.#session, untilMs: clock.monotonicMs() + times.graceMs }
    this.#session = {
      id: sessionId.toString('hex'),
      signer: this.#options.signer(),
      peerIdentity,
      peerExpiresAtMs: 0,
      peerKeys: new Map(),
      tokensReceived: 0,
      verifying: Promise.resolve(),
    }
    if (mode === 'off') return
    this.renew()
    if (mode === 'required') this.#awaitToken(times.graceMs, 'no token of the peer came after the kx')
  }

  /** A new token for the session that there is, if any. */
  renew(): void {
    const { clock, mode, times, self, peer, tokenKeys, send } = this.#options
    const session = this.#session
    if (mode === 'off' || session === undefined) return
    const nowMs = clock.nowMs()
    send(
      makeToken(session.signer, SESSION_TOKEN_TYP, {
        iss: self,
        sub: self,
        aud: peer,
        sid: session.id,
        iat: numericDate(nowMs),
        exp: numericDate(nowMs + times.lifetimeMs),
        jti: randomUUID(),
        cnf: { jwk: tokenKeys.current.jwk },
      }),
    )
    this.#cancel(this.#renewal)
    // Four fifths of its life: late enough to be rare, early enough to be tried again by a new kx.
    this.#renewal = clock.startTimer(times.lifetimeMs * 0.8, () => this.renew())
  }

  /** The peer's token, as it came. What is wrong with it is told to `onRefused`. */
  tokenReceived(token: string): void {
    const { mode, onRefused } = this.#options
    const session = this.#session
    if (mode === 'off' || session === undefined) return
    session.tokensReceived++
    if (session.tokensReceived > MAX_TOKENS_PER_SESSION) {
      onRefused(new LsxError('TOKEN_INVALID', 'the peer sends tokens without end', { party: 'peer' }))
      return
    }
    session.verifying = session.verifying
      .then(() => this.#take(session, token))
      .catch((thrown) => {
        if (this.#session !== session && this.#previous?.session !== session) return
        const { message, facts, cause } = toLsxError(thrown)
        onRefused(new LsxError('TOKEN_INVALID', `the token of the peer: ${message}`, { party: 'peer', facts, cause }))
      })
  }

  /** The channel is over, and every token of its sessions with it. */
  stop(): void {
    this.#unfollow()
    this.#cancel(this.#renewal)
    this.#cancel(this.#expiry)
    this.#session = undefined
    this.#previous = undefined
  }

  /** Whether a token of this session id (hex) may still be used here. */
  isInForce(sessionId: unknown): boolean {
    return this.#live(sessionId) !== undefined
  }

  /** The key of the peer's request tokens, once what came before is verified; undefined where it is not one of them. */
  async peerKey(sessionId: unknown, kid: string): Promise<KeyObject | undefined> {
    const session = this.#live(sessionId)
    if (session === undefined) return undefined
    await session.verifying
    const found = session.peerKeys.get(kid)
    return found !== undefined && found.untilMs > this.#options.clock.nowMs() ? found.key : undefined
  }

  #live(sessionId: unknown): LiveSession | undefined {
    if (typeof sessionId !== 'string') return undefined
    if (this.#session?.id === sessionId) return this.#session
    const previous = this.#previous
    if (previous?.session.id !== sessionId) return undefined
    return previous.untilMs > this.#options.clock.monotonicMs() ? previous.session : undefined
  }

  async #take(session: LiveSession, token: string): Promise<void> {
    const { self, peer, times, clock, checkKey } = this.#options
    const kid = ed25519Kid(session.peerIdentity)
    const verified = await verifyToken(
      token,
      {
        typ: SESSION_TOKEN_TYP,
        issuer: peer,
        subject: peer,
        audience: self,
        algorithms: ['EdDSA'],
        maxLifetimeMs: MAX_SESSION_TOKEN_LIFETIME_MS,
        clockToleranceMs: sessionTolerance(times),
        keyOf: (header) => (header.kid === kid ? ed25519Key(session.peerIdentity) : undefined),
      },
      clock.nowMs(),
    )
    if (verified.claims.aud !== self) throw new LsxError('TOKEN_INVALID', 'the token is for others too')
    if (verified.claims.sid !== session.id) throw new LsxError('TOKEN_INVALID', 'the token is of another session')
    const { publicKey, kid: keyId } = confirmedKey(verified)
    checkKey(publicKey)
    const { peerKeys } = session
    for (const [old, { untilMs }] of peerKeys) if (untilMs <= clock.nowMs()) peerKeys.delete(old)
    peerKeys.delete(keyId)
    const [oldest] = peerKeys.keys()
    if (peerKeys.size >= MAX_KEYS && oldest !== undefined) peerKeys.delete(oldest)
    peerKeys.set(keyId, { key: ed25519Key(publicKey), untilMs: verified.expiresAtMs })
    session.peerExpiresAtMs = verified.expiresAtMs
    if (this.#session === session && this.#options.mode === 'required')
      this.#awaitToken(
        verified.expiresAtMs - clock.nowMs() + sessionTolerance(times),
        'the token of the peer has expired',
      )
  }

  #awaitToken(withinMs: number, problem: string): void {
    const { clock, onRefused } = this.#options
    this.#cancel(this.#expiry)
    this.#expiry = clock.startTimer(withinMs, () => {
      onRefused(new LsxError('TOKEN_INVALID', problem, { party: 'peer' }))
    })
  }

  #cancel(timer: TimerHandle | undefined): void {
    if (timer !== undefined) this.#options.clock.cancelTimer(timer)
  }
}

/**
 * The kx has just compared both clocks, and lets them differ by a minute: a channel that it has keyed must not end over
 * less.
 */
function sessionTolerance({ clockToleranceMs }: TokenTimes): number {
  return Math.max(clockToleranceMs, KX_CLOCK_SKEW_MS)
}

const KX_CLOCK_SKEW_MS = 60_000

/** Above this no configuration goes; a peer's own may differ from ours. */
export const MAX_SESSION_TOKEN_LIFETIME_MS = 24 * 3_600_000

function confirmedKey({ claims }: VerifiedToken): { publicKey: Buffer; kid: string } {
  const { cnf } = claims
  if (typeof cnf !== 'object' || cnf === null || !('jwk' in cnf))
    throw new LsxError('TOKEN_INVALID', 'the token brings no key')
  return readEd25519Jwk(cnf.jwk)
}
