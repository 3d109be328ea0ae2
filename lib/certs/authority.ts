import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LsxError } from '../runtime/index.ts'
import { certificateError, certificateFacts, dateProblem, readCertificates } from './certificate.ts'
import { createDirectory, createFileExclusive, PUBLIC_MODE, readSecretFile, SECRET_MODE } from './files.ts'
import { authoritySpiffeId } from './names.ts'
import { signAuthority } from './sign.ts'

export const CA_CERT_FILE = 'ca.crt'
export const CA_KEY_FILE = 'ca.key'

/** Certificates begin this much before they are made, for peers whose clocks are behind. */
export const CLOCK_TOLERANCE_MS = 5 * 60_000

const DEFAULT_YEARS = 10
const MAX_YEARS = 30

export interface AuthorityOptions {
  readonly dir: string
  /** The SPIFFE trust domain: lower case, such as `ls.example.org`. */
  readonly trustDomain: string
  /** 1 to 30, default 10. */
  readonly years?: number
  /** Wall time, default now. */
  readonly nowMs?: number
}

export interface AuthorityFiles {
  readonly keyFile: string
  readonly certFile: string
  readonly trustDomain: string
  readonly notAfter: Date
  readonly fingerprint256: string
}

/** A CA that can sign. */
export interface Authority {
  readonly trustDomain: string
  readonly certificate: X509Certificate
  readonly privateKey: KeyObject
  /** All of the CA file, for the parties' copies; more than one certificate while a CA is being replaced. */
  readonly bundlePem: string
}

/**
 * Creates a CA: `ca.key` (0600) and `ca.crt` in `dir`. Never touches one that is there.
 *
 * @throws LsxError BAD_REQUEST: trust domain or years; REFUSED, party self: a CA, or half of one, is there
 */
export async function createAuthority(options: AuthorityOptions): Promise<AuthorityFiles> {
  const { dir, trustDomain, years = DEFAULT_YEARS, nowMs = Date.now() } = options
  const spiffeId = authoritySpiffeId(trustDomain)
  if (!Number.isInteger(years) || years < 1 || years > MAX_YEARS) {
    throw new LsxError('BAD_REQUEST', `a CA lasts 1 to ${MAX_YEARS} years, in whole years`)
  }
  const keyFile = join(dir, CA_KEY_FILE)
  const certFile = join(dir, CA_CERT_FILE)
  const taken = [keyFile, certFile].find((file) => existsSync(file))
  if (taken !== undefined) {
    throw new LsxError('REFUSED', `${taken} is there already; a CA is never overwritten: choose another directory`, {
      party: 'self',
      facts: { file: taken },
    })
  }

  const notAfter = new Date(nowMs)
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + years)
  const { certificatePem, privateKeyPem } = await signAuthority({
    commonName: 'ls-xchange CA',
    notBefore: new Date(nowMs - CLOCK_TOLERANCE_MS),
    notAfter,
    names: [{ type: 'url', value: spiffeId }],
  })
  createDirectory(dir, 0o755)
  // Exclusive again: of two that pass the check above at once, one stops here.
  createFileExclusive(keyFile, privateKeyPem, SECRET_MODE)
  createFileExclusive(certFile, certificatePem, PUBLIC_MODE)
  const facts = certificateFacts(new X509Certificate(certificatePem))
  return { keyFile, certFile, trustDomain, notAfter: facts.notAfter, fingerprint256: facts.fingerprint256 }
}

/**
 * Opens the CA of `dir` for signing. Of several certificates in `ca.crt`, the one that belongs to `ca.key` signs.
 *
 * @throws LsxError REFUSED or CERT_DENIED, party self
 */
export function openAuthority(dir: string, nowMs: number): Authority {
  const keyFile = join(dir, CA_KEY_FILE)
  const certFile = join(dir, CA_CERT_FILE)
  if (!existsSync(keyFile)) {
    throw new LsxError('REFUSED', `${keyFile} is not there; create a CA with: lsctl certs init --dir ${dir}`, {
      party: 'self',
      facts: { file: keyFile },
    })
  }
  const privateKey = parseSigningKey(keyFile)
  const bundle = readCertificates(certFile)
  const certificate = bundle.find((candidate) => candidate.checkPrivateKey(privateKey))
  if (certificate === undefined) throw certificateError(certFile, `${certFile} does not belong to ${keyFile}`)
  const problem = certificate.ca
    ? dateProblem(certFile, certificate, nowMs)
    : `${certFile} is not the certificate of a CA`
  if (problem !== undefined) throw certificateError(certFile, problem)
  return {
    trustDomain: trustDomainOf(certFile, certificate),
    certificate,
    privateKey,
    bundlePem: bundle.map(String).join(''),
  }
}

function parseSigningKey(keyFile: string): KeyObject {
  const pem = readSecretFile(keyFile)
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key
  } catch {
    // Falls through to the message for the operator.
  } finally {
    pem.fill(0)
  }
  throw certificateError(keyFile, `${keyFile} holds no P-256 private key in PEM`)
}

function trustDomainOf(certFile: string, certificate: X509Certificate): string {
  const { spiffeId } = certificateFacts(certificate)
  const trustDomain = spiffeId?.slice('spiffe://'.length) ?? ''
  if (trustDomain === '' || trustDomain.includes('/')) {
    throw certificateError(certFile, `${certFile} names no trust domain; create a CA with: lsctl certs init`)
  }
  return trustDomain
}
