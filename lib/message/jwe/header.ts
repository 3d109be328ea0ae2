import { LsxError } from '../../runtime/index.ts'
import { decodeBase64url, parseJsonObject } from '../jws/index.ts'
import { CONTENT_ENCRYPTION, type SealingAlgorithm } from './algorithms.ts'

/** What a sealed message is about. It is in the protected header, so a message cannot be moved to another request. */
export interface SealedContext {
  readonly bankCode: string
  readonly method: string
  readonly idempotencyKey: string
}

export type SealedKind = 'lsx-request+jwe' | 'lsx-response+jwe'

/** The protected header of a sealed message, checked. */
export interface SealedHeader extends SealedContext {
  readonly alg: SealingAlgorithm
  readonly typ: SealedKind
  readonly kid: string
  /** When it was sealed, Unix seconds. */
  readonly iat: number
  /** Of a response: 0 ok, 1 failed. */
  readonly status: number | undefined
}

/** The media type of a sealed payload: `meta.type`. */
export const SEALED_TYPE = 'application/jose'

const PARTS = 5
const MAX_HEADER_CHARACTERS = 2_048
/** Of an RSA key of 8,192 bits. */
const MAX_ENCRYPTED_KEY_CHARACTERS = 1_366
const IV_CHARACTERS = 16
const TAG_CHARACTERS = 22

/** All that a header may name: what is not here (zip, crit, jwk, jku, x5c, p2c, apu …) is refused. */
const COMMON = ['alg', 'enc', 'kid', 'typ', 'bankCode', 'method', 'idempotencyKey', 'iat']
const MEMBERS: Readonly<Record<SealedKind, ReadonlySet<string>>> = {
  'lsx-request+jwe': new Set(COMMON),
  'lsx-response+jwe': new Set([...COMMON, 'status']),
}

/**
 * Reads the header of a JWE in compact form (RFC 7516, section 7.1) without opening it, and checks everything that needs
 * no key: five parts of strict base64url and of their sizes, known members only, the one encryption. Throws BAD_REQUEST.
 */
export function readSealedHeader(bytes: Buffer, kind: SealedKind): SealedHeader {
  const parts = bytes.toString('latin1').split('.', PARTS + 1)
  const [header = '', encryptedKey = '', iv = '', , tag = ''] = parts
  if (parts.length !== PARTS) throw bad('it does not have five parts')
  if (header.length > MAX_HEADER_CHARACTERS) throw bad('its header is too long')
  if (encryptedKey.length > MAX_ENCRYPTED_KEY_CHARACTERS) throw bad('its encrypted key is too long')
  if (iv.length !== IV_CHARACTERS || tag.length !== TAG_CHARACTERS) throw bad('its nonce or tag has another length')
  for (const part of parts) if (decodeBase64url(part) === undefined) throw bad('it is not base64url')
  const fields = parseJsonObject(decodeBase64url(header) ?? Buffer.alloc(0))
  if (typeof fields === 'string') throw bad(`of its header: ${fields}`)
  const { alg, enc, kid, typ, bankCode, method, idempotencyKey, iat, status, epk, ...others } = fields
  if (typ !== kind) throw bad('its typ is another')
  if (enc !== CONTENT_ENCRYPTION) throw bad('its enc is not A256GCM')
  if (alg !== 'RSA-OAEP-256' && alg !== 'ECDH-ES+A256KW') throw bad('its alg is none of ours')
  if ((epk !== undefined) !== (alg === 'ECDH-ES+A256KW')) throw bad('its epk does not fit its alg')
  if (epk !== undefined) checkEphemeralKey(epk)
  const [unknown] = Object.keys(others).filter((name) => !MEMBERS[kind].has(name))
  if (unknown !== undefined) throw bad(`its header has the member "${unknown.slice(0, 32)}"`)
  for (const value of [kid, bankCode, method, idempotencyKey]) {
    if (typeof value !== 'string' || value.length === 0 || value.length > 128) throw bad('a member is malformed')
  }
  if (!Number.isSafeInteger(iat) || (iat as number) < 0) throw bad('its iat is no time')
  const isStatus = kind === 'lsx-response+jwe' ? status === 0 || status === 1 : status === undefined
  if (!isStatus) throw bad('its status is malformed')
  return fields as unknown as SealedHeader
}

/** True where the message was sealed for this very request. */
export function isSealedFor(header: SealedContext, context: SealedContext): boolean {
  return (
    header.bankCode === context.bankCode &&
    header.method === context.method &&
    header.idempotencyKey === context.idempotencyKey
  )
}

function checkEphemeralKey(epk: unknown): void {
  if (typeof epk !== 'object' || epk === null || Array.isArray(epk)) throw bad('its epk is no key')
  const { kty, crv, x, y, ...others } = epk as Record<string, unknown>
  const isKnown = (kty === 'OKP' && crv === 'X25519' && y === undefined) || (kty === 'EC' && crv === 'P-256')
  const coordinates = kty === 'EC' ? [x, y] : [x]
  const isWhole = coordinates.every((value) => typeof value === 'string' && value.length === 43)
  if (!isKnown || !isWhole || Object.keys(others).length > 0) throw bad('its epk is no key of ours')
}

function bad(problem: string): LsxError {
  return new LsxError('BAD_REQUEST', `a sealed payload cannot be used: ${problem}`)
}
