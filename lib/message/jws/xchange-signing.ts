import { type AnsweredRequest, type OutgoingResponse, type RequestRecord, ResponseBatch } from '../../frames/index.ts'
import { LsxError } from '../../runtime/index.ts'
import { type ChannelSigningOptions, MAX_SKEW_MS, signatureRoom } from './ls-signing.ts'
import { MessageDirection } from './message.ts'
import { MessageVerifier } from './message-verifier.ts'
import { withoutSignature } from './meta-signature.ts'
import { responseForm } from './record-forms.ts'
import { type OutgoingBatch, SigningBatch } from './signing-batch.ts'

/** What became of a request's signature at the xchange, and what its response will be bound to. */
export interface RequestVerdict {
  readonly error: LsxError | undefined
  readonly answered: AnsweredRequest
  /** Of the request, without the signature. */
  readonly meta: Buffer | undefined
}

/** The xchange's part in the signatures of its channel: verifies that requests are LS's, and signs responses as the bank. */
export class XchangeSigning {
  /** The largest payload of a response shrinks by this. */
  readonly growthBytes: number
  readonly #options: ChannelSigningOptions & { readonly lsParty: string }
  readonly #verifier: MessageVerifier

  constructor(options: ChannelSigningOptions & { readonly lsParty: string }) {
    this.#options = options
    this.growthBytes = signatureRoom(options)
    this.#verifier = new MessageVerifier({ ...options, maxSkewMs: options.maxSkewMs ?? MAX_SKEW_MS })
  }

  /** A batch of responses for a channel. `sessionId`: of the session whose key will seal the next frame. */
  newBatch(maxBodyBytes: number, sessionId: () => Buffer | undefined): OutgoingBatch<OutgoingResponse> {
    const { key, mode, bankCode, clock } = this.#options
    if (key === undefined) return new ResponseBatch(maxBodyBytes)
    return new SigningBatch<OutgoingResponse>({
      form: responseForm,
      encoder: new ResponseBatch(maxBodyBytes),
      maxBodyBytes,
      key,
      mode,
      bankCode,
      sessionId,
      nowMs: () => clock.nowMs(),
    })
  }

  /** One verdict for each request, in their order. An error is SIGNATURE_INVALID, with facts for the log. */
  verify(requests: readonly RequestRecord[], sessionId: Buffer): RequestVerdict[] {
    const { bankCode, lsParty } = this.#options
    const verdicts = this.#verifier.verify(
      { direction: MessageDirection.request, party: lsParty, bankCode, sessionId },
      requests.map(({ id, key, method, budgetMs, payload, meta }) => ({
        id,
        detail: budgetMs,
        key,
        method,
        requestHash: '',
        payload,
        meta,
        keepsEvidence: false,
      })),
    )
    return verdicts.map(({ error, signed }, index) => {
      const { key = '', method = '', meta } = requests[index] ?? {}
      return {
        error:
          error === undefined
            ? undefined
            : new LsxError('SIGNATURE_INVALID', error.message, {
                facts: { ...error.facts, idempotencyKey: key, method },
                cause: error.cause,
              }),
        answered: { key, method, messageHash: signed?.hash ?? '' },
        meta: withoutSignature(meta),
      }
    })
  }
}
