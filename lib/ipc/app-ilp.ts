import { type IlpPrepare, isIlpAddress, PROOF_BYTES, parsePrepare } from '../message/ilp/index.ts'
import { LsxError } from '../runtime/index.ts'

/** `ilp` of an app's request: a packet that the app brings, or the terms of one that LS is to make. */
export type AppIlp =
  | { readonly kind: 'brought'; readonly prepare: IlpPrepare }
  | {
      readonly kind: 'ordered'
      /** In the smallest unit; undefined where the app leaves it to the payload. */
      readonly amount: bigint | undefined
      readonly currency: string | undefined
      readonly destination: string | undefined
      readonly expiresInMs: number | undefined
    }

const ORDER_FIELDS: ReadonlySet<string> = new Set(['amount', 'currency', 'destination', 'expiresInMs'])
const MAX_AMOUNT = 2n ** 64n - 1n
const LONGEST_EXPIRY_MS = 86_400_000
/** base64url of the largest packet, generously; decoding is not worth beginning for more. */
const MAX_TEXT_CHARACTERS = 20_000

/**
 * Checks the `ilp` of an app's message: `{packet, condition, expiresAt?}`, bytes or base64url text, or `{amount?,
 * currency?, destination?, expiresInMs?}`. Throws BAD_REQUEST.
 */
export function parseAppIlp(value: unknown): AppIlp {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)) {
    throw bad('ilp', 'must be a map')
  }
  const fields = value as Record<string, unknown>
  if (fields.packet !== undefined || fields.condition !== undefined) {
    const { packet, condition } = fields
    const prepare = parsePrepare({ ...fields, packet: bytesOf(packet), condition: bytesOf(condition) })
    return { kind: 'brought', prepare }
  }
  for (const name of Object.keys(fields))
    if (!ORDER_FIELDS.has(name)) throw bad(`ilp.${name.slice(0, 32)}`, 'is not known')
  const { amount, currency, destination, expiresInMs } = fields
  if (!isAbsent(currency) && !(typeof currency === 'string' && /^[A-Z]{3}$/.test(currency))) {
    throw bad('ilp.currency', 'must be three capital letters')
  }
  if (!isAbsent(destination) && !(typeof destination === 'string' && isIlpAddress(destination))) {
    throw bad('ilp.destination', 'must be an ILP address such as g.bank.account')
  }
  if (!isAbsent(expiresInMs) && !isExpiry(expiresInMs)) {
    throw bad('ilp.expiresInMs', `must be a whole number from 1 to ${LONGEST_EXPIRY_MS}`)
  }
  return {
    kind: 'ordered',
    amount: amountOf(amount),
    currency: currency ?? undefined,
    destination: destination ?? undefined,
    expiresInMs: expiresInMs ?? undefined,
  }
}

/** Text stands for bytes: the human form has no other way. */
function bytesOf(value: unknown): unknown {
  if (typeof value !== 'string') return value
  const bytes = value.length <= MAX_TEXT_CHARACTERS ? Buffer.from(value, 'base64url') : undefined
  if (bytes?.toString('base64url') !== value) {
    throw bad('ilp', `packet and condition (${PROOF_BYTES} bytes) must be bytes, or base64url text without padding`)
  }
  return bytes
}

function amountOf(value: unknown): bigint | undefined {
  if (isAbsent(value)) return undefined
  const isExact =
    typeof value === 'bigint' || Number.isSafeInteger(value) || (typeof value === 'string' && /^\d{1,20}$/.test(value))
  const amount = isExact ? BigInt(value as bigint | number | string) : -1n
  if (amount < 0n || amount > MAX_AMOUNT) {
    throw bad('ilp.amount', 'must be a whole number from 0 to 2^64 - 1, in the smallest unit of the currency')
  }
  return amount
}

function isExpiry(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= LONGEST_EXPIRY_MS
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

function bad(path: string, problem: string): LsxError {
  return new LsxError('BAD_REQUEST', `${path}: ${problem}`, { facts: { path } })
}
