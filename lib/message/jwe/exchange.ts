import { randomBytes, timingSafeEqual } from 'node:crypto'
import { decodeMap, encodeMap } from '../../frames/index.ts'
import { LsxError } from '../../runtime/index.ts'
import type { SealedContext } from './header.ts'
import { newSealingKey, parseSealingJwk, type SealingKey, type SealingPublicKey, sealingJwk } from './keys.ts'
import { openBytes, sealBytes } from './seal.ts'

const NONCE_BYTES = 16

/** A request as its app has sealed it, and what opens the answer to it. */
export interface SealedExchange {
  readonly context: SealedContext
  /** The payload to send. A repetition of the key sends these very bytes. */
  readonly bytes: Buffer
  readonly replyKey: SealingKey
  readonly nonce: Buffer
}

/** A request as the bank has opened it, and what its answer is sealed with. */
export interface OpenedRequest {
  readonly context: SealedContext
  /** The app's payload. */
  readonly payload: Buffer
  readonly replyKey: SealingPublicKey
  readonly nonce: Buffer
}

/**
 * The app's half. Inside the seal, beside the payload, are the key that the answer is to be sealed to, so that nobody on
 * the way can put his own there, and a nonce, so that only who has opened the request can make an answer.
 *
 * @param replyKey default: a new X25519 key, for this answer only
 */
export async function sealRequest(
  payload: Buffer,
  options: {
    context: SealedContext
    bankKey: SealingPublicKey
    replyKey?: SealingKey | undefined
    /** Unix ms: a node does not take what was sealed long ago. */
    nowMs: number
  },
): Promise<SealedExchange> {
  const { context, bankKey, nowMs, replyKey = newSealingKey('x25519') } = options
  const nonce = randomBytes(NONCE_BYTES)
  const plaintext = encodeMap({ nonce, payload, replyKey: sealingJwk(replyKey) })
  const bytes = await sealBytes(plaintext, bankKey, { ...context, kind: 'lsx-request+jwe', sealedAtMs: nowMs })
  return { context, bytes, replyKey, nonce }
}

/** The bank's half. Rejects BAD_REQUEST. */
export async function openRequest(
  bytes: Buffer,
  options: { context: SealedContext; key: SealingKey; minRsaBits?: number },
): Promise<OpenedRequest> {
  const { context, key, minRsaBits } = options
  const { plaintext } = await openBytes(bytes, { kind: 'lsx-request+jwe', context, key })
  const { nonce, payload, replyKey } = contentOf(plaintext)
  try {
    return { context, nonce, payload, replyKey: parseSealingJwk(replyKey, minRsaBits) }
  } catch (cause) {
    throw new LsxError('BAD_REQUEST', 'a sealed payload names no key for its answer that can be used', { cause })
  }
}

/** `status`, 0 ok or 1 failed, is sealed too: nobody on the way can turn one into the other. */
export function sealAnswer(
  payload: Buffer,
  request: OpenedRequest,
  answer: { readonly status: number; readonly nowMs: number },
): Promise<Buffer> {
  const { context, nonce, replyKey } = request
  const { status, nowMs: sealedAtMs } = answer
  return sealBytes(encodeMap({ nonce, payload }), replyKey, {
    ...context,
    kind: 'lsx-response+jwe',
    sealedAtMs,
    status,
  })
}

/** Rejects BAD_REQUEST for what is not this bank's answer to this request with this status. */
export async function openAnswer(bytes: Buffer, exchange: SealedExchange, status: number): Promise<Buffer> {
  const { context, replyKey, nonce } = exchange
  const opened = await openBytes(bytes, { kind: 'lsx-response+jwe', context, key: replyKey })
  const content = contentOf(opened.plaintext)
  if (!timingSafeEqual(content.nonce, nonce)) {
    throw new LsxError('BAD_REQUEST', 'a sealed answer comes from somebody who has not opened the request')
  }
  if (opened.header.status !== status) {
    throw new LsxError('BAD_REQUEST', 'a sealed answer was given with another status')
  }
  return content.payload
}

function contentOf(plaintext: Buffer): { nonce: Buffer; payload: Buffer; replyKey: unknown } {
  const { nonce, payload, replyKey } = decodedMap(plaintext)
  if (!Buffer.isBuffer(nonce) || nonce.length !== NONCE_BYTES || !Buffer.isBuffer(payload)) {
    throw new LsxError('BAD_REQUEST', 'a sealed payload holds something else than a message')
  }
  return { nonce, payload, replyKey }
}

function decodedMap(plaintext: Buffer): Record<string, unknown> {
  try {
    return decodeMap(plaintext)
  } catch (cause) {
    throw new LsxError('BAD_REQUEST', 'a sealed payload holds something else than a message', { cause })
  }
}
