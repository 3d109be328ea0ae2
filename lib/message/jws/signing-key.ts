import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  createDirectory,
  createFileExclusive,
  PUBLIC_MODE,
  readSecretFile,
  SECRET_MODE,
  writeFileAtomic,
} from '../../certs/index.ts'
import { LsxError } from '../../runtime/index.ts'
import { algorithmsOf, type JwsAlgorithm, signBytes } from './algorithms.ts'
import { defaultKeyId, publicJwk } from './jwk.ts'
import { checkParty, isKeyId } from './names.ts'

/** The key that a party signs with. */
export interface SigningKey {
  readonly party: string
  readonly keyId: string
  readonly algorithm: JwsAlgorithm
  readonly privateKey: KeyObject
  sign(message: Buffer): Buffer
}

export interface SigningKeyOptions {
  readonly party: string
  /** Needed for RSA keys only, which serve two algorithms; RS256 if left out. */
  readonly algorithm?: JwsAlgorithm | undefined
  /** The first 16 characters of the key's thumbprint if left out. */
  readonly keyId?: string | undefined
}

/** @throws LsxError REFUSED, party self: a key that cannot be used so */
export function signingKey(privateKey: KeyObject, options: SigningKeyOptions): SigningKey {
  const { party, keyId = defaultKeyId(privateKey) } = options
  const allowed = algorithmsOf(privateKey)
  const refuse = (problem: string) =>
    new LsxError('REFUSED', `the signing key of ${party} cannot be used: ${problem}`, { party: 'self' })
  if (typeof allowed === 'string') throw refuse(allowed)
  const algorithm = options.algorithm ?? allowed[0]
  if (algorithm === undefined || !allowed.includes(algorithm))
    throw refuse(`it signs with ${allowed.join(' or ')} only`)
  if (!isKeyId(keyId)) throw refuse('its key id has 1 to 64 of A-Z a-z 0-9 . _ - and does not begin with a dot')
  return { party, keyId, algorithm, privateKey, sign: (message) => signBytes(algorithm, privateKey, message) }
}

/**
 * Loads a private key: PKCS #8 PEM, readable by its owner only.
 *
 * @throws LsxError REFUSED, party self: the file's permissions, or not such a key
 */
export function loadSigningKey(file: string, options: SigningKeyOptions): SigningKey {
  const pem = readSecretFile(file)
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(pem)
  } catch {
    // OpenSSL's words about a key file help nobody.
    throw new LsxError('REFUSED', `${file} holds no private key in PEM`, { party: 'self', facts: { file } })
  } finally {
    pem.fill(0)
  }
  return signingKey(privateKey, options)
}

export interface NewSigningKeyFiles {
  readonly keyFile: string
  /** `<directory>/<party>/<key id>.json` */
  readonly publicFile: string
  readonly keyId: string
  readonly algorithm: JwsAlgorithm
}

/**
 * Makes a signing key at `keyFile` (0600), unless there is one, and writes its public half into the key directory. The
 * directory first: a key that nobody can look up must not sign.
 *
 * @throws LsxError REFUSED, party self: files that cannot be read or written
 */
export function createSigningKeyFiles(options: {
  readonly keyFile: string
  readonly directory: string
  readonly party: string
  /** Default EdDSA. */
  readonly algorithm?: JwsAlgorithm | undefined
  /** Unix ms. */
  readonly notBeforeMs?: number
}): NewSigningKeyFiles {
  const { keyFile, directory, party } = options
  checkParty(party)
  const isNew = !existsSync(keyFile)
  const key = isNew
    ? signingKey(newSigningPrivateKey(options.algorithm ?? 'EdDSA'), { party, algorithm: options.algorithm })
    : loadSigningKey(keyFile, { party, algorithm: options.algorithm })
  const { keyId, algorithm } = key
  const publicFile = join(directory, party, `${keyId}.json`)
  if (isNew || !existsSync(publicFile)) {
    createDirectory(join(directory, party), 0o755)
    const { notBeforeMs } = options
    const jwk = publicJwk(key.privateKey, { keyId, algorithm, ...(notBeforeMs === undefined ? {} : { notBeforeMs }) })
    writeFileAtomic(publicFile, `${JSON.stringify(jwk, undefined, 2)}\n`, PUBLIC_MODE)
  }
  if (isNew) createFileExclusive(keyFile, key.privateKey.export({ type: 'pkcs8', format: 'pem' }), SECRET_MODE)
  return { keyFile, publicFile, keyId, algorithm }
}

export function newSigningPrivateKey(algorithm: JwsAlgorithm): KeyObject {
  switch (algorithm) {
    case 'EdDSA':
      return generateKeyPairSync('ed25519').privateKey
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
    case 'RS256':
    case 'PS256':
      return generateKeyPairSync('rsa', { modulusLength: 3_072 }).privateKey
  }
}
