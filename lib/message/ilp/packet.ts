import { serializeIlpPrepare } from 'ilp-packet'
import { serializeIlpPayment } from 'ilp-packet-v1'
import { LsxError } from '../../runtime/index.ts'
import { LATEST_EXPIRY_MS, MAX_ADDRESS_CHARACTERS, MAX_AMOUNT, MAX_PACKET_BYTES, PROOF_BYTES } from './limits.ts'
import { OerReader } from './oer-reader.ts'

/** 1: ILP Payment of the Interledger protocol's first version. 4: ILP Prepare of version 4, RFC 0027. */
export type IlpVersion = 1 | 4

/** What a packet says. It says nothing about who made it. */
export interface IlpPacket {
  readonly version: IlpVersion
  /** In the smallest unit of the currency, which the packet does not name; 0 to 2^64 - 1. */
  readonly amount: bigint
  /** ILP address of the receiver. */
  readonly destination: string
  /** base64url text of the transaction, by the custom of Mojaloop's components. */
  readonly data: Buffer
  /** Unix ms. Version 1 has none. */
  readonly expiresAtMs: number | undefined
  /** 32 bytes. Version 1 has none. */
  readonly condition: Buffer | undefined
}

const TYPE_PAYMENT = 1
const TYPE_PREPARE = 12
const TIME_DIGITS = 17
const ADDRESS = /^(?:g|private|example|peer|self|test[1-3]?|local)(?:\.[a-zA-Z0-9_~-]+)+$/

/**
 * Reads the bytes of an ILP Payment (version 1) or ILP Prepare (version 4). Stricter than `ilp-packet`: lengths in their
 * shortest form, real dates, nothing behind the end; so a packet has exactly one form, and what is not one costs little.
 * Condition and data are views of `bytes`.
 *
 * @throws LsxError BAD_REQUEST
 */
export function readPacket(bytes: Buffer): IlpPacket {
  if (bytes.length > MAX_PACKET_BYTES) throw badPacket(`has more than ${MAX_PACKET_BYTES} bytes`)
  const envelope = new OerReader(bytes)
  const type = envelope.uint8()
  if (type !== TYPE_PAYMENT && type !== TYPE_PREPARE) throw badPacket('is neither an ILP Payment nor an ILP Prepare')
  const content = new OerReader(envelope.octets())
  envelope.end()
  return type === TYPE_PAYMENT ? readPayment(content) : readPrepare(content)
}

/** amount u64, account, data, and one byte 0: the length of extensions that never came to be. */
function readPayment(content: OerReader): IlpPacket {
  const amount = content.uint64()
  const destination = readAddress(content)
  const data = content.octets()
  if (content.uint8() !== 0) throw badPacket('has extensions, which nobody has defined')
  content.end()
  return { version: 1, amount, destination, data, expiresAtMs: undefined, condition: undefined }
}

/** amount u64, expiry as 17 digits, condition of 32 bytes, destination, data. */
function readPrepare(content: OerReader): IlpPacket {
  const amount = content.uint64()
  const expiresAtMs = readTime(content.bytes(TIME_DIGITS))
  const condition = content.bytes(PROOF_BYTES)
  const destination = readAddress(content)
  const data = content.octets()
  content.end()
  return { version: 4, amount, destination, data, expiresAtMs, condition }
}

function readAddress(content: OerReader): string {
  const address = content.octets().toString('latin1')
  if (!isIlpAddress(address)) throw badPacket('names a destination that is no ILP address')
  return address
}

export function isIlpAddress(text: string): boolean {
  return text.length <= MAX_ADDRESS_CHARACTERS && ADDRESS.test(text)
}

/** YYYYMMDDhhmmssSSS, UTC. Read by hand: a Date from text and back would take longer than all the rest of a packet. */
function readTime(digits: Buffer): number {
  const year = numberAt(digits, 0, 4)
  const month = numberAt(digits, 4, 6)
  const day = numberAt(digits, 6, 8)
  const hours = numberAt(digits, 8, 10)
  const minutes = numberAt(digits, 10, 12)
  const seconds = numberAt(digits, 12, 14)
  const ms = numberAt(digits, 14, 17)
  // Date.UTC takes the years 0 to 99 for those of the last century; nothing expires in 99 either.
  const isTime =
    year >= 100 &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    day <= daysIn(year, month) &&
    hours < 24 &&
    minutes < 60 &&
    seconds < 60
  if (!isTime) throw badPacket('has an expiry that is no time')
  return Date.UTC(year, month - 1, day, hours, minutes, seconds, ms)
}

function numberAt(digits: Buffer, start: number, end: number): number {
  let number = 0
  for (let index = start; index < end; index++) {
    const digit = (digits[index] as number) - 0x30
    if (!(digit >= 0 && digit <= 9)) throw badPacket('has an expiry that is no time')
    number = number * 10 + digit
  }
  return number
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

/** A packet to make. Version 4 needs condition and expiry. */
export interface NewPacket {
  readonly version: IlpVersion
  readonly amount: bigint
  readonly destination: string
  readonly data: Buffer
  readonly expiresAtMs: number
  readonly condition: Buffer
}

/**
 * The bytes of a packet; version 1 leaves expiry and condition out.
 *
 * @throws LsxError BAD_REQUEST for an amount, address or time that no packet can carry, TOO_LARGE beyond the bound
 */
export function writePacket(packet: NewPacket): Buffer {
  const { version, amount, destination, data, expiresAtMs, condition } = packet
  if (amount < 0n || amount > MAX_AMOUNT) throw new LsxError('BAD_REQUEST', 'an ILP amount is 0 to 2^64 - 1')
  if (!isIlpAddress(destination)) {
    throw new LsxError('BAD_REQUEST', 'an ILP destination is an address such as g.bank.account')
  }
  if (!(expiresAtMs >= 0 && expiresAtMs <= LATEST_EXPIRY_MS)) {
    throw new LsxError('BAD_REQUEST', 'an ILP expiry is a time from 1970 to 9999')
  }
  const bytes =
    version === 1
      ? serializeIlpPayment({ amount: amount.toString(), account: destination, data })
      : serializeIlpPrepare({
          amount: amount.toString(),
          destination,
          data,
          expiresAt: new Date(expiresAtMs),
          executionCondition: condition,
        })
  if (bytes.length > MAX_PACKET_BYTES) {
    throw new LsxError('TOO_LARGE', `an ILP packet may have ${MAX_PACKET_BYTES} bytes`)
  }
  return bytes
}

function badPacket(problem: string): LsxError {
  return new LsxError('BAD_REQUEST', `the ILP packet ${problem}`)
}
