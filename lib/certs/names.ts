import { isIP } from 'node:net'
import { LsxError } from '../runtime/index.ts'

/** What a certificate may be for: the switch or a bank's node. */
export type CertificateRole = 'lsd' | 'xchange'

/** The directory of the switch; banks have directories beside it, named by their codes. */
export const LSD_DIRECTORY = 'lsd'

const BANK_CODE = /^[A-Za-z0-9._-]{1,32}$/
/** SPIFFE-ID section 2.1, and shorter than a DNS name may be. */
const TRUST_DOMAIN = /^[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?$/
const DNS_LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/
/** Bank codes name directories beside these, and parties beside `ls`; compared without case, as some file systems do. */
const RESERVED_NAMES: readonly string[] = [LSD_DIRECTORY, 'ls', 'keys', 'ca.crt', 'ca.key', 'readme.md']

/**
 * A bank code that is also safe as a directory name and as a segment of a SPIFFE id.
 *
 * @throws LsxError BAD_REQUEST
 */
export function checkBankCode(bankCode: string): void {
  if (!BANK_CODE.test(bankCode)) {
    throw badName('bank code', bankCode, 'use 1 to 32 of A-Z a-z 0-9 . _ -')
  }
  if (bankCode === '.' || bankCode === '..') throw badName('bank code', bankCode, 'it names a directory')
  if (RESERVED_NAMES.includes(bankCode.toLowerCase())) throw badName('bank code', bankCode, 'the name is reserved')
}

/** @throws LsxError BAD_REQUEST */
export function checkTrustDomain(trustDomain: string): void {
  if (!TRUST_DOMAIN.test(trustDomain) || trustDomain.includes('..')) {
    throw badName('trust domain', trustDomain, 'use a lower-case name such as ls.example.org')
  }
}

/** A host name without wildcard. @throws LsxError BAD_REQUEST */
export function checkDnsName(name: string): void {
  const labels = name.split('.')
  // A last label of digits would make it look like an address (RFC 1123 section 2.1).
  const looksLikeAddress = /^\d+$/.test(labels.at(-1) ?? '')
  if (name.length > 253 || looksLikeAddress || !labels.every((label) => DNS_LABEL.test(label))) {
    throw badName('DNS name', name, 'use a plain host name such as xchange.bank.example')
  }
}

/** @throws LsxError BAD_REQUEST */
export function checkIpAddress(address: string): void {
  if (isIP(address) === 0 || address.includes('%')) {
    throw badName('IP address', address, 'use one IPv4 or IPv6 address without zone')
  }
}

/** The switch's name in certificates. @throws LsxError BAD_REQUEST */
export function lsSpiffeId(trustDomain: string): string {
  return `${authoritySpiffeId(trustDomain)}/ls`
}

/** A bank node's name in certificates. @throws LsxError BAD_REQUEST */
export function xchangeSpiffeId(trustDomain: string, bankCode: string): string {
  checkBankCode(bankCode)
  return `${authoritySpiffeId(trustDomain)}/xchange/${bankCode}`
}

/** The bank that a node's SPIFFE id names, or undefined where it names none of this trust domain. */
export function bankCodeOfSpiffeId(trustDomain: string, spiffeId: string | undefined): string | undefined {
  const prefix = `${authoritySpiffeId(trustDomain)}/xchange/`
  if (spiffeId?.startsWith(prefix) !== true) return undefined
  const bankCode = spiffeId.slice(prefix.length)
  return BANK_CODE.test(bankCode) ? bankCode : undefined
}

/** The CA's own name: the trust domain without a path (X509-SVID section 4.1). @throws LsxError BAD_REQUEST */
export function authoritySpiffeId(trustDomain: string): string {
  checkTrustDomain(trustDomain)
  return `spiffe://${trustDomain}`
}

function badName(what: string, value: string, rule: string): LsxError {
  // The value is whatever somebody typed: JSON keeps control characters off the terminal.
  return new LsxError('BAD_REQUEST', `${what} ${JSON.stringify(value.slice(0, 64))} cannot be used: ${rule}`)
}
