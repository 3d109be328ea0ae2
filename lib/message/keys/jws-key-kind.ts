import { createPrivateKey, type KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createDirectory, PUBLIC_MODE, readPublicFile, writeFileAtomic } from '../../certs/index.ts'
import type { KeyKind } from '../../keys/index.ts'
import { LsxError } from '../../runtime/index.ts'
import {
  defaultKeyId,
  type JwsAlgorithm,
  newSigningPrivateKey,
  parsePublicJwk,
  publicJwk,
  signingKey,
} from '../jws/index.ts'

export interface JwsKeyPlaces {
  readonly party: string
  /** `<party>/<key id>.json`: the public keys, also of those that do not sign any more. */
  readonly directory: string
  readonly algorithm: JwsAlgorithm | undefined
}

/**
 * A party's JWS signing key. The directory gets the next public key before it signs, and the last moment of the old one
 * when it signs no more: what it signed until then can be verified for ever.
 */
export function jwsKeyKind({ party, directory, algorithm }: JwsKeyPlaces): KeyKind {
  const publish = (content: Buffer, file: string, times: { notBeforeMs?: number; notAfterMs?: number }): void => {
    const key = parse(content, file)
    const keyId = defaultKeyId(key)
    const publicFile = join(directory, party, `${keyId}.json`)
    const before = existsSync(publicFile)
      ? parsePublicJwk(readPublicFile(publicFile), { party, keyId, file: publicFile })
      : undefined
    const { notBeforeMs = before?.notBeforeMs } = times
    const notAfterMs = earlier(before?.notAfterMs, times.notAfterMs)
    const used = signingKey(key, { party, algorithm })
    const jwk = publicJwk(key, {
      keyId,
      algorithm: used.algorithm,
      ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
      ...(notAfterMs === undefined ? {} : { notAfterMs }),
    })
    createDirectory(join(directory, party), 0o755)
    writeFileAtomic(publicFile, `${JSON.stringify(jwk, undefined, 2)}\n`, PUBLIC_MODE)
  }
  return {
    name: 'jws',
    newKey: () => Buffer.from(newSigningPrivateKey(algorithm ?? 'EdDSA').export({ type: 'pkcs8', format: 'pem' })),
    keyIdOf: (content, file) => defaultKeyId(parse(content, file)),
    publicOf: (content, file) => join(directory, party, `${defaultKeyId(parse(content, file))}.json`),
    // A clock of a peer may be behind ours: the key is good a little earlier than it is used.
    prepared: (content, file, { activeFromMs }) => publish(content, file, { notBeforeMs: activeFromMs - CLOCK_MS }),
    activated: (content, file) => publish(content, file, {}),
    retired: (content, file, { retiredAtMs }) => publish(content, file, { notAfterMs: retiredAtMs + CLOCK_MS }),
  }
}

const CLOCK_MS = 300_000

/** An end that somebody has set, of a key that was stolen for one, is never moved further away. */
function earlier(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other
  return Math.min(one, other)
}

function parse(content: Buffer, file: string): KeyObject {
  try {
    return createPrivateKey(content)
  } catch {
    throw new LsxError('REFUSED', `${file} holds no private key in PEM`, { party: 'self', facts: { file } })
  }
}
