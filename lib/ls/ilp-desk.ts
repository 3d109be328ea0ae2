import { hash } from 'node:crypto'
import type { RefusalLog } from '../channel/index.ts'
import { type ResponseRecord, ResponseStatus } from '../frames/index.ts'
import type { AppIlp } from '../ipc/index.ts'
import {
  ILP_FAILURES,
  IlpFailures,
  type IlpFailureType,
  type IlpPrepareFields,
  type IlpSecret,
  judgeFulfilment,
  loadIlpSecret,
  makePair,
  parseFulfil,
} from '../message/ilp/index.ts'
import { type Clock, LsxError } from '../runtime/index.ts'
import type { LsConfig } from './config.ts'
import type { EvidenceSink } from './quarantine-desk.ts'
import type { RequestIlp, RoutedRequest, Settlement } from './routed-request.ts'

/** What a packet is made for. */
interface NewTransfer {
  readonly bankCode: string
  readonly method: string
  readonly key: string
  readonly payload: Buffer
  readonly ilp: AppIlp | undefined
}

/** The part of a request that belongs to ILP. */
export interface PreparedIlp {
  /** `ilp` of the request's meta. */
  readonly fields: IlpPrepareFields
  readonly terms: RequestIlp
}

type IlpConfig = Pick<LsConfig, 'ilp' | 'banks'>

/** LS's side of ILP: sees to it that a transfer has a packet, and judges the answers by their fulfilments. */
export class IlpDesk {
  readonly failures = new IlpFailures()
  readonly #clock: Clock
  readonly #refusals: Pick<RefusalLog, 'record'>
  readonly #evidence: EvidenceSink | undefined
  #config: LsConfig['ilp']
  #methods: ReadonlySet<string>
  #secrets: ReadonlyMap<string, IlpSecret>

  /** Reads the banks' secrets. Throws REFUSED, party self. */
  constructor(
    config: IlpConfig,
    options: { clock: Clock; refusals: Pick<RefusalLog, 'record'>; evidence?: EvidenceSink },
  ) {
    this.#clock = options.clock
    this.#refusals = options.refusals
    this.#evidence = options.evidence
    this.#config = config.ilp
    this.#methods = new Set(config.ilp.methods)
    this.#secrets = loadIlpSecrets(config)
  }

  /** Takes the configuration and the secrets as they are now; throws before anything has changed. */
  reload(config: IlpConfig): void {
    this.#secrets = loadIlpSecrets(config)
    this.#config = config.ilp
    this.#methods = new Set(config.ilp.methods)
  }

  /**
   * The packet of a request: the app's own, or one that LS makes where it has the bank's secret. Undefined for a request
   * that needs none. Throws BAD_REQUEST where one is missing.
   */
  prepare(transfer: NewTransfer): PreparedIlp | undefined {
    const { ilp, method, bankCode } = transfer
    if (ilp?.kind === 'brought') {
      const { packetBytes, packet, condition, expiresAtMs } = ilp.prepare
      const expiresAt = packet.version === 1 ? expiresAtMs : undefined
      return {
        fields: { packet: packetBytes, condition, ...(expiresAt === undefined ? {} : { expiresAt }) },
        terms: { condition, expiresAtMs, madePacket: undefined },
      }
    }
    if (ilp === undefined && !this.#methods.has(method)) return undefined
    const secret = this.#secrets.get(bankCode)
    if (secret !== undefined) return this.#makePacket(transfer, ilp, secret)
    throw new LsxError('BAD_REQUEST', `ilp: ${method} needs a packet and its condition, from the bank's quote`)
  }

  /** The settlement of an answer with the status ok, by its proof. */
  judge(request: RoutedRequest, ilp: RequestIlp, meta: Record<string, unknown>): Settlement | { fulfilment: Buffer } {
    const { clockSkewMs } = this.#config
    const verdict = judgeFulfilment(ilp, meta.ilp, { receivedAtMs: this.#clock.nowMs(), clockSkewMs })
    return 'fulfilment' in verdict ? verdict : this.#unproven(request, verdict.failure)
  }

  /** An answer that is not ok must not bring a proof that all is well. Undefined where it does not. */
  judgeNotOk(request: RoutedRequest, response: ResponseRecord, meta: Record<string, unknown>): Settlement | undefined {
    if (parseFulfil(meta.ilp) !== undefined) return this.#unproven(request, 'unexpected')
    if (response.status === ResponseStatus.refused && meta.code === 'FULFILMENT_INVALID') this.#note(request, 'refused')
    return undefined
  }

  /** The bank says one thing and its proof another: the transfer may have been made, or not. Nobody may rely on either. */
  #unproven(request: RoutedRequest, type: IlpFailureType): Settlement {
    this.#note(request, type)
    const { bankCode, method, key: idempotencyKey } = request
    // Only of a packet that LS made itself: an app could bring a condition that no bank can fulfil.
    if (type === 'mismatch' && request.ilp?.madePacket !== undefined)
      this.#evidence?.note(bankCode, 'bad-fulfilment', { method, idempotencyKey, ilpFailure: type })
    return { outcome: 'in-doubt', code: 'FULFILMENT_INVALID', message: ILP_FAILURES[type] }
  }

  #note(request: RoutedRequest, type: IlpFailureType): void {
    const { bankCode, method, key: idempotencyKey } = request
    this.failures.record({ atMs: this.#clock.nowMs(), bankCode, method, idempotencyKey, type })
    this.#refusals.record(
      new LsxError('FULFILMENT_INVALID', ILP_FAILURES[type], { facts: { ilpFailure: type, method, idempotencyKey } }),
      { bankCode },
    )
  }

  /**
   * The transaction names the request and its payload by hash, for LS does not read payloads. It says nothing of time: the
   * same request always gets the same condition, so that a stored answer to it fits whenever it is asked again.
   */
  #makePacket(
    { bankCode, method, key, payload }: NewTransfer,
    order: Extract<AppIlp, { kind: 'ordered' }> | undefined,
    secret: IlpSecret,
  ): PreparedIlp {
    const { version, expiryMs } = this.#config
    const { amount, currency, destination = `g.${bankCode.replaceAll('.', '_')}`, expiresInMs = expiryMs } = order ?? {}
    const expiresAtMs = this.#clock.nowMs() + expiresInMs
    const pair = makePair(
      {
        version,
        amount: amount ?? 0n,
        destination,
        expiresAtMs,
        transaction: JSON.stringify({
          amount: amount?.toString(),
          bankCode,
          currency,
          idempotencyKey: key,
          method,
          payloadSha256: hash('sha256', payload, 'base64url'),
        }),
      },
      secret,
    )
    const { packet, condition } = pair
    return {
      fields: { packet, condition, ...(version === 1 ? { expiresAt: expiresAtMs } : {}) },
      terms: { condition, expiresAtMs, madePacket: packet },
    }
  }
}

/** Of each bank that has one. Throws REFUSED, party self. */
export function loadIlpSecrets({ banks }: Pick<LsConfig, 'banks'>): ReadonlyMap<string, IlpSecret> {
  const secrets = new Map<string, IlpSecret>()
  for (const { code, ilpSecretFile } of banks) {
    if (ilpSecretFile !== undefined) secrets.set(code, loadIlpSecret(ilpSecretFile))
  }
  return secrets
}
