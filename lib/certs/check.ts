import type { KeyObject, X509Certificate } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { LsxError, toLsxError } from '../runtime/index.ts'
import { CA_CERT_FILE, CA_KEY_FILE, openAuthority } from './authority.ts'
import { certificateFacts, dateProblem, daysLeft, leafProblem, readCertificates } from './certificate.ts'
import { reasonOf } from './files.ts'
import { identityPublicKey, loadIdentityKey, pinFileOf, readIdentityPin } from './identity.ts'
import { CERT_FILE, IDENTITY_FILE, KEY_FILE } from './issue.ts'
import { LSD_DIRECTORY } from './names.ts'
import { loadTlsMaterial, type TlsFiles } from './tls-material.ts'

/** Fewer days than this left is worth a warning. */
export const EXPIRY_WARNING_DAYS = 30

/** The verdict on one file. A problem stops a daemon or endangers it; a warning will become one. */
export interface CheckedFile {
  readonly file: string
  readonly spiffeId: string | undefined
  /** Until expiry; undefined for what does not expire. */
  readonly daysLeft: number | undefined
  readonly problems: readonly string[]
  readonly warnings: readonly string[]
}

/**
 * Looks at a directory as `createAuthority` and `issueCertificate` lay it out, or at the directory of one party, as a
 * daemon would at `nowMs` (wall time). Never throws for what it finds; a directory with nothing to check is a problem.
 */
export function checkCertificates(dir: string, nowMs: number = Date.now()): readonly CheckedFile[] {
  let names: readonly string[]
  try {
    names = readdirSync(dir).sort()
  } catch (thrown) {
    return [verdict(dir, [`cannot list ${dir}: ${reasonOf(thrown)}; begin with: lsctl certs init --dir ${dir}`])]
  }
  const checked = [...checkAuthority(dir, nowMs)]
  if (holdsParty(dir)) checked.push(...checkParty(dir, undefined, nowMs))
  for (const name of names) {
    const directory = join(dir, name)
    if (holdsParty(directory)) checked.push(...checkParty(directory, name, nowMs))
  }
  return checked.length > 0 ? checked : [verdict(dir, [`${dir} holds no certificates; begin with: lsctl certs init`])]
}

function holdsParty(dir: string): boolean {
  return [CERT_FILE, KEY_FILE].some((file) => existsSync(join(dir, file)))
}

function checkAuthority(dir: string, nowMs: number): readonly CheckedFile[] {
  const certFile = join(dir, CA_CERT_FILE)
  const keyFile = join(dir, CA_KEY_FILE)
  const checked: CheckedFile[] = []
  if (existsSync(certFile)) checked.push(checkBundle(certFile, nowMs))
  // Without its key the CA cannot sign here, which is how it should be where daemons run.
  if (existsSync(keyFile)) {
    const known = checked.flatMap(({ problems }) => problems)
    const problem = messageOf(() => openAuthority(dir, nowMs))
    checked.push(verdict(keyFile, problem === undefined || known.includes(problem) ? [] : [problem]))
  }
  return checked
}

function checkBundle(file: string, nowMs: number): CheckedFile {
  let certificates: readonly X509Certificate[]
  try {
    certificates = readCertificates(file)
  } catch (thrown) {
    return verdict(file, [toLsxError(thrown).message])
  }
  const problems = certificates.map((certificate) =>
    certificate.ca ? dateProblem(file, certificate, nowMs) : `${file} holds a certificate that is not of a CA`,
  )
  const [first] = certificates
  return {
    ...verdict(
      file,
      problems.filter((problem) => problem !== undefined),
    ),
    ...expiry(certificates, nowMs),
    spiffeId: first === undefined ? undefined : certificateFacts(first).spiffeId,
  }
}

function checkParty(dir: string, name: string | undefined, nowMs: number): readonly CheckedFile[] {
  const files = { keyFile: join(dir, KEY_FILE), certFile: join(dir, CERT_FILE), caFile: join(dir, CA_CERT_FILE) }
  const identityFile = join(dir, IDENTITY_FILE)
  const checked = [checkPartyCertificate(dir, name, files, nowMs)]
  // The party's own bundle, unless the CA lies in the same directory and has its row.
  if (name !== undefined && existsSync(files.caFile)) checked.push(checkBundle(files.caFile, nowMs))
  if (existsSync(identityFile)) checked.push(checkIdentity(identityFile))
  return checked
}

function checkPartyCertificate(dir: string, name: string | undefined, files: TlsFiles, nowMs: number): CheckedFile {
  let certificate: X509Certificate
  try {
    certificate = readCertificates(files.certFile)[0]
  } catch (thrown) {
    return verdict(files.certFile, [toLsxError(thrown).message])
  }
  const { spiffeId } = certificateFacts(certificate)
  const problems = new Set(
    [
      messageOf(() => loadTlsMaterial(files, nowMs)),
      leafProblem(files.certFile, certificate, nowMs),
      nameProblem(files.certFile, name, spiffeId),
      directoryProblem(dir),
    ].filter((problem) => problem !== undefined),
  )
  return { ...verdict(files.certFile, [...problems]), ...expiry([certificate], nowMs), spiffeId }
}

function checkIdentity(file: string): CheckedFile {
  let key: KeyObject
  try {
    key = loadIdentityKey(file)
  } catch (thrown) {
    return verdict(file, [toLsxError(thrown).message])
  }
  const pinFile = pinFileOf(file)
  const problem = messageOf(() => {
    if (!readIdentityPin(pinFile).equals(identityPublicKey(key))) {
      throw new LsxError('IDENTITY_DENIED', `${pinFile} does not belong to ${file}; remove it and issue again`)
    }
  })
  return verdict(file, problem === undefined ? [] : [problem])
}

/** A certificate copied into another party's directory serves nobody: each side compares the id. */
function nameProblem(file: string, name: string | undefined, spiffeId: string | undefined): string | undefined {
  if (spiffeId === undefined) return `${file} does not name exactly one party`
  if (name === undefined || spiffeId.endsWith(name === LSD_DIRECTORY ? '/ls' : `/xchange/${name}`)) return undefined
  return `${file} is of ${spiffeId}, not of the party that the directory names`
}

function directoryProblem(dir: string): string | undefined {
  return (statSync(dir).mode & 0o002) === 0 ? undefined : `${dir} can be changed by anybody; run: chmod o-w ${dir}`
}

function expiry(certificates: readonly X509Certificate[], nowMs: number): Pick<CheckedFile, 'daysLeft' | 'warnings'> {
  const days = Math.min(...certificates.map((certificate) => daysLeft(certificateFacts(certificate), nowMs)))
  return { daysLeft: days, warnings: days >= 0 && days < EXPIRY_WARNING_DAYS ? [`expires in ${days} days`] : [] }
}

function verdict(file: string, problems: readonly string[]): CheckedFile {
  return { file, spiffeId: undefined, daysLeft: undefined, problems, warnings: [] }
}

function messageOf(check: () => void): string | undefined {
  try {
    check()
    return undefined
  } catch (thrown) {
    return toLsxError(thrown).message
  }
}
