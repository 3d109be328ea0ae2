import { LsxError } from '../../runtime/index.ts'
import { decodeBase64url } from './base64url.ts'
import { parseJsonObject } from './json-object.ts'
import { isValidAt, type VerificationKey } from './jwk.ts'
import type { SigningKey } from './signing-key.ts'
import type { VerificationCache } from './verification-cache.ts'

/** Header of a JWS that was parsed and not verified yet. */
export interface ParsedJws {
  readonly header: Readonly<Record<string, unknown>>
  readonly encodedHeader: string
  readonly signature: Buffer
}

/**
 * Members of a header that would bring the key along, or change what is signed or how the rest is to be read. None of
 * them is ever used here: keys come from the directory, and the payload is always encoded (RFC 7515 section 4.1, RFC 7797).
 */
const REFUSED_MEMBERS = ['jwk', 'jku', 'x5c', 'x5u', 'x5t', 'x5t#S256', 'crit', 'b64', 'zip', 'enc']
const MAX_JWS_CHARACTERS = 8_192

/** A compact JWS over exactly these bytes, without them (RFC 7515 appendix F): `header..signature`. */
export function detachedJws(payload: Buffer, header: Readonly<Record<string, unknown>>, key: SigningKey): string {
  const protectedHeader = { alg: key.algorithm, kid: key.keyId, ...header }
  const encodedHeader = Buffer.from(JSON.stringify(protectedHeader)).toString('base64url')
  const signature = key.sign(signingInput(encodedHeader, payload))
  return `${encodedHeader}..${signature.toString('base64url')}`
}

/**
 * Takes a JWS of RFC 7515 in compact form with detached content (appendix F) apart, strictly.
 *
 * @throws LsxError SIGNATURE_INVALID
 */
export function parseDetachedJws(jws: string): ParsedJws {
  if (jws.length > MAX_JWS_CHARACTERS) throw invalid('it is too long')
  const [encodedHeader = '', content, encodedSignature = '', ...more] = jws.split('.')
  if (content !== '' || more.length > 0) throw invalid('it is not a compact JWS with detached content')
  const headerBytes = decodeBase64url(encodedHeader)
  const signature = decodeBase64url(encodedSignature)
  if (headerBytes === undefined || signature === undefined || signature.length === 0)
    throw invalid('it is not plain base64url')
  const header = parseJsonObject(headerBytes)
  if (typeof header === 'string') throw invalid(`its header cannot be read: ${header}`)
  const refused = REFUSED_MEMBERS.find((name) => Object.hasOwn(header, name))
  if (refused !== undefined) throw invalid(`its header has the member "${refused}", which is never used here`)
  return { header, encodedHeader, signature }
}

/**
 * Verifies with this key and no other; the algorithm is the key's own. `atMs`: when it was signed, to be compared with
 * the key's times.
 *
 * @throws LsxError SIGNATURE_INVALID
 */
export function verifyDetachedJws(
  { header, encodedHeader, signature }: ParsedJws,
  options: {
    readonly payload: Buffer
    readonly key: VerificationKey
    readonly cache: VerificationCache
    readonly atMs: number
  },
): void {
  const { payload, key, cache, atMs } = options
  if (header.alg !== key.algorithm) throw invalid('its algorithm is not that of the key')
  if (header.kid !== key.keyId) throw invalid('it names another key')
  if (!isValidAt(key, atMs)) throw invalid('its key is not valid at that time')
  if (!cache.verify(key, signingInput(encodedHeader, payload), signature)) throw invalid('it does not verify')
}

/** RFC 7515 section 5.1: the payload is encoded here too, though it is not sent so. */
function signingInput(encodedHeader: string, payload: Buffer): Buffer {
  return Buffer.from(`${encodedHeader}.${payload.toString('base64url')}`, 'latin1')
}

function invalid(problem: string): LsxError {
  return new LsxError('SIGNATURE_INVALID', `a JWS is refused: ${problem}`)
}
