import { hash } from 'node:crypto'
import { LsxError } from '../../runtime/index.ts'
import { PROOF_BYTES } from './limits.ts'
import type { IlpPacket } from './packet.ts'
import type { IlpSecret } from './secret.ts'

/**
 * The fulfilment of a packet, as Mojaloop's components make it, 32 bytes:
 *
 *   version 1   HMAC-SHA256(base64(secret), base64url(packet))
 *   version 4   HMAC-SHA256(base64(secret), base64(transaction)), where the data of the packet is base64url(transaction)
 *
 * All four are ASCII texts, base64url without padding. A version 4 packet holds its own condition, so its fulfilment
 * comes from the transaction alone.
 *
 * @throws LsxError BAD_REQUEST where the data of a version 4 packet is not base64url
 */
export function fulfilmentOf(packet: IlpPacket, packetBytes: Buffer, secret: IlpSecret): Buffer {
  return packet.version === 1
    ? fulfilmentOfPayment(packetBytes, secret)
    : fulfilmentOfTransaction(transactionOf(packet), secret)
}

/** Of a version 1 packet. */
export function fulfilmentOfPayment(packet: Buffer, secret: IlpSecret): Buffer {
  return secret.hmac(packet.toString('base64url'))
}

/** Of any version 4 packet with this transaction. */
export function fulfilmentOfTransaction(transaction: Buffer, secret: IlpSecret): Buffer {
  return secret.hmac(transaction.toString('base64'))
}

/** SHA-256 of the fulfilment. */
export function conditionOf(fulfilment: Buffer): Buffer {
  return hash('sha256', fulfilment, 'buffer')
}

/** Does this fulfilment meet the condition? Neither is secret once both are known. */
export function isFulfilled(condition: Buffer, fulfilment: Buffer): boolean {
  return fulfilment.length === PROOF_BYTES && conditionOf(fulfilment).equals(condition)
}

/** The transaction that a packet carries: what its base64url data decodes to. Throws BAD_REQUEST. */
export function transactionOf(packet: IlpPacket): Buffer {
  const text = packet.data.toString('latin1')
  const transaction = Buffer.from(text, 'base64url')
  // Decoding skips what it does not know; only text that comes back the same is what its maker meant.
  if (transaction.toString('base64url') === text) return transaction
  throw new LsxError('BAD_REQUEST', 'the data of the ILP packet is not base64url text')
}
