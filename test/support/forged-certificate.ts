import { KeyObject, webcrypto } from 'node:crypto'
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'

export type ForgedName = { readonly type: 'url' | 'dns' | 'ip' | 'email' | 'dn' | 'upn' | 'id'; readonly value: string }

export interface Forged {
  readonly certificatePem: string
  readonly privateKeyPem: string
}

export interface ForgeOptions {
  /** One subjectAltName extension for each list. */
  readonly names: readonly (readonly ForgedName[])[]
  /** Self-signed without. */
  readonly issuer?: { readonly certificatePem: string; readonly privateKey: KeyObject }
  readonly isCa?: boolean
  readonly usages?: readonly string[]
}

/** Certificates as our own code would never issue them. */
export async function forgeCertificate(options: ForgeOptions): Promise<Forged> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const issuer = options.issuer === undefined ? undefined : new x509.X509Certificate(options.issuer.certificatePem)
  const signingKey =
    options.issuer === undefined
      ? keys.privateKey
      : await webcrypto.subtle.importKey(
          'pkcs8',
          options.issuer.privateKey.export({ type: 'pkcs8', format: 'der' }),
          algorithm,
          false,
          ['sign'],
        )
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: '01',
      subject: [{ CN: ['forged'] }],
      issuer: issuer?.subjectName ?? [{ CN: ['forged'] }],
      notBefore: new Date(Date.now() - 3_600_000),
      notAfter: new Date(Date.now() + 3_600_000),
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(options.isCa ?? false, undefined, true),
        ...(options.usages === undefined ? [] : [new x509.ExtendedKeyUsageExtension([...options.usages], false)]),
        ...options.names.map((names) => new x509.SubjectAlternativeNameExtension([...names])),
      ],
    },
    webcrypto,
  )
  return {
    certificatePem: `${certificate.toString('pem')}\n`,
    privateKeyPem: KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}
