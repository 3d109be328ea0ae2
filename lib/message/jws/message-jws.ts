import { createHash } from 'node:crypto'
import { LsxError } from '../../runtime/index.ts'
import { signatureBytes } from './algorithms.ts'
import { detachedJws, type ParsedJws } from './detached.ts'
import { type MessageContext, MessageDirection, type MessageParts } from './message.ts'
import type { SigningKey } from './signing-key.ts'

/** Names this use of JWS, so that no signature made for another purpose passes for one of a message (RFC 8725 section 3.11). */
export const MESSAGE_TYPE = 'ls-msg+jws'

/** What the protected header says beside `alg` and `kid`: all that the signature covers but the payload. */
function claims(context: MessageContext, parts: MessageParts): Record<string, unknown> {
  const isRequest = context.direction === MessageDirection.request
  return {
    typ: MESSAGE_TYPE,
    dir: isRequest ? 'request' : 'response',
    party: context.party,
    bankCode: context.bankCode,
    sessionId: context.sessionId.toString('hex'),
    id: parts.id,
    key: parts.key,
    method: parts.method,
    ...(isRequest ? { budgetMs: parts.detail } : { status: parts.detail }),
    ...(parts.requestHash === ''
      ? {}
      : { requestHash: Buffer.from(parts.requestHash, 'latin1').toString('base64url') }),
    ...(parts.metaEntries.length === 0
      ? {}
      : { metaHash: createHash('sha256').update(parts.metaEntries).digest('base64url') }),
  }
}

/** `timeMs` becomes `iatMs`, Unix ms. */
export function messageJws(context: MessageContext, parts: MessageParts, timeMs: number, key: SigningKey): string {
  return detachedJws(parts.payload, { ...claims(context, parts), iatMs: timeMs }, key)
}

/** What is longest in a header beside the names of party, bank, key and method, with room to spare. */
const HEADER_BYTES = 384

/** The most characters that `messageJws` makes for such a message. */
export function messageJwsBytes(parts: MessageParts, key: SigningKey, bankCode: string): number {
  const names = JSON.stringify([key.party, key.keyId, bankCode, parts.key, parts.method])
  return base64Length(HEADER_BYTES + Buffer.byteLength(names)) + 2 + base64Length(signatureBytes(key.privateKey))
}

/** When the message says that it was signed, Unix ms. */
export function timeOf({ header }: ParsedJws): number {
  const { iatMs } = header
  if (typeof iatMs === 'number' && Number.isSafeInteger(iatMs) && iatMs >= 0) return iatMs
  throw new LsxError('SIGNATURE_INVALID', 'the JWS of a message has no iatMs')
}

/** @throws LsxError SIGNATURE_INVALID where the header speaks of another message */
export function checkClaims({ header }: ParsedJws, context: MessageContext, parts: MessageParts): void {
  const expected = claims(context, parts)
  const names = Object.keys(expected)
  const optional = ['budgetMs', 'status', 'requestHash', 'metaHash']
  const wrong =
    names.find((name) => header[name] !== expected[name]) ??
    optional.find((name) => Object.hasOwn(header, name) && !Object.hasOwn(expected, name))
  if (wrong !== undefined)
    throw new LsxError('SIGNATURE_INVALID', `the JWS is of another message: ${wrong} differs`, {
      facts: { member: wrong },
    })
}

function base64Length(bytes: number): number {
  return Math.ceil((bytes * 4) / 3)
}
