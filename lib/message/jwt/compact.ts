import { isUtf8 } from 'node:buffer'
import { LsxError } from '../../runtime/index.ts'
import { parseJsonObject } from './json-object.ts'

/** A token with its few claims has 400 to 700; what issuers of others make is longer. */
export const MAX_TOKEN_BYTES = 4_096
const BASE64URL = /^[A-Za-z0-9_-]+$/
/** All that a header of ours has. `crit` and `b64` change what is signed, `jwk` and `x5c` bring the key along: refused. */
const HEADER_MEMBERS: ReadonlySet<string> = new Set(['alg', 'kid', 'typ'])
const MAX_KID_CHARACTERS = 128

export interface TokenHeader {
  readonly alg: string
  readonly kid: string
  readonly typ: string
}

/** A token taken apart. Nothing of it is proven yet. */
export interface ReadToken {
  readonly header: TokenHeader
  readonly claims: Readonly<Record<string, unknown>>
}

/**
 * Reads a JWT in compact form (RFC 7519, RFC 7515 section 7.1) more strictly than jose does: one spelling of each part
 * in base64url, no member twice, no header parameter that we do not use.
 *
 * @throws LsxError TOKEN_INVALID
 */
export function readToken(token: string): ReadToken {
  if (token.length > MAX_TOKEN_BYTES) throw invalid(`a token has more than ${MAX_TOKEN_BYTES} bytes`)
  const parts = token.split('.')
  const [header = '', claims = '', signature = ''] = parts
  if (parts.length !== 3) throw invalid('a token does not have three parts')
  for (const part of parts) checkBase64Url(part)
  checkBase64Url(signature)
  return { header: readHeader(header), claims: parsePart(claims, "the token's claims") }
}

function readHeader(part: string): TokenHeader {
  const header = parsePart(part, "the token's header")
  const unknown = Object.keys(header).find((name) => !HEADER_MEMBERS.has(name))
  if (unknown !== undefined)
    throw invalid('the header of a token has a parameter that is not used here', { parameter: unknown.slice(0, 32) })
  const { alg, kid, typ } = header
  if (typeof alg !== 'string' || typeof typ !== 'string') throw invalid('the header of a token lacks alg or typ')
  if (typeof kid !== 'string' || kid === '' || kid.length > MAX_KID_CHARACTERS)
    throw invalid('the header of a token lacks a kid')
  return { alg, kid, typ }
}

/** Node and jose take padding, white space and stray last bits: then one signature would have many spellings. */
function checkBase64Url(part: string): void {
  if (!BASE64URL.test(part) || Buffer.from(part, 'base64url').toString('base64url') !== part)
    throw invalid('a part of a token is not canonical base64url')
}

function parsePart(part: string, what: string): Record<string, unknown> {
  const bytes = Buffer.from(part, 'base64url')
  if (!isUtf8(bytes)) throw invalid(`${what} are not UTF-8`)
  return parseJsonObject(bytes.toString(), what)
}

function invalid(message: string, facts: Readonly<Record<string, unknown>> = {}): LsxError {
  return new LsxError('TOKEN_INVALID', message, { facts })
}
