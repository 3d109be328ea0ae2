import { conditionOf, fulfilmentOf } from './fulfilment.ts'
import { type IlpVersion, type NewPacket, readPacket, writePacket } from './packet.ts'
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

const NO_CONDITION = Buffer.alloc(32)

/** Throws BAD_REQUEST or TOO_LARGE: see `writePacket`. */
export function makePair(terms: PairTerms, secret: IlpSecret): IlpPair {
  const { transaction, ...fields } = terms
  const data = Buffer.from(Buffer.from(transaction).toString('base64url'), 'latin1')
  const draft: NewPacket = { ...fields, data, condition: NO_CONDITION }
  // A version 1 fulfilment covers the packet; a version 4 packet holds the condition, so its fulfilment cannot.
  const packet = fields.version === 1 ? writePacket(draft) : undefined
  const parts = packet === undefined ? { ...draft, version: 4 as const } : readPacket(packet)
  const fulfilment = fulfilmentOf(parts, packet ?? NO_BYTES, secret)
  const condition = conditionOf(fulfilment)
  return { packet: packet ?? writePacket({ ...draft, condition }), condition, fulfilment }
}

const NO_BYTES = Buffer.alloc(0)
