import { X509Certificate } from 'node:crypto'
import { LsxError } from '../runtime/index.ts'
import { readPublicFile } from './files.ts'
import { parseSubjectAltName, spiffeIdOf } from './subject-alt-name.ts'

/** What an operator wants to know of a certificate. */
export interface CertificateFacts {
  readonly subject: string
  /** `TYPE:value`, unescaped. For people; decide by `spiffeId`. */
  readonly sans: readonly string[]
  readonly spiffeId: string | undefined
  readonly notBefore: Date
  readonly notAfter: Date
  /** SHA-256 of the certificate, upper-case hex with colons. */
  readonly fingerprint256: string
}

const DAY_MS = 86_400_000
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g
const MAX_CERTIFICATES = 64
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'

export function certificateFacts(certificate: X509Certificate): CertificateFacts {
  return {
    subject: certificate.subject.replaceAll('\n', ', '),
    sans: (parseSubjectAltName(certificate.subjectAltName ?? '') ?? []).map(({ type, value }) => `${type}:${value}`),
    spiffeId: spiffeIdOf(certificate),
    notBefore: new Date(certificate.validFrom),
    notAfter: new Date(certificate.validTo),
    fingerprint256: certificate.fingerprint256,
  }
}

/** Whole days until expiry, rounded down: 0 on the last day, negative once expired. `nowMs` is wall time. */
export function daysLeft(certificate: Pick<CertificateFacts, 'notAfter'>, nowMs: number): number {
  return Math.floor((certificate.notAfter.getTime() - nowMs) / DAY_MS)
}

/** A file's certificates in their order, at least one. @throws LsxError REFUSED or CERT_DENIED, party self */
export function readCertificates(path: string): readonly [X509Certificate, ...X509Certificate[]] {
  const blocks = readPublicFile(path).toString('latin1').match(PEM_CERTIFICATE) ?? []
  if (blocks.length > MAX_CERTIFICATES) {
    throw certificateError(path, `${path} holds more than ${MAX_CERTIFICATES} certificates`)
  }
  let certificates: X509Certificate[]
  try {
    certificates = blocks.map((block) => new X509Certificate(block))
  } catch (cause) {
    throw certificateError(path, `${path} holds a certificate that cannot be read; copy the file anew`, cause)
  }
  const [first, ...others] = certificates
  if (first === undefined) throw certificateError(path, `${path} holds no certificate in PEM`)
  return [first, ...others]
}

/** Why this certificate cannot serve as this party's own at `nowMs`, or undefined. */
export function leafProblem(path: string, certificate: X509Certificate, nowMs: number): string | undefined {
  if (certificate.ca) return `${path} is the certificate of a CA, not of a party`
  // Each party is client or server, whichever the dial direction asks for.
  const usages: readonly string[] = certificate.keyUsage ?? [SERVER_AUTH, CLIENT_AUTH]
  if (!usages.includes(SERVER_AUTH) || !usages.includes(CLIENT_AUTH)) {
    return `${path} must allow both server and client authentication; issue it again with: lsctl certs issue`
  }
  return dateProblem(path, certificate, nowMs)
}

export function dateProblem(path: string, certificate: X509Certificate, nowMs: number): string | undefined {
  const { notBefore, notAfter } = certificateFacts(certificate)
  if (nowMs < notBefore.getTime()) return `${path} is not valid before ${notBefore.toISOString()}; check the clock`
  if (nowMs > notAfter.getTime()) {
    return `${path} expired on ${notAfter.toISOString()}; ${certificate.ca ? 'make a new CA' : 'issue it again with: lsctl certs issue'}`
  }
  return undefined
}

/** True when `leaf` leads, through the given intermediates, to one of `authorities` that is valid at `nowMs`. */
export function chainsTo(
  leaf: X509Certificate,
  intermediates: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  nowMs: number,
): boolean {
  const isIssuerOf = (issuer: X509Certificate, subject: X509Certificate) =>
    issuer.ca &&
    dateProblem('', issuer, nowMs) === undefined &&
    subject.checkIssued(issuer) &&
    subject.verify(issuer.publicKey)
  let subject = leaf
  const unused = new Set(intermediates)
  for (;;) {
    if (authorities.some((authority) => isIssuerOf(authority, subject))) return true
    const next = [...unused].find((candidate) => isIssuerOf(candidate, subject))
    if (next === undefined) return false
    unused.delete(next)
    subject = next
  }
}

export function certificateError(path: string, message: string, cause?: unknown): LsxError {
  return new LsxError('CERT_DENIED', message, { party: 'self', facts: { file: path }, cause })
}
