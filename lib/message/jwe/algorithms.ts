import type { KeyObject } from 'node:crypto'

/** What protects the content key; RFC 7518, section 4. */
export type SealingAlgorithm = 'RSA-OAEP-256' | 'ECDH-ES+A256KW'

/** The only encryption of content; RFC 7518, section 5.3. */
export const CONTENT_ENCRYPTION = 'A256GCM'

/** Names of the kinds of keys that can be made. */
export const SEALING_KEY_KINDS = ['x25519', 'p256', 'rsa4096'] as const
export type SealingKeyKind = (typeof SEALING_KEY_KINDS)[number]

/** RSA keys with fewer bits are refused, unless the configuration says otherwise. */
export const MIN_RSA_BITS = 4_096
/** Below this no configuration goes. */
export const LEAST_RSA_BITS = 2_048

/** The algorithm that belongs to a key, or what is wrong with it. A key has one algorithm: no message chooses it. */
export function sealingAlgorithmOf(
  key: KeyObject,
  minRsaBits: number = MIN_RSA_BITS,
): SealingAlgorithm | { readonly problem: string } {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'x25519') return 'ECDH-ES+A256KW'
  if (type === 'ec') {
    return details?.namedCurve === 'prime256v1'
      ? 'ECDH-ES+A256KW'
      : { problem: 'its curve is neither X25519 nor P-256' }
  }
  if (type !== 'rsa') return { problem: 'it is neither an X25519, a P-256 nor an RSA key' }
  const bits = details?.modulusLength ?? 0
  if (bits < minRsaBits) return { problem: `it is an RSA key of ${bits} bits; ${minRsaBits} are needed` }
  return bits <= 8_192 ? 'RSA-OAEP-256' : { problem: `it is an RSA key of ${bits} bits, which is over 8192` }
}
