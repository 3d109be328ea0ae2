import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createFileExclusive, readPublicFile, readSecretFile, SECRET_MODE } from '../../certs/index.ts'
import { LsxError } from '../../runtime/index.ts'
import { parseJsonObject, thumbprintOf } from '../jws/index.ts'
import { MIN_RSA_BITS, type SealingAlgorithm, type SealingKeyKind, sealingAlgorithmOf } from './algorithms.ts'

/** A public key that messages are sealed to. */
export interface SealingPublicKey {
  readonly keyId: string
  readonly algorithm: SealingAlgorithm
  readonly publicKey: KeyObject
}

/** The private half: opens what was sealed to it. Never logged; `KeyObject` shows nothing of itself. */
export interface SealingKey extends SealingPublicKey {
  readonly privateKey: KeyObject
}

export interface SealingKeyFiles {
  readonly keyId: string
  readonly algorithm: SealingAlgorithm
  readonly keyFile: string
  /** JWK; to be given to whoever seals. */
  readonly publicFile: string
}

const PUBLIC_MODE = 0o644
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  OKP: ['kty', 'crv', 'x'],
  EC: ['kty', 'crv', 'x', 'y'],
  RSA: ['kty', 'n', 'e'],
}
const NEUTRAL_MEMBERS: readonly string[] = ['kid', 'alg', 'use', 'key_ops']
/** Of one of 8,192 bits, generously. */
const MAX_JWK_CHARACTERS = 4_096

export function newSealingKey(kind: SealingKeyKind): SealingKey {
  return sealingKeyOf(newPrivateKey(kind))
}

function newPrivateKey(kind: SealingKeyKind): KeyObject {
  switch (kind) {
    case 'x25519':
      return generateKeyPairSync('x25519').privateKey
    case 'p256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    case 'rsa4096':
      return generateKeyPairSync('rsa', { modulusLength: 4_096 }).privateKey
  }
}

/** Throws REFUSED for a key of another kind or too weak. */
export function sealingKeyOf(privateKey: KeyObject, minRsaBits?: number): SealingKey {
  return { ...sealingPublicKeyOf(createPublicKey(privateKey), minRsaBits), privateKey }
}

/** Named by its thumbprint (RFC 7638, SHA-256). Throws REFUSED for a key of another kind or too weak. */
export function sealingPublicKeyOf(publicKey: KeyObject, minRsaBits: number = MIN_RSA_BITS): SealingPublicKey {
  const algorithm = sealingAlgorithmOf(publicKey, minRsaBits)
  if (typeof algorithm === 'object') throw unusable(algorithm.problem)
  return { keyId: thumbprintOf(publicKey), algorithm, publicKey }
}

/** The public half as JWK (RFC 7517), with its name and use. */
export function sealingJwk({ keyId, algorithm, publicKey }: SealingPublicKey): Record<string, unknown> {
  return { ...publicKey.export({ format: 'jwk' }), kid: keyId, alg: algorithm, use: 'enc' }
}

/**
 * A public key from its JWK. Throws REFUSED for one that is private, of another kind or use, too weak, or named otherwise
 * than by its thumbprint.
 */
export function parseSealingJwk(jwk: unknown, minRsaBits?: number): SealingPublicKey {
  if (typeof jwk !== 'object' || jwk === null) throw unusable('it is not a JWK')
  const fields = jwk as Record<string, unknown>
  const members = typeof fields.kty === 'string' && Object.hasOwn(MEMBERS, fields.kty) ? MEMBERS[fields.kty] : undefined
  if (members === undefined) throw unusable('its kty is not OKP, EC or RSA')
  for (const [name, value] of Object.entries(fields)) {
    const isKnown = members.includes(name) || NEUTRAL_MEMBERS.includes(name)
    // A private member has no business here, and its key is a secret no more.
    if (!isKnown) throw unusable(`it has the member "${name.slice(0, 32)}"`)
    if (name !== 'key_ops' && (typeof value !== 'string' || value.length > MAX_JWK_CHARACTERS)) {
      throw unusable(`its member "${name}" is malformed`)
    }
  }
  if (fields.use !== undefined && fields.use !== 'enc') throw unusable('its use is not "enc"')
  let publicKey: KeyObject
  try {
    const material = Object.fromEntries(members.map((name) => [name, fields[name]]))
    publicKey = createPublicKey({ key: material as never, format: 'jwk' })
  } catch (cause) {
    throw unusable('its members make no key', cause)
  }
  const key = sealingPublicKeyOf(publicKey, minRsaBits)
  if (fields.alg !== undefined && fields.alg !== key.algorithm) throw unusable(`its alg is not ${key.algorithm}`)
  if (fields.kid !== undefined && fields.kid !== key.keyId) throw unusable('its kid is not its thumbprint')
  return key
}

/** Reads a JWK file of a bank. Throws REFUSED, party self. */
export function readSealingPublicKey(file: string, minRsaBits?: number): SealingPublicKey {
  return fromFile(file, () => {
    const jwk = parseJsonObject(readPublicFile(file))
    if (typeof jwk === 'string') throw unusable(jwk)
    return parseSealingJwk(jwk, minRsaBits)
  })
}

/** Reads a private key (PKCS#8 PEM) that only its owner can read. Throws REFUSED, party self. */
export function loadSealingKey(file: string, minRsaBits?: number): SealingKey {
  return fromFile(file, () => {
    const pem = readSecretFile(file)
    let privateKey: KeyObject
    try {
      privateKey = createPrivateKey(pem)
    } catch {
      // What OpenSSL says of a key that it cannot read helps nobody, and may quote it.
      throw unusable('it is not a private key in PEM')
    } finally {
      pem.fill(0)
    }
    return sealingKeyOf(privateKey, minRsaBits)
  })
}

/**
 * Makes a key pair: `out` for the bank's node alone, and its public half beside it as `.jwk`. Throws REFUSED where a file
 * is there already.
 */
export function createSealingKeyFiles(out: string, kind: SealingKeyKind): SealingKeyFiles {
  const key = newSealingKey(kind)
  const publicFile = `${out.replace(/\.key$/, '')}.jwk`
  createFileExclusive(out, key.privateKey.export({ format: 'pem', type: 'pkcs8' }), SECRET_MODE)
  createFileExclusive(publicFile, `${JSON.stringify(sealingJwk(key), undefined, 2)}\n`, PUBLIC_MODE)
  return { keyId: key.keyId, algorithm: key.algorithm, keyFile: out, publicFile }
}

function fromFile<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (thrown) {
    if (!(thrown instanceof LsxError) || 'file' in thrown.facts) throw thrown
    throw new LsxError('REFUSED', `${file}: ${thrown.message}`, { party: 'self', facts: { file }, cause: thrown })
  }
}

function unusable(problem: string, cause?: unknown): LsxError {
  return new LsxError('REFUSED', `a sealing key that cannot be used: ${problem}`, { party: 'self', cause })
}
