import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID, sign } from 'node:crypto'
import { checkIdentityPublicKey } from '../../../lib/kx/index.ts'
import { ed25519Jwk, ed25519Kid } from '../../../lib/message/jwt/ed25519-jwk.ts'
import {
  type MethodScope,
  RequestTokens,
  SessionTokens,
  TokenGate,
  TokenKeys,
  type TokenSigner,
  type TrustedIssuer,
} from '../../../lib/message/jwt/index.ts'
import type { LsxError } from '../../../lib/runtime/index.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

export const LS = 'spiffe://ls-xchange.test/ls'
export const BANK = 'spiffe://ls-xchange.test/xchange/044'

export interface TestSigner extends TokenSigner {
  readonly publicKey: Buffer
  readonly privateKey: KeyObject
}

export function newSigner(): TestSigner {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)
  return { privateKey, publicKey: raw, kid: ed25519Kid(raw), sign: (message) => sign(null, message, privateKey) }
}

/** Header and claims as they stand, signed as told: what an attacker with a key of his own could write. */
export function forge(
  header: Record<string, unknown> | string,
  claims: Record<string, unknown> | string,
  signWith: (message: Buffer) => Buffer,
): string {
  const encode = (part: Record<string, unknown> | string) =>
    Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url')
  const signed = `${encode(header)}.${encode(claims)}`
  return `${signed}.${signWith(Buffer.from(signed)).toString('base64url')}`
}

export interface TokenPartiesOptions {
  readonly mode?: 'off' | 'offered' | 'required'
  readonly methods?: Record<string, Partial<MethodScope>>
  readonly issuers?: readonly TrustedIssuer[]
  readonly maxSpent?: number
}

/** LS and a bank's node as far as tokens go; what one sends the other receives at once, unless `carries` is off. */
export class TokenParties {
  readonly clock = new VirtualClock()
  lsIdentity = newSigner()
  readonly bankIdentity = newSigner()
  readonly lsKeys = new TokenKeys(this.clock)
  readonly bankKeys = new TokenKeys(this.clock)
  readonly refusedAtLs: LsxError[] = []
  readonly refusedAtBank: LsxError[] = []
  readonly sentByLs: string[] = []
  readonly sentByBank: string[] = []
  readonly ls: SessionTokens
  readonly bank: SessionTokens
  readonly requests: RequestTokens
  readonly gate: TokenGate
  carries = true
  sessionId: Buffer = randomBytes(16)

  constructor({ mode = 'offered', methods = {}, issuers = [], maxSpent = 1_000 }: TokenPartiesOptions = {}) {
    const { clock } = this
    const times = { lifetimeMs: 3_600_000, clockToleranceMs: 5_000, graceMs: 5_000 }
    const common = { mode, times, checkKey: checkIdentityPublicKey, clock }
    this.ls = new SessionTokens({
      ...common,
      self: LS,
      peer: BANK,
      signer: () => this.lsIdentity,
      tokenKeys: this.lsKeys,
      send: (token) => {
        this.sentByLs.push(token)
        if (this.carries) this.bank.tokenReceived(token)
      },
      onRefused: (error) => this.refusedAtLs.push(error),
    })
    this.bank = new SessionTokens({
      ...common,
      self: BANK,
      peer: LS,
      signer: () => this.bankIdentity,
      tokenKeys: this.bankKeys,
      send: (token) => {
        this.sentByBank.push(token)
        if (this.carries) this.ls.tokenReceived(token)
      },
      onRefused: (error) => this.refusedAtBank.push(error),
    })
    this.requests = new RequestTokens({ self: LS, peer: BANK, tokenKeys: this.lsKeys, lifetimeMs: 300_000, clock })
    this.gate = new TokenGate({
      self: BANK,
      peer: LS,
      methods: new Map(
        Object.entries(methods).map(([method, scope]) => [method, { scope: 'transfers', singleUse: false, ...scope }]),
      ),
      issuers: () => new Map(issuers.map((issuer) => [issuer.issuer, issuer])),
      clockToleranceMs: 5_000,
      maxLifetimeMs: 3_600_000,
      maxCached: 100,
      maxSpent,
      clock,
    })
  }

  /** A kx is done on both sides; neither hears the other's token before both have the session. */
  begin(sessionId: Buffer = randomBytes(16)): this {
    this.sessionId = sessionId
    const carries = this.carries
    const [fromBank, fromLs] = [this.sentByBank.length, this.sentByLs.length]
    this.carries = false
    this.bank.sessionBegan({ sessionId, peerIdentity: this.lsIdentity.publicKey })
    this.ls.sessionBegan({ sessionId, peerIdentity: this.bankIdentity.publicKey })
    this.carries = carries
    if (carries) {
      for (const token of this.sentByBank.slice(fromBank)) this.ls.tokenReceived(token)
      for (const token of this.sentByLs.slice(fromLs)) this.bank.tokenReceived(token)
    }
    return this
  }

  stop(): void {
    this.ls.stop()
    this.bank.stop()
  }

  /** Claims that a request token of LS would have now. */
  requestClaims(over: Record<string, unknown> = {}): Record<string, unknown> {
    const nowS = Math.floor(this.clock.nowMs() / 1_000)
    const sid = this.sessionId.toString('hex')
    const claims = { iss: LS, sub: LS, aud: BANK, sid, scope: 'transfers', iat: nowS, exp: nowS + 300 }
    return { ...claims, jti: randomUUID(), ...over }
  }

  sessionClaims(over: Record<string, unknown> = {}): Record<string, unknown> {
    const { scope: _scope, ...claims } = this.requestClaims()
    return { ...claims, cnf: { jwk: ed25519Jwk(newSigner().publicKey) }, ...over }
  }

  /** Resolves with the code that the bank's gate refuses with, or `accepted`. */
  async present(token: unknown, over: { method?: string; key?: string } = {}): Promise<string> {
    const { method = 'transfer', key = 'key-1' } = over
    try {
      await this.gate.check({ method, idempotencyKey: key, token }, this.bank)
      return 'accepted'
    } catch (error) {
      return (error as LsxError).code
    }
  }
}
