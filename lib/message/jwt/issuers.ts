import { createPublicKey, type KeyObject } from 'node:crypto'
import { readPublicFile } from '../../certs/index.ts'
import { LsxError } from '../../runtime/index.ts'
import { parseJsonObject } from './json-object.ts'
import type { TokenAlgorithm } from './verify-token.ts'

/** An issuer of tokens beside LS, whose apps bring their own. */
export interface IssuerConfig {
  readonly issuer: string
  /** JWK set (RFC 7517 section 5) with its public keys, each with a kid; two while one is being replaced. */
  readonly keysFile: string
  readonly algorithms: readonly TokenAlgorithm[]
  readonly audience: string
  readonly maxLifetimeMs: number
  /** Each token counts for one idempotency key. */
  readonly singleUse: boolean
  /** Scopes that this issuer may give; any if undefined. */
  readonly scopes: readonly string[] | undefined
}

export interface TrustedIssuer extends Omit<IssuerConfig, 'keysFile'> {
  readonly keys: ReadonlyMap<string, { readonly key: KeyObject; readonly alg: string | undefined }>
}

const MAX_KEYS = 16
const MIN_RSA_BITS = 2_048

/** Reads the issuer's key file. @throws LsxError REFUSED, party self */
export function loadIssuer({ keysFile, ...config }: IssuerConfig): TrustedIssuer {
  const keys = new Map<string, { key: KeyObject; alg: string | undefined }>()
  for (const jwk of readKeySet(keysFile)) {
    const { kid, alg, use } = jwk
    if (typeof kid !== 'string' || kid === '') throw refused(keysFile, 'holds a key without a kid')
    if (keys.has(kid)) throw refused(keysFile, `holds two keys with the kid ${kid}`)
    if ('d' in jwk || 'k' in jwk)
      throw refused(keysFile, `holds a private or shared key (${kid}): it is for public keys`)
    if (use !== undefined && use !== 'sig') throw refused(keysFile, `holds a key that is not for signatures (${kid})`)
    keys.set(kid, { key: publicKeyOf(keysFile, kid, jwk), alg: typeof alg === 'string' ? alg : undefined })
  }
  if (keys.size === 0) throw refused(keysFile, 'holds no key')
  return { ...config, keys }
}

function readKeySet(file: string): readonly Record<string, unknown>[] {
  let keys: unknown
  try {
    keys = parseJsonObject(readPublicFile(file).toString(), file).keys
  } catch (cause) {
    if (cause instanceof LsxError && cause.code === 'REFUSED') throw cause
    throw refused(file, 'is not a JWK set', cause)
  }
  if (!Array.isArray(keys) || keys.length > MAX_KEYS || !keys.every(isObject))
    throw refused(file, `is not a JWK set of at most ${MAX_KEYS} keys`)
  return keys
}

function publicKeyOf(file: string, kid: string, jwk: Record<string, unknown>): KeyObject {
  let key: KeyObject
  try {
    key = createPublicKey({ key: jwk as import('node:crypto').JsonWebKey, format: 'jwk' })
  } catch (cause) {
    throw refused(file, `holds a key that cannot be used (${kid})`, cause)
  }
  const bits = key.asymmetricKeyDetails?.modulusLength
  if (bits !== undefined && bits < MIN_RSA_BITS)
    throw refused(file, `holds an RSA key of ${bits} bits (${kid}); at least ${MIN_RSA_BITS} are needed`)
  return key
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refused(file: string, problem: string, cause?: unknown): LsxError {
  return new LsxError('REFUSED', `the key file ${file} ${problem}`, {
    party: 'self',
    facts: { file },
    ...(cause === undefined ? {} : { cause }),
  })
}
