import { lsSpiffeId, xchangeSpiffeId } from '../certs/index.ts'
import { decodeMeta, encodeMap } from '../frames/index.ts'
import { checkIdentityPublicKey, type Identity } from '../kx/index.ts'
import { ed25519Kid, type MethodScope, RequestTokens, SessionTokens, type TokenSigner } from '../message/jwt/index.ts'
import type { LsxError } from '../runtime/index.ts'
import type { RoutedRequest } from './routed-request.ts'
import type { SwitchContext } from './switch-context.ts'

/** Room that the token of a request takes in its record, generously. */
const TOKEN_META_BYTES = 1_024

/** The tokens of one channel to a bank: both sides' session tokens, and what LS's requests bring along. */
export class BankTokens {
  readonly session: SessionTokens
  readonly #methods: () => ReadonlyMap<string, MethodScope>
  readonly #requests: RequestTokens
  #encoded: { token: string; meta: Buffer } | undefined

  constructor(
    context: SwitchContext,
    bankCode: string,
    channel: { send: (token: string) => void; onRefused: (error: LsxError) => void },
  ) {
    const { tokens, trustDomain, kx } = context.config
    const self = lsSpiffeId(trustDomain)
    const peer = xchangeSpiffeId(trustDomain, bankCode)
    const { tokenKeys, clock } = context
    this.#methods = () => context.tokenMethods
    this.session = new SessionTokens({
      self,
      peer,
      mode: tokens.session,
      times: {
        lifetimeMs: tokens.lifetimeMs,
        clockToleranceMs: tokens.clockToleranceMs,
        graceMs: kx.timeoutMs,
      },
      signer: () => identitySigner(context.identity),
      tokenKeys,
      checkKey: checkIdentityPublicKey,
      clock,
      ...channel,
    })
    this.#requests = new RequestTokens({ self, peer, tokenKeys, lifetimeMs: tokens.requestLifetimeMs, clock })
  }

  /** What goes out as the request's meta: with the app's own token, or LS's for a method that asks for one. */
  metaOf(request: RoutedRequest): Buffer | undefined {
    const { sessionId } = this.session
    const method = this.#methods().get(request.method)
    if (method === undefined || sessionId === undefined) return request.meta
    const fields = request.meta === undefined ? undefined : decodeMeta(request.meta)
    if (fields?.token !== undefined) return request.meta
    const token = this.#requests.tokenFor(method, sessionId, request.key)
    if (fields !== undefined) return encodeMap({ ...fields, token })
    if (this.#encoded?.token !== token) this.#encoded = { token, meta: encodeMap({ token }) }
    return this.#encoded.meta
  }

  stop(): void {
    this.session.stop()
  }
}

/** How many bytes a token of LS may add to a request. */
export function tokenMetaBytes(request: RoutedRequest, methods: ReadonlyMap<string, MethodScope>): number {
  return methods.has(request.method) ? TOKEN_META_BYTES : 0
}

export function identitySigner(identity: Identity): TokenSigner {
  return { kid: ed25519Kid(identity.publicKey), sign: (message) => identity.sign(message) }
}
