import { randomUUID } from 'node:crypto'
import type { Clock } from '../../runtime/index.ts'
import { makeToken, numericDate } from './make-token.ts'
import type { TokenKeys } from './token-keys.ts'

export const REQUEST_TOKEN_TYP = 'ls-request+jwt'

/** What a method asks of a request's token. */
export interface MethodScope {
  /** One word; a token may hold several, as in RFC 8693 section 4.2. */
  readonly scope: string
  /** The token is for one idempotency key alone. */
  readonly singleUse: boolean
}

export interface RequestTokensOptions {
  readonly self: string
  readonly peer: string
  readonly tokenKeys: TokenKeys
  readonly lifetimeMs: number
  readonly clock: Clock
}

interface Made {
  readonly token: string
  readonly renewAtMs: number
  readonly kid: string
}

/** Makes LS's tokens for requests of one session: one for each scope, used again until half its life is over. */
export class RequestTokens {
  readonly #options: RequestTokensOptions
  readonly #made = new Map<string, Made>()
  #sessionId = ''

  constructor(options: RequestTokensOptions) {
    this.#options = options
  }

  /** `sessionId`: hex. `idempotencyKey` counts where the token is for one request alone. */
  tokenFor(method: MethodScope, sessionId: string, idempotencyKey: string): string {
    const { scope, singleUse } = method
    if (singleUse) return this.#make(scope, sessionId, idempotencyKey)
    if (this.#sessionId !== sessionId) this.#made.clear()
    this.#sessionId = sessionId
    const { clock, lifetimeMs, tokenKeys } = this.#options
    const nowMs = clock.monotonicMs()
    const made = this.#made.get(scope)
    if (made !== undefined && nowMs < made.renewAtMs && made.kid === tokenKeys.current.kid) return made.token
    const token = this.#make(scope, sessionId)
    this.#made.set(scope, { token, renewAtMs: nowMs + lifetimeMs / 2, kid: tokenKeys.current.kid })
    return token
  }

  #make(scope: string, sessionId: string, idempotencyKey?: string): string {
    const { self, peer, tokenKeys, lifetimeMs, clock } = this.#options
    const nowMs = clock.nowMs()
    return makeToken(tokenKeys.current, REQUEST_TOKEN_TYP, {
      iss: self,
      sub: self,
      aud: peer,
      sid: sessionId,
      scope,
      iat: numericDate(nowMs),
      exp: numericDate(nowMs + lifetimeMs),
      jti: randomUUID(),
      ...(idempotencyKey === undefined ? {} : { key: idempotencyKey }),
    })
  }
}
