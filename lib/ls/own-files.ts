import { checkedParty, loadIdentityKey, loadTlsMaterial, lsSpiffeId, type TlsMaterial } from '../certs/index.ts'
import { AllowList } from '../channel/index.ts'
import { enforceSecurityMode } from '../config/index.ts'
import { type Identity, identityFromPrivateKey } from '../kx/index.ts'
import { SigningMaterial } from '../message/jws/index.ts'
import { type PartyRings, partyRings } from '../message/keys/index.ts'
import { type Clock, type Logger, silentLogger, systemClock } from '../runtime/index.ts'
import { storeKeyFileOf } from '../store/index.ts'
import { BankLink } from './bank-link.ts'
import type { LsConfig } from './config.ts'
import { loadIlpSecrets } from './ilp-desk.ts'
import { checkPinOwners } from './pins.ts'
import { lsWeaknesses } from './weaknesses.ts'

/** Reads keys, certificates and pins as a start would, without starting anything. Throws what the start would throw. */
export function checkLsFiles(config: LsConfig, { permissive = false }: { readonly permissive?: boolean } = {}): void {
  enforceSecurityMode({ mode: config.security.mode, hasFlag: permissive, weaknesses: lsWeaknesses(config) })
  loadOwnMaterial(config)
  checkPinOwners(config.banks, loadIdentity(config).publicKey)
  new AllowList(config.listen.allow)
  const signing = loadSigning(config, { clock: systemClock, logger: silentLogger })
  for (const bank of config.banks) BankLink.check(bank, config, signing)
  loadIlpSecrets(config)
}

/** A certificate of another party is found here and not by every bank in turn. */
export function loadOwnMaterial(config: LsConfig): TlsMaterial {
  return checkedParty(loadTlsMaterial(config.tls), lsSpiffeId(config.trustDomain), config.tls.certFile)
}

export function loadIdentity(config: LsConfig): Identity {
  return identityFromPrivateKey(loadIdentityKey(config.identityKeyFile))
}

export function loadSigning(
  { signing: config }: LsConfig,
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): SigningMaterial | undefined {
  return config === undefined ? undefined : new SigningMaterial({ config, party: config.party, clock, logger })
}

export function ringsOf(config: LsConfig): PartyRings {
  return partyRings({
    ...config,
    storeKeyFile: storeKeyFileOf(config),
    signing: config.signing,
  })
}
