import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import {
  createSigningKeyFiles,
  type JwsAlgorithm,
  type KeyFinder,
  parsePublicJwk,
  publicJwk,
  type SigningKey,
  signingKey,
  type VerificationKey,
} from '../../lib/message/jws/index.ts'
import type { Overrides } from './daemon-types.ts'

/** PKCS #8 before the 32 bytes of an Ed25519 seed (RFC 8410 section 7). */
const ED25519_PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

/** The Ed25519 private key of a seed of 32 bytes: the same each time. */
export function ed25519FromSeed(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([ED25519_PKCS8, seed]), format: 'der', type: 'pkcs8' })
}

/** A key of a party that is the same in each run, by the name of its seed. */
export function seededKey(party: string, seedName = party): SigningKey {
  return signingKey(ed25519FromSeed(createHash('sha256').update(seedName).digest()), { party })
}

export function seededKeyOf(party: string, privateKey: KeyObject): SigningKey {
  return signingKey(privateKey, { party })
}

export function newKey(party: string, algorithm: JwsAlgorithm = 'EdDSA'): SigningKey {
  const { privateKey } =
    algorithm === 'EdDSA'
      ? generateKeyPairSync('ed25519')
      : algorithm === 'ES256'
        ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
        : generateKeyPairSync('rsa', { modulusLength: 2_048 })
  return signingKey(privateKey, { party, algorithm })
}

/** As a verifier reads it from its directory. */
export function verificationKey(
  key: SigningKey,
  times: { notBeforeMs?: number; notAfterMs?: number } = {},
): VerificationKey {
  const jwk = publicJwk(key.privateKey, { keyId: key.keyId, algorithm: key.algorithm, ...times })
  return parsePublicJwk(Buffer.from(JSON.stringify(jwk)), { party: key.party, keyId: key.keyId, file: 'test' })
}

/** A key directory in memory. */
export function keysOf(...keys: readonly VerificationKey[]): KeyFinder {
  return { find: (party, keyId) => keys.find((key) => key.party === party && key.keyId === keyId) }
}

/** Key files of LS and banks below `dir`, and the `signing` section of each one's configuration. */
export function signingFiles(
  dir: string,
  banks: readonly string[],
  options: Overrides = {},
): (party: string) => Overrides {
  const directory = join(dir, 'keys')
  const keyFileOf = (party: string) => join(dir, `${party}-jws.key`)
  for (const party of ['ls', ...banks]) createSigningKeyFiles({ keyFile: keyFileOf(party), directory, party })
  return (party) => ({ signing: { keyFile: keyFileOf(party), directory, directoryPollMs: 100, ...options } })
}
