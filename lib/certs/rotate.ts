import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { certificateError, certificateFacts, readCertificates } from './certificate.ts'
import { CERT_FILE, type IssuedFiles, issueCertificate } from './issue.ts'
import type { CertificateRole } from './names.ts'
import { LSD_DIRECTORY } from './names.ts'

const DAY_MS = 86_400_000

export interface RotateOptions {
  /** The CA's directory. */
  readonly dir: string
  readonly role: CertificateRole
  readonly bankCode?: string
  /** Default: as long as the certificate that is there. */
  readonly days?: number
  readonly nowMs?: number
  /** Where the certificate is. Default: `lsd` or the bank code, in `dir`. */
  readonly outDir?: string
}

export interface RotatedFiles extends IssuedFiles {
  /** When the certificate of before would have ended. */
  readonly notAfterBefore: Date
}

/**
 * Issues a new key and certificate with the names of the one that is there, and puts them in its place. Identity and
 * pins stay. Whoever has a socket open goes on with it; a daemon that reloads shows the new one from the next socket on.
 *
 * @throws LsxError BAD_REQUEST; REFUSED or CERT_DENIED, party self
 */
export async function rotateCertificate(options: RotateOptions): Promise<RotatedFiles> {
  const { dir, role, bankCode, outDir = join(dir, bankCode ?? LSD_DIRECTORY) } = options
  const certFile = join(outDir, CERT_FILE)
  if (!existsSync(certFile))
    throw certificateError(certFile, `${certFile} is not there; issue the first one with: lsctl certs issue`)
  const facts = certificateFacts(readCertificates(certFile)[0])
  const party = bankCode === undefined ? '/ls' : `/xchange/${bankCode}`
  if (facts.spiffeId?.endsWith(party) !== true)
    throw certificateError(certFile, `${certFile} is of ${facts.spiffeId ?? 'nobody'}, not of ${bankCode ?? 'lsd'}`)
  const namesOf = (type: string) =>
    facts.sans.filter((name) => name.startsWith(`${type}:`)).map((name) => name.slice(type.length + 1))
  const lifetimeDays = Math.round((facts.notAfter.getTime() - facts.notBefore.getTime()) / DAY_MS)
  const issued = await issueCertificate({
    dir,
    role,
    outDir,
    dns: namesOf('DNS'),
    ips: namesOf('IP Address'),
    days: options.days ?? Math.max(1, lifetimeDays),
    ...(bankCode === undefined ? {} : { bankCode }),
    ...(options.nowMs === undefined ? {} : { nowMs: options.nowMs }),
  })
  return { ...issued, notAfterBefore: facts.notAfter }
}
