import { hash } from 'node:crypto'
import { decodeMeta, type RequestRecord } from '../frames/index.ts'
import {
  fulfilmentOfPayment,
  fulfilmentOfTransaction,
  type IlpPacket,
  type IlpPrepare,
  type IlpSecret,
  isFulfilled,
  loadIlpSecret,
  parsePrepare,
  transactionOf,
} from '../message/ilp/index.ts'
import { type Clock, LsxError } from '../runtime/index.ts'
import type { IlpTransfer } from './handler.ts'

/** A packet that may be fulfilled, and with what. */
export interface AcceptedIlp {
  readonly fulfilment: Buffer
  readonly transfer: IlpTransfer
}

export interface IlpRules {
  /** Methods that are refused without a packet. */
  readonly methods: ReadonlySet<string>
  /** The one that new packets are made with, and older ones while their packets are about. May be empty. */
  readonly secrets: readonly IlpSecret[]
  readonly clockSkewMs: number
}

/** The bank's side of ILP: checks what it is asked to fulfil before anything is run. */
export class IlpReceiver {
  readonly #bankCode: string
  readonly #clock: Clock
  #rules: IlpRules

  constructor(rules: IlpRules, options: { bankCode: string; clock: Clock }) {
    this.#rules = rules
    this.#bankCode = options.bankCode
    this.#clock = options.clock
  }

  replaceRules(rules: IlpRules): void {
    this.#rules = rules
  }

  /**
   * The packet of a request, undefined where it needs none and brings none.
   *
   * @param ilp of its meta
   * @throws LsxError BAD_REQUEST for a packet that is missing or malformed, FULFILMENT_INVALID where the condition is not
   * one of this bank's, or the packet names another request
   */
  accept(request: RequestRecord, ilp: unknown): AcceptedIlp | undefined {
    if (ilp === undefined) {
      if (!this.#rules.methods.has(request.method)) return undefined
      throw new LsxError('BAD_REQUEST', 'the method needs an ILP packet and its condition')
    }
    const { secrets } = this.#rules
    // Running it without being able to prove it would leave the app in doubt of what was done.
    if (secrets.length === 0) throw new LsxError('BAD_REQUEST', 'this xchange has no ILP secret')
    const prepare = parsePrepare(ilp)
    const { packet, packetBytes, condition } = prepare
    const transaction = transactionIn(packet)
    if (transaction !== undefined) this.#checkTransaction(request, transaction)
    for (const secret of secrets) {
      const fulfilment =
        packet.version === 4 && transaction !== undefined
          ? fulfilmentOfTransaction(transaction, secret)
          : fulfilmentOfPayment(packetBytes, secret)
      if (isFulfilled(condition, fulfilment)) return { fulfilment, transfer: transferOf(prepare) }
    }
    throw new LsxError('FULFILMENT_INVALID', 'the condition is not one that this bank can meet')
  }

  /** ms until the packet may not be fulfilled any more, with the allowance for clocks; below 0 when it is over. */
  leftMs({ transfer }: AcceptedIlp): number {
    return transfer.expiresAtMs + this.#rules.clockSkewMs - this.#clock.nowMs()
  }

  /** `ilp` of the response's meta. */
  fulfil({ fulfilment }: AcceptedIlp, doneAtMs = this.#clock.nowMs()): Record<string, unknown> {
    return { fulfilment, fulfilledAt: doneAtMs }
  }

  /** A packet that LS made names its request: with another it would prove what was not asked for. */
  #checkTransaction({ key, method, payload }: RequestRecord, transaction: Buffer): void {
    if (!transaction.includes('"payloadSha256"')) return
    const named = parseObject(transaction)
    if (named === undefined || typeof named.payloadSha256 !== 'string') return
    const isOurs =
      named.payloadSha256 === hash('sha256', payload, 'base64url') &&
      named.idempotencyKey === key &&
      named.method === method &&
      named.bankCode === this.#bankCode
    if (!isOurs) throw new LsxError('FULFILMENT_INVALID', 'the ILP packet was made for another request')
  }
}

/**
 * Whether a fulfilment that belongs to the request's key is of another packet than the one that the request brings now.
 * It was asked for twice, with different terms: the answer to the first proves nothing to the second.
 *
 * @param fulfilment of the answer, or undefined where it has none
 */
export function isOfAnotherPacket({ meta }: RequestRecord, fulfilment: unknown): boolean {
  if (meta === undefined || !Buffer.isBuffer(fulfilment)) return false
  const condition = bytesIn(meta, 'condition')
  return condition !== undefined && !isFulfilled(condition, fulfilment)
}

/** Of a stored answer. */
export function fulfilmentIn(meta: Buffer | undefined): Buffer | undefined {
  return meta === undefined ? undefined : bytesIn(meta, 'fulfilment')
}

function bytesIn(meta: Buffer, name: string): Buffer | undefined {
  try {
    const { ilp } = decodeMeta(meta)
    const value: unknown = (ilp as Record<string, unknown> | undefined)?.[name]
    return Buffer.isBuffer(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Reads the secrets. Throws REFUSED, party self. */
export function readIlpRules(config: {
  methods: readonly string[]
  secretFiles: readonly string[]
  clockSkewMs: number
}): IlpRules {
  const { methods, secretFiles, clockSkewMs } = config
  return { methods: new Set(methods), clockSkewMs, secrets: secretFiles.map(loadIlpSecret) }
}

function transferOf({ packet, packetBytes, condition, expiresAtMs }: IlpPrepare): IlpTransfer {
  const { version, amount, destination } = packet
  // A handler may keep it; a view would keep the whole frame.
  const copy = Buffer.from(packetBytes)
  return { version, amount, destination, expiresAtMs, packet: copy, condition: Buffer.from(condition) }
}

/** The fulfilment of a version 1 packet does not need one, so its data may be anything. */
function transactionIn(packet: IlpPacket): Buffer | undefined {
  try {
    return transactionOf(packet)
  } catch (error) {
    if (packet.version === 1) return undefined
    throw error
  }
}

function parseObject(json: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json.toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
