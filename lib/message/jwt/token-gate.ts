import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type Clock, LsxError } from '../../runtime/index.ts'
import { MAX_TOKEN_BYTES, readToken } from './compact.ts'
import type { TrustedIssuer } from './issuers.ts'
import { type MethodScope, REQUEST_TOKEN_TYP } from './request-tokens.ts'
import type { SessionTokens } from './session-tokens.ts'
import { SpentTokens } from './spent-tokens.ts'
import { type VerifiedToken, verifyToken } from './verify-token.ts'

/** The type of access tokens of other issuers (RFC 9068 section 2.1). */
export const ACCESS_TOKEN_TYP = 'at+jwt'

export interface TokenGateOptions {
  /** SPIFFE ids of this side, and of LS. */
  readonly self: string
  readonly peer: string
  /** Methods that ask for a token. */
  readonly methods: ReadonlyMap<string, MethodScope>
  readonly issuers: () => ReadonlyMap<string, TrustedIssuer>
  readonly clockToleranceMs: number
  /** Of LS's tokens. */
  readonly maxLifetimeMs: number
  readonly maxCached: number
  readonly maxSpent: number
  readonly clock: Clock
}

/** The request that a token came with. */
export interface TokenBearer {
  readonly method: string
  readonly idempotencyKey: string
  /** As it came in the request's meta. */
  readonly token: unknown
}

interface KnownToken {
  readonly token: VerifiedToken
  readonly scopes: readonly string[]
  /** Undefined for LS's own tokens. */
  readonly issuer: TrustedIssuer | undefined
}

/**
 * Lets requests pass whose token gives the scope that their method asks for. A token is verified once; after that its
 * SHA-256 finds what was proven, and only what changes is looked at again: time, session, scope and use.
 */
export class TokenGate {
  readonly #options: TokenGateOptions
  readonly #known: LRUCache<string, KnownToken>
  readonly #spent: SpentTokens
  /** Goes up when the issuers' keys change. */
  #generation = 0

  constructor(options: TokenGateOptions) {
    this.#options = options
    this.#known = new LRUCache({ max: options.maxCached })
    this.#spent = new SpentTokens(options.maxSpent, options.clock)
  }

  asksFor(method: string): boolean {
    return this.#options.methods.has(method)
  }

  /** The keys of the issuers have changed: what was proven with others proves nothing now. */
  forget(): void {
    this.#generation++
    this.#known.clear()
  }

  /**
   * Resolves, or returns on the same call stack for a token that is known, when the request may pass.
   *
   * @throws LsxError TOKEN_INVALID, BUSY
   */
  check(bearer: TokenBearer, session: SessionTokens | undefined): void | Promise<void> {
    const wanted = this.#options.methods.get(bearer.method)
    if (wanted === undefined) return
    const { token } = bearer
    if (typeof token !== 'string' || token === '') throw new LsxError('TOKEN_INVALID', 'the method asks for a token')
    if (token.length > MAX_TOKEN_BYTES) throw new LsxError('TOKEN_INVALID', 'the token is too long')
    const digest = createHash('sha256').update(token).digest('base64url')
    const known = this.#known.get(digest)
    if (known !== undefined) {
      this.#admit(known, wanted, bearer, session)
      return
    }
    const generation = this.#generation
    return this.#verify(token, session).then((verified) => {
      if (generation === this.#generation) this.#known.set(digest, verified)
      this.#admit(verified, wanted, bearer, session)
    })
  }

  async #verify(token: string, session: SessionTokens | undefined): Promise<KnownToken> {
    const { header, claims } = readToken(token)
    const { self, peer, clock, clockToleranceMs, maxLifetimeMs, issuers } = this.#options
    const common = { clockToleranceMs, subject: undefined }
    if (claims.iss === peer) {
      const key = await session?.peerKey(claims.sid, header.kid)
      const verified = await verifyToken(
        token,
        {
          ...common,
          typ: REQUEST_TOKEN_TYP,
          issuer: peer,
          subject: peer,
          audience: self,
          algorithms: ['EdDSA'],
          maxLifetimeMs,
          keyOf: () => key,
        },
        clock.nowMs(),
      )
      if (verified.claims.aud !== self) throw new LsxError('TOKEN_INVALID', 'the token is for others too')
      return { token: verified, scopes: scopesOf(verified), issuer: undefined }
    }
    const issuer = typeof claims.iss === 'string' ? issuers().get(claims.iss) : undefined
    if (issuer === undefined) throw new LsxError('TOKEN_INVALID', 'the token is of an issuer that is not trusted here')
    const verified = await verifyToken(
      token,
      {
        ...common,
        typ: ACCESS_TOKEN_TYP,
        issuer: issuer.issuer,
        audience: issuer.audience,
        algorithms: issuer.algorithms,
        maxLifetimeMs: issuer.maxLifetimeMs,
        keyOf: ({ kid, alg }) => {
          const found = issuer.keys.get(kid)
          return found === undefined || (found.alg !== undefined && found.alg !== alg) ? undefined : found.key
        },
      },
      clock.nowMs(),
    )
    return { token: verified, scopes: scopesOf(verified), issuer }
  }

  #admit(
    { token, scopes, issuer }: KnownToken,
    wanted: MethodScope,
    { idempotencyKey }: TokenBearer,
    session: SessionTokens | undefined,
  ): void {
    const { clock, clockToleranceMs } = this.#options
    const nowMs = clock.nowMs()
    if (token.expiresAtMs + clockToleranceMs <= nowMs) throw new LsxError('TOKEN_INVALID', 'the token has expired')
    if (!scopes.includes(wanted.scope) || issuer?.scopes?.includes(wanted.scope) === false)
      throw new LsxError('TOKEN_INVALID', 'the token does not give the scope of the method', {
        facts: { scope: wanted.scope },
      })
    if (issuer === undefined && session?.isInForce(token.claims.sid) !== true)
      throw new LsxError('TOKEN_INVALID', 'the token is of a session that is not in force')
    const { key } = token.claims
    if (key !== undefined && key !== idempotencyKey)
      throw new LsxError('TOKEN_INVALID', 'the token is for another idempotency key')
    if (!wanted.singleUse && issuer?.singleUse !== true) return
    // A token that names its key can be used for nothing else. One that does not is bound to the first that it comes with.
    if (key === undefined)
      this.#spent.spend(`${issuer?.issuer ?? ''}\n${token.jti}`, idempotencyKey, token.expiresAtMs + clockToleranceMs)
  }
}

function scopesOf({ claims }: VerifiedToken): readonly string[] {
  return typeof claims.scope === 'string' ? claims.scope.split(' ').filter((word) => word !== '') : []
}
