import { readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { AuditHealth } from '../audit/index.ts'
import { daysLeft, EXPIRY_WARNING_DAYS, secretFileFault } from '../certs/index.ts'
import type { TlsFacts } from '../channel/index.ts'
import { configFileProblem, type SecurityMode, type Weakness } from '../config/index.ts'
import { storeKeyFileOf } from '../store/index.ts'
import type { BankLink } from './bank-link.ts'
import type { BankConfig, LsConfig } from './config.ts'
import { bankWeaknesses, lsWeaknesses } from './weaknesses.ts'

/** What is in force for one bank. */
export interface BankSecurity {
  readonly bankCode: string
  readonly state: string
  /** Of the live channel; undefined while there is none. */
  readonly tls: TlsFacts | undefined
  readonly certificateDaysLeft: number | undefined
  readonly pins: number
  /** Which of them, from 1, the live session has proven. */
  readonly pinInUse: number | undefined
  readonly channelBinding: boolean
  readonly allow: readonly string[]
  readonly signing: { readonly sign: boolean; readonly verify: string; readonly mode: string } | undefined
  readonly weaknesses: readonly Weakness[]
  readonly warnings: readonly string[]
}

export interface SecurityReport {
  /** Nothing is weaker than strict. */
  readonly ok: boolean
  readonly mode: SecurityMode
  readonly certificateDaysLeft: number | undefined
  readonly keyFiles: readonly { readonly path: string; readonly problem: string | undefined }[]
  readonly audit: Pick<AuditHealth, 'state' | 'problem' | 'seq' | 'signedThrough' | 'lost'> | undefined
  readonly weaknesses: readonly Weakness[]
  readonly warnings: readonly string[]
  readonly banks: readonly BankSecurity[]
}

export interface ReportedDaemon {
  readonly config: LsConfig
  readonly configFile: string | undefined
  readonly certificate: { readonly notAfter: Date } | undefined
  readonly audit: AuditHealth | undefined
  readonly nowMs: number
}

/** Looks at what holds now: negotiated, on disk and configured. */
export function securityReport(daemon: ReportedDaemon, links: readonly BankLink[]): SecurityReport {
  const { config, configFile, certificate, audit, nowMs } = daemon
  const keyFiles = keyFilesOf(config).map((path) => ({ path, problem: secretFileFault(path) }))
  const days = certificate === undefined ? undefined : daysLeft(certificate, nowMs)
  const general = lsWeaknesses({ ...config, banks: [] })
  const weaknesses: Weakness[] = [...general]
  if (config.security.mode !== 'strict')
    weaknesses.push({ path: 'security.mode', message: 'permissive: for debugging only' })
  for (const { path, problem } of keyFiles) if (problem !== undefined) weaknesses.push({ path, message: problem })
  const fileProblem = configFile === undefined ? undefined : fileProblemOf(configFile)
  if (fileProblem !== undefined) weaknesses.push({ path: configFile ?? '', message: fileProblem })
  if (audit === undefined || audit.state !== 'ok')
    weaknesses.push({ path: 'audit', message: audit?.problem ?? 'there is no audit log' })
  if (days !== undefined && days < 0) weaknesses.push({ path: config.tls.certFile, message: 'expired' })
  const banks = links.map((link) => bankSecurity(link, config, nowMs))
  const isWeak = weaknesses.length > 0 || banks.some((bank) => bank.weaknesses.length > 0)
  return {
    ok: !isWeak,
    mode: config.security.mode,
    certificateDaysLeft: days,
    keyFiles,
    audit,
    weaknesses,
    warnings: [
      ...expiryWarning("LS's certificate", days),
      ...((audit?.lost ?? 0) > 0 ? [`${audit?.lost} audit records were lost since the start`] : []),
    ],
    banks,
  }
}

function bankSecurity(link: BankLink, config: LsConfig, nowMs: number): BankSecurity {
  const { bank, peer, session, pins } = link
  const days = peer === undefined ? undefined : daysLeft({ notAfter: peer.certificateNotAfter }, nowMs)
  const signing = signingOf(bank, config)
  const weaknesses: Weakness[] = [...bankWeaknesses(bank)]
  if (signing === undefined) {
    weaknesses.push({ path: 'signing', message: 'left out: nothing is signed, and nothing can be proven later' })
  } else if (!signing.sign)
    weaknesses.push({ path: 'signing.sign', message: 'off: requests to this bank are not signed' })
  if (peer?.tls !== undefined && peer.tls.protocol !== 'TLSv1.3')
    weaknesses.push({ path: 'tls', message: `${peer.tls.protocol} was negotiated, not TLSv1.3` })
  if (days !== undefined && days < 0) weaknesses.push({ path: 'tls', message: "the bank's certificate has expired" })
  const inUse = session === undefined ? -1 : pins.findIndex((pin) => pin.equals(session.peerIdentity))
  return {
    bankCode: bank.code,
    state: link.state.name,
    tls: peer?.tls,
    certificateDaysLeft: days,
    pins: pins.length,
    pinInUse: inUse === -1 ? undefined : inUse + 1,
    channelBinding: config.kx.channelBinding,
    allow: bank.allow,
    signing,
    weaknesses,
    warnings: expiryWarning("the bank's certificate", days),
  }
}

function signingOf({ signing: own }: BankConfig, { signing }: LsConfig): BankSecurity['signing'] {
  if (signing === undefined) return undefined
  return {
    sign: own?.sign ?? signing.sign,
    verify: own?.verify ?? signing.verify,
    mode: own?.mode ?? signing.mode,
  }
}

function keyFilesOf(config: LsConfig): readonly string[] {
  const { tls, identityKeyFile, signing, banks } = config
  const files = [tls.keyFile, identityKeyFile, storeKeyFileOf(config), signing?.keyFile]
  const secrets = banks.map(({ ilpSecretFile }) => ilpSecretFile)
  return [...files.filter((file) => file !== undefined).flatMap(withItsRing), ...secrets].filter(
    (file) => file !== undefined,
  )
}

/** The key, and the next and the retired ones that lie beside it: as secret as the one in use. */
function withItsRing(file: string): readonly string[] {
  const stem = basename(file).replace(/\.key$/, '')
  const isOfRing = (name: string) =>
    name.endsWith('.key') && (name === `${stem}.next.key` || name.startsWith(`${stem}.old-`))
  try {
    const beside = readdirSync(dirname(file)).filter(isOfRing).sort()
    return [file, ...beside.map((name) => join(dirname(file), name))]
  } catch {
    // That the key itself cannot be read is told.
    return [file]
  }
}

function fileProblemOf(file: string): string | undefined {
  const stat = statSync(file, { throwIfNoEntry: false })
  return stat === undefined ? undefined : configFileProblem(file, stat.mode)
}

function expiryWarning(whose: string, days: number | undefined): readonly string[] {
  return days !== undefined && days >= 0 && days < EXPIRY_WARNING_DAYS ? [`${whose} expires in ${days} days`] : []
}
