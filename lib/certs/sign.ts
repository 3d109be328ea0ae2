import { KeyObject, randomBytes, webcrypto } from 'node:crypto'

/** P-256 with SHA-256: every TLS 1.3 stack has it, and hardware that keeps CA keys too. */
const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' }
const SIGNING_ALGORITHM = { name: 'ECDSA', hash: 'SHA-256' }
const SERIAL_BYTES = 16

export interface AltNameToSign {
  readonly type: 'url' | 'dns' | 'ip'
  readonly value: string
}

interface CertificateToSign {
  readonly commonName: string
  readonly notBefore: Date
  readonly notAfter: Date
  readonly names: readonly AltNameToSign[]
}

export interface SignedCertificate {
  readonly certificatePem: string
  /** PKCS #8 PEM. */
  readonly privateKeyPem: string
}

/** A new key pair and its self-signed CA certificate that may sign end certificates only (RFC 5280 section 4.2.1.9). */
export async function signAuthority(request: CertificateToSign): Promise<SignedCertificate> {
  const x509 = await loadLibrary()
  const keys = await webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: newSerialNumber(),
      name: subjectOf(request),
      notBefore: request.notBefore,
      notAfter: request.notAfter,
      signingAlgorithm: SIGNING_ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        new x509.SubjectAlternativeNameExtension([...request.names]),
      ],
    },
    webcrypto,
  )
  return { certificatePem: pemOf(certificate), privateKeyPem: privateKeyPem(keys.privateKey) }
}

/** A new key pair and its certificate for both ends of TLS, signed by a P-256 CA. */
export async function signLeaf(
  request: CertificateToSign,
  authority: { readonly certificatePem: string; readonly privateKey: KeyObject },
): Promise<SignedCertificate> {
  const x509 = await loadLibrary()
  const keys = await webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify'])
  const issuer = new x509.X509Certificate(authority.certificatePem)
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: newSerialNumber(),
      subject: subjectOf(request),
      issuer: issuer.subjectName,
      notBefore: request.notBefore,
      notAfter: request.notAfter,
      signingAlgorithm: SIGNING_ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: await importSigningKey(authority.privateKey),
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth], false),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto),
        new x509.SubjectAlternativeNameExtension([...request.names]),
      ],
    },
    webcrypto,
  )
  return { certificatePem: pemOf(certificate), privateKeyPem: privateKeyPem(keys.privateKey) }
}

/**
 * Loaded when something is signed: it takes 0.2 s and patches the global Reflect, which the daemons, that only read
 * certificates, need not suffer.
 */
async function loadLibrary(): Promise<typeof import('@peculiar/x509')> {
  await import('reflect-metadata')
  return await import('@peculiar/x509')
}

/** Random, so that nobody can foresee what gets signed. The library encodes it as a positive integer. */
function newSerialNumber(): string {
  return randomBytes(SERIAL_BYTES).toString('hex')
}

/** As data, not as text: nothing in a name is ever parsed. */
function subjectOf(request: CertificateToSign): Record<string, string[]>[] {
  return [{ O: ['ls-xchange'] }, { CN: [request.commonName] }]
}

function pemOf(certificate: { toString(format: 'pem'): string }): string {
  return `${certificate.toString('pem').trim()}\n`
}

function privateKeyPem(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString()
}

function importSigningKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  return webcrypto.subtle.importKey('pkcs8', pkcs8, KEY_ALGORITHM, false, ['sign'])
}
