import type { KeyObject } from 'node:crypto'
import { errors, jwtVerify } from 'jose'
import { LsxError } from '../../runtime/index.ts'
import { readToken, type TokenHeader } from './compact.ts'

/** Signature algorithms that a token may name. No symmetric one: whoever can check one of those can make one. */
export const TOKEN_ALGORITHMS = ['EdDSA', 'ES256', 'RS256', 'PS256'] as const
export type TokenAlgorithm = (typeof TOKEN_ALGORITHMS)[number]

/** What a token must be to count. Nothing here has a default: what is left out would be what gets through. */
export interface TokenRules {
  readonly typ: string
  readonly issuer: string
  /** Undefined: any, as for tokens of other issuers' apps. */
  readonly subject: string | undefined
  readonly audience: string
  readonly algorithms: readonly TokenAlgorithm[]
  /** From `iat` to `exp` at most, and from `iat` to now. */
  readonly maxLifetimeMs: number
  readonly clockToleranceMs: number
  /** The public key that this header names; undefined: none that is trusted for this issuer. */
  keyOf(header: TokenHeader): KeyObject | undefined
}

/** What has been proven. Times in Unix ms. */
export interface VerifiedToken {
  readonly header: TokenHeader
  readonly claims: Readonly<Record<string, unknown>>
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  readonly jti: string
}

const REQUIRED = ['iss', 'sub', 'aud', 'iat', 'exp', 'jti']
const MAX_JTI_CHARACTERS = 128

/**
 * Verifies a token at `wallMs`. jose checks signature and claims; what it takes by default and we do not is refused
 * before it (see `readToken`) or after.
 *
 * @throws LsxError TOKEN_INVALID
 */
export async function verifyToken(token: string, rules: TokenRules, wallMs: number): Promise<VerifiedToken> {
  const { header } = readToken(token)
  // jose compares typ without regard to case and prefix.
  if (header.typ !== rules.typ)
    throw invalid(`a token of the type ${rules.typ} was due`, { typ: header.typ.slice(0, 64) })
  if (!rules.algorithms.some((algorithm) => algorithm === header.alg))
    throw invalid('a token names an algorithm that is not allowed for its issuer', { alg: header.alg.slice(0, 32) })
  const key = rules.keyOf(header)
  if (key === undefined) throw invalid('a token names a key that is not trusted for its issuer', { kid: header.kid })
  if (key.type !== 'public') throw new LsxError('INTERNAL', 'tokens are verified with public keys')
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [...rules.algorithms],
      typ: rules.typ,
      issuer: rules.issuer,
      audience: rules.audience,
      requiredClaims: REQUIRED,
      maxTokenAge: Math.ceil(rules.maxLifetimeMs / 1_000),
      clockTolerance: rules.clockToleranceMs / 1_000,
      currentDate: new Date(wallMs),
      ...(rules.subject === undefined ? {} : { subject: rules.subject }),
    })
    return checked(header, payload, rules)
  } catch (thrown) {
    if (thrown instanceof LsxError) throw thrown
    throw invalid(problemOf(thrown), {}, thrown)
  }
}

function checked(header: TokenHeader, claims: Readonly<Record<string, unknown>>, rules: TokenRules): VerifiedToken {
  const { sub, jti, iat, exp } = claims
  if (typeof sub !== 'string' || sub === '') throw invalid('the sub of a token is not a string')
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI_CHARACTERS)
    throw invalid('the jti of a token is not a string of 1 to 128 characters')
  if (typeof iat !== 'number' || typeof exp !== 'number') throw invalid('iat and exp of a token are not numbers')
  const lifetimeMs = (exp - iat) * 1_000
  if (!(lifetimeMs > 0 && lifetimeMs <= rules.maxLifetimeMs + 1_000))
    throw invalid(`a token may live ${rules.maxLifetimeMs} ms`, { lifetimeMs })
  return { header, claims, issuedAtMs: iat * 1_000, expiresAtMs: exp * 1_000, jti }
}

function problemOf(thrown: unknown): string {
  if (thrown instanceof errors.JWTExpired) return `a token is too old: ${thrown.message}`
  if (thrown instanceof errors.JWTClaimValidationFailed) return `a claim of a token is wrong: ${thrown.message}`
  if (thrown instanceof errors.JWSSignatureVerificationFailed) return 'the signature of a token does not verify'
  return 'a token cannot be verified'
}

function invalid(message: string, facts: Readonly<Record<string, unknown>> = {}, cause?: unknown): LsxError {
  return new LsxError('TOKEN_INVALID', message, { facts, ...(cause === undefined ? {} : { cause }) })
}
