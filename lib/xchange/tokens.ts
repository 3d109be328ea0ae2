import { lsSpiffeId, xchangeSpiffeId } from '../certs/index.ts'
import { checkIdentityPublicKey, type Identity } from '../kx/index.ts'
import {
  ed25519Kid,
  loadIssuer,
  SessionTokens,
  TokenGate,
  TokenKeys,
  type TrustedIssuer,
} from '../message/jwt/index.ts'
import type { Clock, LsxError } from '../runtime/index.ts'
import type { XchangeConfig } from './config.ts'
import type { Authorization, RequestOrigin } from './dispatcher.ts'

/** All that this node does with tokens: its own for LS, LS's for it, and those that requests bring along. */
export class XchangeTokens implements Authorization {
  readonly keys: TokenKeys
  readonly #config: XchangeConfig
  readonly #clock: Clock
  readonly #identity: () => Identity
  readonly #gate: TokenGate
  readonly #self: string
  readonly #ls: string
  #issuers: ReadonlyMap<string, TrustedIssuer>

  /** @throws LsxError REFUSED, party self: an issuer's key file */
  constructor(config: XchangeConfig, clock: Clock, identity: () => Identity) {
    const { trustDomain, bankCode, tokens } = config
    this.#config = config
    this.#clock = clock
    this.#identity = identity
    this.#self = xchangeSpiffeId(trustDomain, bankCode)
    this.#ls = lsSpiffeId(trustDomain)
    this.#issuers = loadIssuers(config)
    this.keys = new TokenKeys(clock)
    this.#gate = new TokenGate({
      self: this.#self,
      peer: this.#ls,
      methods: new Map(Object.entries(tokens.methods)),
      issuers: () => this.#issuers,
      clockToleranceMs: tokens.clockToleranceMs,
      maxLifetimeMs: tokens.maxRequestLifetimeMs,
      maxCached: tokens.maxCached,
      maxSpent: tokens.maxSpent,
      clock,
    })
  }

  asksFor(method: string): boolean {
    return this.#gate.asksFor(method)
  }

  check(
    bearer: { method: string; idempotencyKey: string; token: unknown },
    origin: RequestOrigin,
  ): void | Promise<void> {
    return this.#gate.check(bearer, origin.tokens)
  }

  /** Takes the issuers' keys as they are on disk now. */
  renewIssuers(config: XchangeConfig): void {
    this.#issuers = loadIssuers(config)
    this.#gate.forget()
  }

  /** Of one channel to LS. */
  sessionTokens(channel: { send: (token: string) => void; onRefused: (error: LsxError) => void }): SessionTokens {
    const { tokens, kx } = this.#config
    return new SessionTokens({
      self: this.#self,
      peer: this.#ls,
      mode: tokens.session,
      times: { lifetimeMs: tokens.lifetimeMs, clockToleranceMs: tokens.clockToleranceMs, graceMs: kx.timeoutMs },
      signer: () => {
        const identity = this.#identity()
        return { kid: ed25519Kid(identity.publicKey), sign: (message) => identity.sign(message) }
      },
      tokenKeys: this.keys,
      checkKey: checkIdentityPublicKey,
      clock: this.#clock,
      ...channel,
    })
  }
}

/** @throws LsxError REFUSED, party self */
export function loadIssuers(config: XchangeConfig): ReadonlyMap<string, TrustedIssuer> {
  const self = xchangeSpiffeId(config.trustDomain, config.bankCode)
  return new Map(
    config.tokens.issuers.map((issuer) => [
      issuer.issuer,
      loadIssuer({ ...issuer, audience: issuer.audience ?? self, scopes: issuer.scopes }),
    ]),
  )
}
