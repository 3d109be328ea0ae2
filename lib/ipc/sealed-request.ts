import { createPrivateKey } from 'node:crypto'
import {
  openAnswer,
  parseSealingJwk,
  SEALED_TYPE,
  type SealedExchange,
  type SealingKey,
  type SealingPublicKey,
  sealRequest as sealExchange,
  sealingKeyOf,
} from '../message/jwe/index.ts'
import { type Clock, LsxError, systemClock } from '../runtime/index.ts'
import { newIdempotencyKey } from './idempotency-key.ts'
import type { Reply } from './open-requests.ts'
import { decodePayload, encodePayload } from './value-codec.ts'

export interface SealOptions {
  /** Bank code. */
  readonly to: string
  readonly method: string
  readonly payload?: unknown
  /** In place of `payload`: bytes that are msgpack already. */
  readonly payloadBytes?: Buffer
  /** Idempotency key, 1 to 64 bytes; default: a new UUIDv7. */
  readonly key?: string
  /** The bank's public key: as JWK, from the bank itself, never by way of LS. */
  readonly bankKey: Readonly<Record<string, unknown>> | SealingPublicKey
  /** What opens the answer. Default: a new key for this request only. */
  readonly replyKey?: SealingKey
  readonly clock?: Clock
}

/** What `SealedRequest.save` gives. It holds the key that opens the answer: keep it as a secret. */
export interface SavedSealedRequest {
  readonly to: string
  readonly method: string
  readonly key: string
  /** base64url. */
  readonly bytes: string
  readonly nonce: string
  /** PKCS#8 PEM. */
  readonly replyKey: string
}

/**
 * A request that only the bank can read, and whose answer only this object can. Sending it again sends the same bytes,
 * as a repetition must: sealed anew the same payload would be another request to LS and to the bank.
 */
export class SealedRequest {
  readonly #exchange: SealedExchange

  /** Made by `sealRequest` and `restoreSealedRequest`. */
  constructor(exchange: SealedExchange) {
    this.#exchange = exchange
  }

  get to(): string {
    return this.#exchange.context.bankCode
  }

  get method(): string {
    return this.#exchange.context.method
  }

  get key(): string {
    return this.#exchange.context.idempotencyKey
  }

  /** What is sent: the JWE. */
  get bytes(): Buffer {
    return this.#exchange.bytes
  }

  /** For a repetition by another process, after a crash for one. */
  save(): SavedSealedRequest {
    const { bytes, nonce, replyKey } = this.#exchange
    const { to, method, key } = this
    return {
      to,
      method,
      key,
      bytes: bytes.toString('latin1'),
      nonce: nonce.toString('base64url'),
      replyKey: replyKey.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    }
  }

  /**
   * The reply with its answer opened. One that claims to be an answer and is not sealed by the bank, for this request and
   * with this status, is in doubt: LS, or somebody on the way, may have made it.
   */
  async open(reply: Reply): Promise<Reply> {
    if (reply.outcome !== 'answered') return reply
    try {
      if (reply.type !== SEALED_TYPE || reply.payloadBytes === undefined) {
        throw new LsxError('BAD_REQUEST', 'the answer to a sealed request is not sealed')
      }
      const status = reply.code === undefined ? 0 : 1
      const payloadBytes = await openAnswer(reply.payloadBytes, this.#exchange, status)
      return { ...reply, type: undefined, payloadBytes, payload: payloadValue(payloadBytes) }
    } catch (error) {
      return {
        ...reply,
        outcome: 'in-doubt',
        code: 'IN_DOUBT',
        payload: undefined,
        payloadBytes: undefined,
        message: `${(error as Error).message}; what was answered is not known`,
      }
    }
  }

  /** Shows neither bytes nor keys. */
  toJSON(): Record<string, string> {
    const { to, method, key } = this
    return { to, method, key }
  }
}

/** Seals a request to a bank. Rejects BAD_REQUEST for a payload that is not plain, REFUSED for a key that cannot be used. */
export async function sealRequest(options: SealOptions): Promise<SealedRequest> {
  const { to: bankCode, method, key: idempotencyKey = newIdempotencyKey(), bankKey, replyKey } = options
  const nowMs = (options.clock ?? systemClock).nowMs()
  const payload = options.payloadBytes ?? encodePayload(options.payload)
  const context = { bankCode, method, idempotencyKey }
  return new SealedRequest(await sealExchange(payload, { context, bankKey: publicKeyOf(bankKey), replyKey, nowMs }))
}

/** Throws BAD_REQUEST for what `save` did not give. */
export function restoreSealedRequest(saved: SavedSealedRequest): SealedRequest {
  const { to: bankCode, method, key: idempotencyKey, bytes, nonce, replyKey } = saved
  const texts = [bankCode, method, idempotencyKey, bytes, nonce, replyKey]
  if (texts.some((text) => typeof text !== 'string')) {
    throw new LsxError('BAD_REQUEST', 'this is no sealed request that was saved')
  }
  try {
    return new SealedRequest({
      context: { bankCode, method, idempotencyKey },
      bytes: Buffer.from(bytes, 'latin1'),
      nonce: Buffer.from(nonce, 'base64url'),
      replyKey: sealingKeyOf(createPrivateKey(replyKey)),
    })
  } catch (cause) {
    throw new LsxError('BAD_REQUEST', 'this is no sealed request that was saved', { cause })
  }
}

function publicKeyOf(key: SealOptions['bankKey']): SealingPublicKey {
  return 'publicKey' in key ? (key as SealingPublicKey) : parseSealingJwk(key)
}

function payloadValue(bytes: Buffer): unknown {
  try {
    return decodePayload(bytes)
  } catch {
    return undefined
  }
}
