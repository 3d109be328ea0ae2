import { type OutgoingRequest, RequestBatch, type ResponseRecord } from '../../frames/index.ts'
import { type Clock, LsxError } from '../../runtime/index.ts'
import { batchProofBytes } from './batch-proof.ts'
import type { KeyFinder } from './key-directory.ts'
import { MessageDirection } from './message.ts'
import { MessageVerifier, type VerifyPolicy } from './message-verifier.ts'
import { metaGrowth, withoutSignature } from './meta-signature.ts'
import { MAX_KEY_ID_BYTES } from './names.ts'
import { requestForm, type SignableRequest, type SignedRequest } from './record-forms.ts'
import {
  type MessageEvidence,
  type OutgoingBatch,
  type SignedMessage,
  SigningBatch,
  type SigningMode,
} from './signing-batch.ts'
import type { SigningKey } from './signing-key.ts'
import type { VerificationCache } from './verification-cache.ts'

export interface ChannelSigningOptions {
  /** Whose channel it is. */
  readonly bankCode: string
  /** The key as it is now; undefined where what is sent is not signed. */
  readonly key: (() => SigningKey | undefined) | undefined
  readonly mode: SigningMode
  readonly policy: VerifyPolicy
  readonly keys: KeyFinder
  readonly cache: VerificationCache
  /** Default 5 min. */
  readonly maxSkewMs?: number
  readonly clock: Clock
}

/** Where a signature's time may lie by default, either side of the verifier's clock. */
export const MAX_SKEW_MS = 300_000
/** A JWS with an RSA signature and long names takes less. */
const LARGEST_JWS_BYTES = 2_048

/** How much a record may grow by its signature. */
export function signatureRoom({ key, mode }: Pick<ChannelSigningOptions, 'key' | 'mode'>): number {
  if (key === undefined) return 0
  return metaGrowth(mode === 'batch' ? batchProofBytes(MAX_KEY_ID_BYTES, 1) : LARGEST_JWS_BYTES)
}

/** What a response must prove, of a request that is in flight. */
export interface Answer<R> {
  readonly request: R
  readonly response: ResponseRecord
}

/** A response's verdict at LS. */
export interface AnswerVerdict {
  readonly error: LsxError | undefined
  readonly signed: SignedMessage | undefined
  /** Of the response, without the signature. */
  readonly meta: Buffer | undefined
}

/** The signed messages of an exchange. */
export interface ExchangeProof {
  readonly sent: MessageEvidence | undefined
  readonly answered: MessageEvidence
}

/** Who keeps the signed messages of an exchange. */
export interface EvidenceKeeper<R> {
  /** Asked when a request is signed, and again when its response has come. */
  isWanted(request: R): boolean
  /** The response was verified. `sent` is missing where the request was not signed. */
  onProven(request: R, proof: ExchangeProof): void
}

/** LS's part in the signatures of one bank's channel: signs requests as LS, and verifies that responses are the bank's. */
export class LsSigning<R extends SignableRequest> {
  /** The largest body shrinks by this, so that a request that fits has room for its signature. */
  readonly growthBytes: number
  readonly #options: ChannelSigningOptions
  readonly #keepsEvidence: (request: R) => boolean
  readonly #onProven: (request: R, proof: ExchangeProof) => void
  readonly #verifier: MessageVerifier

  constructor(options: ChannelSigningOptions & { readonly evidence?: EvidenceKeeper<R> | undefined }) {
    this.#options = options
    this.growthBytes = signatureRoom(options)
    const { evidence } = options
    this.#keepsEvidence = (request) => evidence?.isWanted(request) ?? false
    this.#onProven = (request, proof) => evidence?.onProven(request, proof)
    this.#verifier = new MessageVerifier({ ...options, maxSkewMs: options.maxSkewMs ?? MAX_SKEW_MS })
  }

  /** A batch of requests for a channel. `sessionId`: of the session whose key will seal the next frame. */
  newBatch(maxBodyBytes: number, sessionId: () => Buffer | undefined): OutgoingBatch<OutgoingRequest<R>> {
    const { key, mode, bankCode, clock } = this.#options
    if (key === undefined) return new RequestBatch(maxBodyBytes)
    return new SigningBatch<OutgoingRequest<R>>({
      form: requestForm<R>(this.#keepsEvidence),
      encoder: new RequestBatch(maxBodyBytes),
      maxBodyBytes,
      key,
      mode,
      bankCode,
      sessionId,
      nowMs: () => clock.nowMs(),
    })
  }

  /** One verdict for each answer, in their order. An error is SIGNATURE_INVALID, with facts for the log. */
  verify(answers: readonly Answer<R>[], sessionId: Buffer): AnswerVerdict[] {
    const { bankCode, policy } = this.#options
    if (policy === 'off' && !answers.some(({ request }) => this.#keepsEvidence(request)))
      return answers.map(({ response }) => ({ ...NOT_LOOKED_AT, meta: withoutSignature(response.meta) }))
    const verdicts = this.#verifier.verify(
      { direction: MessageDirection.response, party: bankCode, bankCode, sessionId },
      answers.map(({ request, response }) => ({
        id: response.id,
        detail: response.status,
        key: request.key,
        method: request.method,
        requestHash: sentAs(request, response)?.hash ?? '',
        payload: response.payload,
        meta: response.meta,
        keepsEvidence: this.#keepsEvidence(request),
      })),
    )
    let kept: Set<R> | undefined
    return verdicts.map(({ error, signed }, index) => {
      const { request, response } = answers[index] ?? {}
      if (error !== undefined) return { error: ofRequest(error, request), signed, meta: undefined }
      const isFirst = request !== undefined && kept?.has(request) !== true
      // Once for each: a bank that repeats its answer in a frame must not fill the disk with it.
      if (isFirst && response !== undefined && signed?.evidence !== undefined) {
        kept = (kept ?? new Set()).add(request)
        this.#onProven(request, { sent: sentAs(request, response)?.evidence, answered: signed.evidence })
      }
      return { error, signed, meta: withoutSignature(response?.meta) }
    })
  }
}

const NOT_LOOKED_AT = { error: undefined, signed: undefined }

/** The sending that this response answers. */
function sentAs({ signed }: SignableRequest, { id }: ResponseRecord): SignedRequest | undefined {
  const newest = signed?.at(-1)
  return newest === undefined || newest.recordId === id ? newest : signed?.findLast(({ recordId }) => recordId === id)
}

function ofRequest(error: LsxError, request: SignableRequest | undefined): LsxError {
  const facts = { ...error.facts, idempotencyKey: request?.key, method: request?.method }
  return new LsxError('SIGNATURE_INVALID', error.message, { facts, cause: error.cause })
}
