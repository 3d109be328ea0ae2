import { conditionOf, fulfilmentOfPayment, fulfilmentOfTransaction } from './fulfilment.ts'
import { PROOF_BYTES } from './limits.ts'
import { type IlpVersion, writePacket } from './packet.ts'
import type { IlpSecret } from './secret.ts'

/** What the receiver of a payment makes for its payer: packet and condition, and what it keeps until it is paid. */
export interface IlpPair {
  readonly packet: Buffer
  /** 32 bytes, SHA-256 of the fulfilment. */
  readonly condition: Buffer
  /** 32 bytes. */
  readonly fulfilment: Buffer
}

export interface PairTerms {
  readonly version: IlpVersion
  readonly amount: bigint
  readonly destination: string
  /** Unix ms; version 1 packets do not carry it. */
  readonly expiresAtMs: number
  /** What is paid for, as Mojaloop's components have it: JSON with sorted keys and no white space. */
  readonly transaction: string
}

const NO_CONDITION = Buffer.alloc(PROOF_BYTES)

/** Throws BAD_REQUEST or TOO_LARGE: see `writePacket`. */
export function makePair(terms: PairTerms, secret: IlpSecret): IlpPair {
  const { version, amount, destination, expiresAtMs } = terms
  const transaction = Buffer.from(terms.transaction)
  const data = Buffer.from(transaction.toString('base64url'), 'latin1')
  if (version === 1) {
    const packet = writePacket({ version, amount, destination, expiresAtMs, data, condition: NO_CONDITION })
    const fulfilment = fulfilmentOfPayment(packet, secret)
    return { packet, condition: conditionOf(fulfilment), fulfilment }
  }
  // The packet holds the condition, so the fulfilment cannot be made from it: only from what it carries.
  const fulfilment = fulfilmentOfTransaction(transaction, secret)
  const condition = conditionOf(fulfilment)
  const packet = writePacket({ version, amount, destination, expiresAtMs, data, condition })
  return { packet, condition, fulfilment }
}
