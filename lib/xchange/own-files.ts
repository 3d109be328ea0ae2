import {
  checkedParty,
  loadIdentityKey,
  loadTlsMaterial,
  readIdentityPin,
  type TlsMaterial,
  xchangeSpiffeId,
} from '../certs/index.ts'
import { AllowList } from '../channel/index.ts'
import { enforceSecurityMode } from '../config/index.ts'
import { checkIdentityPublicKey, type Identity, identityFromPrivateKey } from '../kx/index.ts'
import { checkSigningMode, SigningMaterial } from '../message/jws/index.ts'
import { type PartyRings, partyRings } from '../message/keys/index.ts'
import { type Clock, type Logger, silentLogger, systemClock } from '../runtime/index.ts'
import { storeKeyFileOf } from '../store/index.ts'
import type { XchangeConfig } from './config.ts'
import { readIlpRules } from './ilp-receiver.ts'
import { readSealingRules } from './request-sealing.ts'
import { collectRoutes } from './routes.ts'
import { loadIssuers } from './tokens.ts'
import { xchangeWeaknesses } from './weaknesses.ts'

/** Reads keys, certificates, pins and modules as a start would. Throws what the start would throw. */
export async function checkXchangeFiles(options: {
  readonly config: XchangeConfig
  readonly configFile: string
  readonly permissive?: boolean
  readonly logger: Logger
}): Promise<void> {
  const { config } = options
  enforceMode(options)
  loadOwnMaterial(config)
  loadIdentity(config)
  loadIssuers(config)
  readPins(config)
  loadSigning(config, { clock: systemClock, logger: silentLogger })
  new AllowList(config.ls.allow)
  readIlpRules(config.ilp)
  readSealingRules(config.sealing)
  const { forwards } = await collectRoutes(options, AbortSignal.timeout(10_000))
  await Promise.all(forwards.map((forward) => forward.stop(AbortSignal.timeout(1_000))))
}

export function enforceMode({
  config,
  permissive = false,
}: {
  readonly config: XchangeConfig
  readonly permissive?: boolean
}): void {
  enforceSecurityMode({ mode: config.security.mode, hasFlag: permissive, weaknesses: xchangeWeaknesses(config) })
}

/** A certificate of another party is found here and not by LS. */
export function loadOwnMaterial(config: XchangeConfig): TlsMaterial {
  const expected = xchangeSpiffeId(config.trustDomain, config.bankCode)
  return checkedParty(loadTlsMaterial(config.tls), expected, config.tls.certFile)
}

export function loadIdentity(config: XchangeConfig): Identity {
  return identityFromPrivateKey(loadIdentityKey(config.identityKeyFile))
}

export function readPins(config: XchangeConfig): readonly Buffer[] {
  return config.ls.identities.map((pin) => {
    const publicKey = readIdentityPin(pin)
    checkIdentityPublicKey(publicKey)
    return publicKey
  })
}

export function loadSigning(
  { signing: config, bankCode }: XchangeConfig,
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): SigningMaterial | undefined {
  if (config === undefined) return undefined
  const signing = new SigningMaterial({ config, party: bankCode, clock, logger })
  checkSigningMode(signing.key, config)
  return signing
}

export function ringsOf({ signing, ...config }: XchangeConfig): PartyRings {
  return partyRings({
    ...config,
    storeKeyFile: storeKeyFileOf(config),
    signing: signing === undefined ? undefined : { ...signing, party: config.bankCode },
  })
}
