import { constants, createPrivateKey, type X509Certificate } from 'node:crypto'
import { existsSync, renameSync } from 'node:fs'
import { dirname } from 'node:path'
import { createSecureContext as createTlsContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import {
  type CertificateFacts,
  certificateError,
  certificateFacts,
  chainsTo,
  leafProblem,
  readCertificates,
} from './certificate.ts'
import { readSecretFile, syncDirectory } from './files.ts'

export interface TlsFiles {
  /** PKCS #8 PEM, 0600. */
  readonly keyFile: string
  /** Own certificate first, then intermediates if any. */
  readonly certFile: string
  /** The CAs whose certificates the peer may show. */
  readonly caFile: string
}

/** Checked key, certificate and CAs as PEM. Holds a private key: never log it. */
export interface TlsMaterial {
  readonly key: Buffer
  readonly cert: string
  readonly ca: string
  readonly certificate: CertificateFacts
}

/**
 * Reads the three files and proves that they fit together at `nowMs` (wall time), so that a mistake shows at start or
 * reload and not at the first handshake.
 *
 * @throws LsxError REFUSED, party self: a file's permissions; CERT_DENIED, party self: key, certificate and CA do not
 *   fit, or dates. The message names the file and what to do.
 */
export function loadTlsMaterial(files: TlsFiles, nowMs: number = Date.now()): TlsMaterial {
  const { keyFile, certFile, caFile } = files
  const key = readSecretFile(keyFile)
  const [leaf, ...intermediates] = certificatesOf(certFile, key)
  const authorities = readCertificates(caFile)

  const problem =
    keyProblem(files, key, (privateKey) => leaf.checkPrivateKey(privateKey)) ??
    leafProblem(certFile, leaf, nowMs) ??
    (chainsTo(leaf, intermediates, authorities, nowMs)
      ? undefined
      : `${certFile} was not issued by a valid CA of ${caFile}; issue it again, or set the CA that issued it`)
  if (problem !== undefined) throw certificateError(certFile, problem)

  return {
    key,
    cert: [leaf, ...intermediates].map(String).join(''),
    ca: authorities.map(String).join(''),
    certificate: certificateFacts(leaf),
  }
}

/** Where a new certificate waits for its key to be in place. */
export function stagedCertFile(certFile: string): string {
  return `${certFile}.next`
}

export function placeStagedCertificate(certFile: string): void {
  renameSync(stagedCertFile(certFile), certFile)
  syncDirectory(dirname(certFile))
}

/** The certificates in force: where a rotation was interrupted after the new key was in place, the staged ones. */
function certificatesOf(certFile: string, pem: Buffer): ReturnType<typeof readCertificates> {
  const staged = stagedCertFile(certFile)
  if (!existsSync(staged)) return readCertificates(certFile)
  const certificates = readCertificates(staged)
  if (!belongsTo(pem, certificates[0])) return readCertificates(certFile)
  try {
    placeStagedCertificate(certFile)
  } catch {
    // The rotation that is under way was faster, or this daemon may not write here: the certificate is good as it is.
  }
  return certificates
}

function belongsTo(pem: Buffer, certificate: X509Certificate): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(pem))
  } catch {
    return false
  }
}

/** The material, if its certificate names the party that is to show it. @throws LsxError CERT_DENIED, party self */
export function checkedParty(material: TlsMaterial, expectedSpiffeId: string, certFile: string): TlsMaterial {
  const { spiffeId } = material.certificate
  if (spiffeId === expectedSpiffeId) return material
  const shown = spiffeId ?? 'no SPIFFE id'
  throw certificateError(
    certFile,
    `${certFile} names ${shown}, and this daemon is ${expectedSpiffeId}: set the right files, trustDomain and bankCode`,
  )
}

function keyProblem(
  { keyFile, certFile }: TlsFiles,
  pem: Buffer,
  belongs: (privateKey: ReturnType<typeof createPrivateKey>) => boolean,
): string | undefined {
  try {
    if (belongs(createPrivateKey(pem))) return undefined
    return `the key in ${keyFile} does not belong to the certificate in ${certFile}; issue both again with: lsctl certs issue`
  } catch {
    return `${keyFile} holds no private key in PEM that can be used here`
  }
}

/**
 * The options of every TLS end of the product: for `https.createServer`, `server.setSecureContext` and the like.
 *
 * Tickets are off because a resumed session skips the client's certificate: a revoked bank would stay in. That does
 * not end resumption by itself: the receiver also refuses `isSessionReused()`.
 */
export function secureContextOptions(material: Pick<TlsMaterial, 'key' | 'cert' | 'ca'>): SecureContextOptions {
  return {
    key: material.key,
    cert: material.cert,
    ca: material.ca,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
  }
}

/** One context for all dials, made anew when the files change: a third of the cost of giving each dial the files. */
export function createSecureContext(material: Pick<TlsMaterial, 'key' | 'cert' | 'ca'>): SecureContext {
  return createTlsContext(secureContextOptions(material))
}
