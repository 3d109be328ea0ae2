import { isUtf8 } from 'node:buffer'
import { LsxError } from '../runtime/index.ts'
import { refuseDuplicateNames } from './duplicate-names.ts'
import type { Message } from './message.ts'
import { decodePayload, encodePayload } from './value-codec.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
/** Every integer with fewer digits is exact. */
const SAFE_DIGITS = 16

/** A line of the human form as a message; its `payload` is still JSON. Throws BAD_REQUEST. */
export function parseLine(line: Buffer): Message {
  if (!isUtf8(line)) throw new LsxError('BAD_REQUEST', 'the line is not UTF-8')
  const text = line.toString()
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch (error) {
    // What the engine says quotes the line, payload and all, and would take it into the log.
    const position = / at position (\d+)/.exec((error as Error).message)?.[0] ?? ''
    throw new LsxError('BAD_REQUEST', `the line is not JSON${position}`)
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    throw new LsxError('BAD_REQUEST', 'a line holds one JSON object')
  }
  refuseInexactNumbers(text)
  refuseDuplicateNames(text)
  return message as Message
}

/** JSON.parse rounds in silence, and the number may be an amount. A loop, because a line may have megabytes. */
function refuseInexactNumbers(json: string): void {
  let inString = false
  for (let index = 0; index < json.length; index++) {
    const unit = json.charCodeAt(index)
    if (unit === BACKSLASH) index++
    else if (unit === QUOTE) inString = !inString
    else if (!inString && isDigit(unit)) index = checkNumber(json, index)
  }
}

/** Checks the number whose first digit is at `start`, and returns the index of its last character. */
function checkNumber(json: string, start: number): number {
  let end = start + 1
  while (isDigit(json.charCodeAt(end))) end++
  const isInteger = !isFractionOrExponent(json.charCodeAt(end))
  while (isDigit(json.charCodeAt(end)) || isFractionOrExponent(json.charCodeAt(end))) end++
  if (isInteger && end - start < SAFE_DIGITS) return end - 1
  const number = Number(json.slice(start, end))
  if (isInteger ? !Number.isSafeInteger(number) : number === Number.POSITIVE_INFINITY) {
    throw new LsxError('BAD_REQUEST', `the number at position ${start} would not arrive exactly: make it a string`)
  }
  return end - 1
}

function isDigit(unit: number): boolean {
  return unit >= 0x30 && unit <= 0x39
}

/** One of . e E + - as they follow a digit. */
function isFractionOrExponent(unit: number): boolean {
  return unit === 0x2e || unit === 0x65 || unit === 0x45 || unit === 0x2b || unit === 0x2d
}

export function isBlankLine(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d)
}

/**
 * In place: the JSON value of `payload` as msgpack bytes; text that the message gives another `type` than msgpack, as its
 * own bytes. Throws BAD_REQUEST.
 */
export function payloadFromJson(message: Message): void {
  const { payload, type } = message
  if (payload === undefined) return
  const isText = typeof payload === 'string' && typeof type === 'string' && !isMsgpackType(type)
  message.payload = isText ? Buffer.from(payload) : encodePayload(payload)
}

function isMsgpackType(type: string): boolean {
  return type === 'msgpack' || type === 'application/msgpack'
}

/** A message as one line: payload bytes as JSON, other bytes as base64, integers past 2^53 as strings. */
export function formatLine(message: Message): string {
  const { payload, type, ilp } = message
  const spoken = { ...message }
  if (payload instanceof Uint8Array) {
    const isMsgpack = typeof type !== 'string' || isMsgpackType(type)
    spoken.payload = isMsgpack || !isUtf8(payload) ? payloadToJson(payload) : Buffer.from(payload).toString()
  }
  if (typeof ilp === 'object' && ilp !== null) spoken.ilp = ilpToJson(ilp)
  return `${JSON.stringify(spoken, jsonReplacer)}\n`
}

/** Proofs are base64url everywhere, as ILP's own tools have them. */
function ilpToJson(ilp: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(ilp).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value).toString('base64url') : value,
    ]),
  )
}

/** A payload as a value for JSON; one that is not plain msgpack as `{base64}`. Print it with `jsonReplacer`. */
export function payloadToJson(payload: Uint8Array): unknown {
  try {
    return decodePayload(payload)
  } catch {
    // Not msgpack (the request's meta.type said so), or not safe to decode: the bytes as they are.
    return { base64: toBase64(payload) }
  }
}

/** For JSON.stringify: bytes as base64, integers past 2^53 as strings. */
export function jsonReplacer(this: Message, name: string, value: unknown): unknown {
  // `value` has been through Buffer.toJSON already; the holder has the bytes.
  const raw = this[name]
  if (raw instanceof Uint8Array) return toBase64(raw)
  return typeof value === 'bigint' ? value.toString() : value
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}
