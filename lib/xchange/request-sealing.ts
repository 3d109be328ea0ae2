import type { RefusalLog } from '../channel/index.ts'
import { type RequestRecord, ResponseStatus } from '../frames/index.ts'
import {
  isSealedFor,
  loadSealingKey,
  type OpenedRequest,
  openRequest,
  readSealedHeader,
  SEALED_TYPE,
  type SealedContext,
  type SealingKey,
  sealAnswer,
} from '../message/jwe/index.ts'
import { type Clock, LsxError, toLsxError } from '../runtime/index.ts'
import type { StoredResponse } from './once-only.ts'

export interface SealingRules {
  /** By key id. Empty where this node opens nothing: sealed payloads then go to the handler as they are. */
  readonly keys: ReadonlyMap<string, SealingKey>
  /** Methods whose payload must be sealed. */
  readonly requiredMethods: ReadonlySet<string>
  readonly minRsaBits: number
  /** What was sealed longer ago is not run: the once-only table may have forgotten its key. */
  readonly maxAgeMs: number
}

/** A sealed request before it is opened: everything that needs no private key was checked. */
export interface SealedRequest {
  readonly context: SealedContext
  readonly bytes: Buffer
  readonly key: SealingKey
  /** Unix ms. */
  readonly sealedAtMs: number
}

/** JWE's text is a third longer than what it holds, and its header and the sealed map take some room of their own. */
const ENVELOPE_BYTES = 2_048
/** An app's clock may be ahead by this. */
const CLOCK_SKEW_MS = 300_000

/** How long a plain answer may be, so that its JWE has at most `sealedBytes`. */
export function plainBytesWithin(sealedBytes: number): number {
  return Math.max(0, Math.floor(((sealedBytes - ENVELOPE_BYTES) * 3) / 4))
}

/** The bank's end of payloads that LS cannot read. */
export class RequestSealing {
  readonly #bankCode: string
  readonly #clock: Clock
  readonly #refusals: Pick<RefusalLog, 'record'>
  #rules: SealingRules

  constructor(rules: SealingRules, options: { bankCode: string; clock: Clock; refusals: Pick<RefusalLog, 'record'> }) {
    this.#rules = rules
    this.#bankCode = options.bankCode
    this.#clock = options.clock
    this.#refusals = options.refusals
  }

  replaceRules(rules: SealingRules): void {
    this.#rules = rules
  }

  /**
   * The sealed request, or undefined for a plain one.
   *
   * @param type of its meta
   * @throws LsxError BAD_REQUEST for one that was sealed for another request or key, is malformed, or is plain where it
   * must not be
   */
  accept(request: RequestRecord, type: unknown): SealedRequest | undefined {
    const { keys, requiredMethods } = this.#rules
    const { method, key: idempotencyKey, payload } = request
    try {
      if (type !== SEALED_TYPE || keys.size === 0) {
        if (!requiredMethods.has(method)) return undefined
        throw new LsxError('BAD_REQUEST', 'the method takes sealed payloads only')
      }
      const context = { bankCode: this.#bankCode, method, idempotencyKey }
      const header = readSealedHeader(payload, 'lsx-request+jwe')
      if (!isSealedFor(header, context)) {
        throw new LsxError('BAD_REQUEST', 'a sealed payload was made for another request')
      }
      const key = keys.get(header.kid)
      if (key === undefined || key.algorithm !== header.alg) {
        throw new LsxError('BAD_REQUEST', 'a sealed payload is for a key that this node does not have')
      }
      const sealedAtMs = header.iat * 1_000
      if (sealedAtMs > this.#clock.nowMs() + CLOCK_SKEW_MS) {
        throw new LsxError('BAD_REQUEST', 'a sealed payload was made in the future: compare the clocks')
      }
      return { context, bytes: payload, key, sealedAtMs }
    } catch (thrown) {
      throw this.#noted(toLsxError(thrown, 'BAD_REQUEST'), request)
    }
  }

  isTooOld({ sealedAtMs }: SealedRequest): boolean {
    return this.#clock.nowMs() - sealedAtMs > this.#rules.maxAgeMs
  }

  /** Rejects BAD_REQUEST. */
  async open(sealed: SealedRequest): Promise<OpenedRequest> {
    const { bytes, context, key } = sealed
    try {
      return await openRequest(bytes, { context, key, minRsaBits: this.#rules.minRsaBits })
    } catch (thrown) {
      throw this.#noted(toLsxError(thrown, 'BAD_REQUEST'), { method: context.method, key: context.idempotencyKey })
    }
  }

  /** The same answer, sealed to the app. One without a payload has nothing to seal. */
  async seal(response: StoredResponse, opened: OpenedRequest): Promise<StoredResponse & { readonly type?: string }> {
    const { status, payload } = response
    if (status !== ResponseStatus.ok && status !== ResponseStatus.failed) return response
    return {
      ...response,
      payload: await sealAnswer(payload, opened, { status, nowMs: this.#clock.nowMs() }),
      type: SEALED_TYPE,
    }
  }

  #noted(error: LsxError, { method, key }: { method: string; key: string }): LsxError {
    this.#refusals.record(error, { method, idempotencyKey: key })
    return error
  }
}

/** Reads the keys. Throws REFUSED, party self. */
export function readSealingRules(config: {
  keyFiles: readonly string[]
  requiredMethods: readonly string[]
  minRsaBits: number
  maxAgeMs: number
}): SealingRules {
  const { keyFiles, requiredMethods, minRsaBits, maxAgeMs } = config
  const keys = keyFiles.map((file) => loadSealingKey(file, minRsaBits))
  return {
    keys: new Map(keys.map((key) => [key.keyId, key])),
    requiredMethods: new Set(requiredMethods),
    minRsaBits,
    maxAgeMs,
  }
}
