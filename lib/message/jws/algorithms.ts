import { constants, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { ed25519KeyProblem } from '../../runtime/index.ts'

/** RFC 7518 section 3.1 and RFC 8037 section 3.1. No `none`, and nothing with a shared secret. */
export const JWS_ALGORITHMS = ['EdDSA', 'ES256', 'RS256', 'PS256'] as const
export type JwsAlgorithm = (typeof JWS_ALGORITHMS)[number]

/** RFC 7518 section 3.3: 2,048 bits or more. The upper bound keeps a verification from taking long. */
const RSA_BITS = { least: 2_048, most: 8_192 }
const ED25519_KEY_BYTES = 32

export function isJwsAlgorithm(value: unknown): value is JwsAlgorithm {
  return JWS_ALGORITHMS.includes(value as JwsAlgorithm)
}

/**
 * Which algorithms this key may be used with, or what is wrong with it. An algorithm belongs to the key and is never
 * taken from a signature: otherwise a public key could be passed off as a secret.
 */
export function algorithmsOf(key: KeyObject): readonly JwsAlgorithm[] | string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  const details = publicKey.asymmetricKeyDetails
  switch (publicKey.asymmetricKeyType) {
    case 'ed25519': {
      const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-ED25519_KEY_BYTES)
      const problem = ed25519KeyProblem(raw)
      return problem === undefined ? ['EdDSA'] : `the key ${problem}`
    }
    case 'ec':
      return details?.namedCurve === 'prime256v1' ? ['ES256'] : 'the curve is not P-256'
    case 'rsa': {
      const bits = details?.modulusLength ?? 0
      if (bits < RSA_BITS.least || bits > RSA_BITS.most)
        return `an RSA key has ${RSA_BITS.least} to ${RSA_BITS.most} bits, not ${bits}`
      const exponent = details?.publicExponent ?? 0n
      return exponent >= 3n && exponent % 2n === 1n ? ['RS256', 'PS256'] : 'the exponent of the RSA key cannot be used'
    }
    default:
      return `a ${publicKey.asymmetricKeyType ?? 'secret'} key signs nothing here`
  }
}

export function signBytes(algorithm: JwsAlgorithm, key: KeyObject, message: Buffer): Buffer {
  switch (algorithm) {
    case 'EdDSA':
      return sign(null, message, key)
    case 'ES256':
      return sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' })
    case 'RS256':
      return sign('sha256', message, { key, padding: constants.RSA_PKCS1_PADDING })
    case 'PS256':
      return sign('sha256', message, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })
  }
}

/** `key` must have passed `algorithmsOf` with this algorithm among them. */
export function verifyBytes(algorithm: JwsAlgorithm, key: KeyObject, message: Buffer, signature: Buffer): boolean {
  switch (algorithm) {
    case 'EdDSA':
      return signature.length === 64 && verify(null, message, key, signature)
    case 'ES256':
      return signature.length === 64 && verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
    case 'RS256':
      return verify('sha256', message, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
    case 'PS256':
      return verify('sha256', message, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }, signature)
  }
}

/** The most bytes that a signature of this key takes. */
export function signatureBytes(key: KeyObject): number {
  const bits = key.asymmetricKeyDetails?.modulusLength
  return bits === undefined ? 64 : Math.ceil(bits / 8)
}
