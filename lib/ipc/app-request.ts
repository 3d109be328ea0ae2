import { isKey, isMethod } from '../frames/index.ts'
import { LsxError } from '../runtime/index.ts'
import { type AppIlp, parseAppIlp } from './app-ilp.ts'
import { newIdempotencyKey } from './idempotency-key.ts'
import type { Message } from './message.ts'

export const DEFAULT_TIMEOUT_MS = 30_000
export const LONGEST_TIMEOUT_MS = 600_000

/** Names a message on its connection; the answer carries it back. */
export type MessageId = number | string

/** What an app asks LS to route: `{op: "request", id, to, method, payload, key?, timeoutMs?, durable?, late?, token?}`. */
export interface AppRequest {
  readonly id: MessageId
  /** Bank code. */
  readonly to: string
  readonly method: string
  /** msgpack, opaque to LS. */
  readonly payload: Buffer
  /** Idempotency key: the app's, or a new UUIDv7. */
  readonly key: string
  readonly timeoutMs: number
  readonly durable: boolean | undefined
  /** The app wants to hear of an outcome that comes after `in-doubt`. */
  readonly late: boolean
  /** A JWT of the app's own, which the bank's node verifies. */
  readonly token: string | undefined
  /** What the payload is, where it is not msgpack; the bank's node gets it as `meta.type`. */
  readonly type: string | undefined
  readonly ilp: AppIlp | undefined
}

const MAX_TOKEN_CHARACTERS = 4_096
const TOKEN = /^(?=.{1,4096}$)[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/
const BANK_CODE = /^[A-Za-z0-9._-]{1,32}$/
const PAYLOAD_TYPE = /^[A-Za-z0-9!#$&^_.+-]{1,63}(?:\/[A-Za-z0-9!#$&^_.+-]{1,63})?$/
const FIELDS: ReadonlySet<string> = new Set([
  'op',
  'id',
  'to',
  'method',
  'payload',
  'key',
  'timeoutMs',
  'durable',
  'late',
  'token',
  'type',
  'ilp',
] satisfies (keyof AppRequest | 'op')[])

/** Checks a message with `op: "request"`. Throws BAD_REQUEST with the path of the first field that is wrong. */
export function parseRequest(message: Message): AppRequest {
  for (const field of Object.keys(message)) if (!FIELDS.has(field)) throw badField(field, 'is not a field of a request')
  const { id, to, method, payload, key, timeoutMs, durable, late, token, type, ilp } = message
  if (!isMessageId(id)) throw badField('id', 'must be a whole number from 0, or a string of 1 to 64 characters')
  if (typeof to !== 'string' || !BANK_CODE.test(to)) {
    throw badField('to', 'must be a bank code: 1 to 32 letters, digits, dots, underscores or hyphens')
  }
  if (typeof method !== 'string' || !isMethod(method)) {
    throw badField('method', 'must be 1 to 64 letters, digits or any of . _ : / -')
  }
  if (!Buffer.isBuffer(payload)) throw badField('payload', 'is missing')
  if (!isAbsent(key) && !(typeof key === 'string' && isKey(key)))
    throw badField('key', 'must be a string of 1 to 64 bytes in UTF-8')
  if (!isAbsent(timeoutMs) && !isTimeout(timeoutMs)) {
    throw badField('timeoutMs', `must be a whole number from 1 to ${LONGEST_TIMEOUT_MS}`)
  }
  if (!isAbsent(durable) && typeof durable !== 'boolean') throw badField('durable', 'must be true or false')
  if (!isAbsent(late) && typeof late !== 'boolean') throw badField('late', 'must be true or false')
  if (!isAbsent(token) && !(typeof token === 'string' && TOKEN.test(token)))
    throw badField('token', `must be a JWT in compact form of at most ${MAX_TOKEN_CHARACTERS} characters`)
  if (!isAbsent(type) && !(typeof type === 'string' && PAYLOAD_TYPE.test(type))) {
    throw badField('type', 'must be a media type of 1 to 127 characters')
  }
  return {
    id,
    to,
    method,
    payload,
    key: key ?? newIdempotencyKey(),
    timeoutMs: timeoutMs ?? DEFAULT_TIMEOUT_MS,
    durable: durable ?? undefined,
    late: late ?? false,
    token: token ?? undefined,
    type: type ?? undefined,
    ilp: isAbsent(ilp) ? undefined : parseAppIlp(ilp),
  }
}

export function isMessageId(value: unknown): value is MessageId {
  return typeof value === 'number'
    ? Number.isSafeInteger(value) && value >= 0
    : typeof value === 'string' && value.length > 0 && value.length <= 64
}

function isTimeout(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= LONGEST_TIMEOUT_MS
}

/** A null is as good as no field: many JSON writers cannot leave one out. */
function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

function badField(path: string, problem: string): LsxError {
  return new LsxError('BAD_REQUEST', `${path}: ${problem}`, { facts: { path } })
}
