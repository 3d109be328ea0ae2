import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LsxError } from '../runtime/index.ts'
import { type Authority, CA_CERT_FILE, CA_KEY_FILE, CLOCK_TOLERANCE_MS, openAuthority } from './authority.ts'
import { certificateError, certificateFacts } from './certificate.ts'
import { createDirectory, PUBLIC_MODE, SECRET_MODE, writeFileAtomic } from './files.ts'
import { createIdentityFile, type IdentityFiles, loadIdentityKey, writePinFile } from './identity.ts'
import {
  type CertificateRole,
  checkBankCode,
  checkDnsName,
  checkIpAddress,
  LSD_DIRECTORY,
  lsSpiffeId,
  xchangeSpiffeId,
} from './names.ts'
import { type AltNameToSign, signLeaf } from './sign.ts'
import { loadTlsMaterial, placeStagedCertificate, stagedCertFile, type TlsFiles } from './tls-material.ts'

export const KEY_FILE = 'tls.key'
export const CERT_FILE = 'tls.crt'
export const IDENTITY_FILE = 'identity.key'

const DAY_MS = 86_400_000
const DEFAULT_DAYS = 365
const MAX_DAYS = 3_650
const MAX_NAMES = 64

export interface IssueOptions {
  /** The CA's directory. */
  readonly dir: string
  readonly role: CertificateRole
  /** For an xchange, and only there. */
  readonly bankCode?: string
  /** Host names; with no name and no address: localhost, 127.0.0.1 and ::1. */
  readonly dns?: readonly string[]
  readonly ips?: readonly string[]
  /** Default 365; must end before the CA does. */
  readonly days?: number
  /** Wall time, default now. */
  readonly nowMs?: number
  /** Default: `lsd` or the bank code, in `dir`. */
  readonly outDir?: string
}

export interface IssuedFiles extends TlsFiles {
  readonly identityFile: string
  readonly pinFile: string
  readonly pin: string
  readonly spiffeId: string
  readonly notAfter: Date
  readonly fingerprint256: string
}

/**
 * Issues a key and certificate for both ends of TLS 1.3, and an identity where there is none. Issued again into the same
 * directory, key and certificate are new and the identity stays, so that nobody has to change a pin.
 *
 * @throws LsxError BAD_REQUEST: names, days; REFUSED or CERT_DENIED, party self: the CA, files that cannot be written
 */
export async function issueCertificate(options: IssueOptions): Promise<IssuedFiles> {
  const { dir, role, bankCode, days = DEFAULT_DAYS, nowMs = Date.now() } = options
  const directoryName = directoryNameOf(role, bankCode)
  const outDir = options.outDir ?? join(dir, directoryName)
  const names = namesToSign(options)
  if (!Number.isInteger(days) || days < 1 || days > MAX_DAYS) {
    throw new LsxError('BAD_REQUEST', `a certificate lasts 1 to ${MAX_DAYS} days, in whole days`)
  }

  const authority = openAuthority(dir, nowMs)
  const notAfter = new Date(nowMs + days * DAY_MS)
  checkEndsBefore(authority, notAfter, nowMs)
  if (existsSync(join(outDir, CA_KEY_FILE))) {
    throw new LsxError('BAD_REQUEST', `${outDir} is the directory of a CA; issue into another one`)
  }
  const spiffeId =
    bankCode === undefined ? lsSpiffeId(authority.trustDomain) : xchangeSpiffeId(authority.trustDomain, bankCode)
  const signed = await signLeaf(
    {
      commonName: bankCode === undefined ? 'lsd' : `xchange ${bankCode}`,
      notBefore: new Date(nowMs - CLOCK_TOLERANCE_MS),
      notAfter,
      names: [{ type: 'url', value: spiffeId }, ...names],
    },
    { certificatePem: authority.certificate.toString(), privateKey: authority.privateKey },
  )

  createDirectory(outDir, 0o700)
  const identity = keepOrCreateIdentity(join(outDir, IDENTITY_FILE))
  const files = {
    keyFile: join(outDir, KEY_FILE),
    certFile: join(outDir, CERT_FILE),
    caFile: join(outDir, CA_CERT_FILE),
  }
  writeFileAtomic(files.caFile, authority.bundlePem, PUBLIC_MODE)
  // The certificate lies ready beside the old one before the key changes: whoever loads the files in between, also after a
  // crash, finds the one that belongs to the key.
  writeFileAtomic(stagedCertFile(files.certFile), signed.certificatePem, PUBLIC_MODE)
  writeFileAtomic(files.keyFile, signed.privateKeyPem, SECRET_MODE)
  placeStagedCertificate(files.certFile)
  // As a daemon will load it: what could not be used is found here, and so is another issue into the same directory.
  const { certificate } = loadTlsMaterial(files, nowMs)
  if (certificate.spiffeId !== spiffeId) throw certificateError(files.certFile, `${files.certFile} is not ${spiffeId}`)
  return {
    ...files,
    identityFile: identity.keyFile,
    pinFile: identity.pinFile,
    pin: identity.pin,
    spiffeId,
    notAfter: certificate.notAfter,
    fingerprint256: certificate.fingerprint256,
  }
}

function directoryNameOf(role: CertificateRole, bankCode: string | undefined): string {
  if (role === 'lsd') {
    if (bankCode !== undefined) throw new LsxError('BAD_REQUEST', 'the certificate of lsd takes no bank code')
    return LSD_DIRECTORY
  }
  if (bankCode === undefined) throw new LsxError('BAD_REQUEST', 'the certificate of an xchange needs a bank code')
  checkBankCode(bankCode)
  return bankCode
}

function namesToSign({ dns = [], ips = [] }: IssueOptions): AltNameToSign[] {
  if (dns.length + ips.length > MAX_NAMES) {
    throw new LsxError('BAD_REQUEST', `a certificate holds at most ${MAX_NAMES} names and addresses`)
  }
  for (const name of dns) checkDnsName(name)
  for (const address of ips) checkIpAddress(address)
  const asked = dns.length + ips.length > 0
  const hosts = new Set(asked ? dns : ['localhost'])
  const addresses = new Set(asked ? ips : ['127.0.0.1', '::1'])
  return [
    ...[...hosts].map((value) => ({ type: 'dns' as const, value })),
    ...[...addresses].map((value) => ({ type: 'ip' as const, value })),
  ]
}

function checkEndsBefore(authority: Authority, notAfter: Date, nowMs: number): void {
  const caEnd = certificateFacts(authority.certificate).notAfter
  if (notAfter <= caEnd) return
  const longestDays = Math.floor((caEnd.getTime() - nowMs) / DAY_MS)
  throw new LsxError(
    'BAD_REQUEST',
    longestDays < 1
      ? `the CA ends on ${caEnd.toISOString()}, within a day; create a new CA`
      : `the CA ends on ${caEnd.toISOString()}; ask for at most ${longestDays} days, or create a new CA`,
  )
}

function keepOrCreateIdentity(keyFile: string): IdentityFiles {
  // One that is there but cannot be read stops the issue: a new one would lock the party out where it is pinned.
  return existsSync(keyFile) ? writePinFile(keyFile, loadIdentityKey(keyFile)) : createIdentityFile(keyFile)
}
