import { hash } from 'node:crypto'
import type { ByteWriter } from './byte-writer.ts'

/** Which way a message goes: requests from LS to the xchange, responses back. */
export const MessageDirection = { request: 1, response: 2 } as const
export type MessageDirection = (typeof MessageDirection)[keyof typeof MessageDirection]

/** What all messages of one batch have in common. */
export interface MessageContext {
  readonly direction: MessageDirection
  /** Who signs. */
  readonly party: string
  readonly bankCode: string
  /** 16 bytes: the session in which the message is sent. */
  readonly sessionId: Buffer
}

/** One request or response, as far as its signature covers it: all of it. */
export interface MessageParts {
  /** Channel id of the record. */
  readonly id: number
  /** Budget of a request in ms; status of a response. */
  readonly detail: number
  /** Idempotency key. */
  readonly key: string
  readonly method: string
  /** Of a response: message hash of the signed request that it answers, 32 bytes as latin1; else empty. */
  readonly requestHash: string
  /** The entries of the record's meta map as encoded, without the map's header and without `sig`. */
  readonly metaEntries: Buffer
  readonly payload: Buffer
}

/** RFC 9162 section 2.1.1: what is hashed for a leaf begins with 0, for an inner node with 1. */
export const LEAF_PREFIX = 0x00
const LABEL = 'LS-MSG-1'

/** Writes what is the same in all messages of a batch. `timeMs`: when they were signed, Unix ms. */
export function writeMessageHead(target: ByteWriter, context: MessageContext, timeMs: number): void {
  target.u8(LEAF_PREFIX)
  target.latin1(LABEL)
  target.u8(context.direction)
  target.u64(timeMs)
  target.text16(context.party)
  target.text16(context.bankCode)
  target.bytes16(context.sessionId)
}

export function writeMessageBody(target: ByteWriter, parts: MessageParts): void {
  target.u32(parts.id)
  target.u32(parts.detail)
  target.text16(parts.key)
  target.text16(parts.method)
  target.u16(parts.requestHash.length)
  target.latin1(parts.requestHash)
  target.bytes32(parts.metaEntries)
  target.bytes32(parts.payload)
}

/** SHA-256 as 32 characters of latin1: as text it costs half of what it costs as a Buffer. */
export function sha256(bytes: Buffer): string {
  return hash('sha256', bytes, 'binary')
}
