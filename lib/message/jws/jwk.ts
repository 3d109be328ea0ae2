import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { LsxError } from '../../runtime/index.ts'
import { algorithmsOf, isJwsAlgorithm, type JwsAlgorithm } from './algorithms.ts'
import { decodeBase64url } from './base64url.ts'
import { parseJsonObject } from './json-object.ts'
import { isKeyId } from './names.ts'

/** The key of a party that signatures are verified with. */
export interface VerificationKey {
  readonly party: string
  readonly keyId: string
  readonly algorithm: JwsAlgorithm
  readonly publicKey: KeyObject
  /** RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string
  /** Unix ms, both ends included; undefined where the key has no such end. */
  readonly notBeforeMs: number | undefined
  readonly notAfterMs: number | undefined
}

/** The public members of each key type that is taken, in the order of RFC 7638 section 3.2. */
const MEMBERS = {
  OKP: ['crv', 'kty', 'x'],
  EC: ['crv', 'kty', 'x', 'y'],
  RSA: ['e', 'kty', 'n'],
} as const

/** Members of private and symmetric keys (RFC 7518 section 6). Such a file is in the wrong place, and its key is burnt. */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

/** Characters of a thumbprint that name a key: 96 bits. */
const KEY_ID_CHARACTERS = 16

export function thumbprintOf(key: KeyObject): string {
  return thumbprintOfJwk(publicHalf(key).export({ format: 'jwk' }) as Record<string, unknown>)
}

/** The name that a key gets where nobody gives it another. */
export function defaultKeyId(key: KeyObject): string {
  // Not with a dash in front: it names a file, and commands take such a name for an option.
  return thumbprintOf(key).replace(/^-+/, '').slice(0, KEY_ID_CHARACTERS)
}

/** The public half as JWK, to be given to whoever verifies. */
export function publicJwk(
  key: KeyObject,
  facts: { readonly keyId: string; readonly algorithm: JwsAlgorithm; notBeforeMs?: number; notAfterMs?: number },
): Record<string, unknown> {
  const { keyId, algorithm, notBeforeMs, notAfterMs } = facts
  return {
    ...publicHalf(key).export({ format: 'jwk' }),
    kid: keyId,
    alg: algorithm,
    use: 'sig',
    ...(notBeforeMs === undefined ? {} : { nbf: Math.floor(notBeforeMs / 1_000) }),
    ...(notAfterMs === undefined ? {} : { exp: Math.floor(notAfterMs / 1_000) }),
  }
}

/**
 * Reads a public JWK (RFC 7517) of a party. `nbf` and `exp` are Unix seconds, as in a JWT; `alg` may be left out where
 * the key fits one algorithm only.
 *
 * @throws LsxError REFUSED, party self: not such a key, a private one, too weak, or of another name than `keyId`
 */
export function parsePublicJwk(bytes: Buffer, source: { party: string; keyId: string; file: string }): VerificationKey {
  const { party, keyId, file } = source
  const refuse = (problem: string) =>
    new LsxError('REFUSED', `${file} holds no verification key that can be used: ${problem}`, {
      party: 'self',
      facts: { file },
    })
  const jwk = parseJsonObject(bytes)
  if (typeof jwk === 'string') throw refuse(jwk)
  const secret = SECRET_MEMBERS.find((name) => Object.hasOwn(jwk, name))
  if (secret !== undefined)
    throw refuse(
      `it has the private member "${secret}"; take it away, and replace the key, for it is no secret any more`,
    )
  if (jwk.kid !== keyId || !isKeyId(keyId)) throw refuse(`its kid is not ${keyId}, as the name of the file says`)
  if (jwk.use !== undefined && jwk.use !== 'sig') throw refuse('its use is not "sig"')
  const members = Object.hasOwn(MEMBERS, String(jwk.kty)) ? MEMBERS[jwk.kty as keyof typeof MEMBERS] : undefined
  if (members === undefined) throw refuse('its kty is not OKP, EC or RSA')
  for (const name of members) {
    const value = jwk[name]
    const isText = typeof value === 'string' && value.length > 0
    if (!isText || (name.length === 1 && decodeBase64url(value) === undefined))
      throw refuse(`its member "${name}" is missing or malformed`)
  }
  const publicKey = readKey(jwk, members)
  if (publicKey === undefined) throw refuse('its members make no key')
  const allowed = algorithmsOf(publicKey)
  if (typeof allowed === 'string') throw refuse(allowed)
  const algorithm = jwk.alg === undefined && allowed.length === 1 ? allowed[0] : jwk.alg
  if (!isJwsAlgorithm(algorithm) || !allowed.includes(algorithm)) throw refuse(`its alg is not ${allowed.join(' or ')}`)
  const notBeforeMs = readTime(jwk.nbf)
  const notAfterMs = readTime(jwk.exp)
  if (notBeforeMs === null || notAfterMs === null) throw refuse('nbf and exp are Unix seconds')
  return { party, keyId, algorithm, publicKey, thumbprint: thumbprintOfJwk(jwk), notBeforeMs, notAfterMs }
}

/** Whether what was signed at this time could be signed with the key. */
export function isValidAt(key: VerificationKey, atMs: number): boolean {
  return atMs >= (key.notBeforeMs ?? Number.NEGATIVE_INFINITY) && atMs <= (key.notAfterMs ?? Number.POSITIVE_INFINITY)
}

function readKey(jwk: Record<string, unknown>, members: readonly string[]): KeyObject | undefined {
  try {
    const key = createPublicKey({
      key: Object.fromEntries(members.map((name) => [name, jwk[name]])),
      format: 'jwk',
    })
    // One key has one spelling, or it would have several thumbprints.
    return thumbprintOf(key) === thumbprintOfJwk(jwk) ? key : undefined
  } catch {
    return undefined
  }
}

function readTime(value: unknown): number | undefined | null {
  if (value === undefined) return undefined
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < 1e11 ? value * 1_000 : null
}

function thumbprintOfJwk(jwk: Record<string, unknown>): string {
  const members = MEMBERS[jwk.kty as keyof typeof MEMBERS]
  const required = Object.fromEntries(members.map((name) => [name, jwk[name]]))
  return createHash('sha256').update(JSON.stringify(required)).digest('base64url')
}

function publicHalf(key: KeyObject): KeyObject {
  return key.type === 'private' ? createPublicKey(key) : key
}
