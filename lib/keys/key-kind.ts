import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { identityPublicKey, writePinFile } from '../certs/index.ts'
import { LsxError } from '../runtime/index.ts'

export type KeyKindName = 'identity' | 'jws' | 'store'

/** Moments of a rotation, Unix ms. */
export interface KeyTimes {
  readonly activeFromMs: number
  readonly retiredAtMs: number
}

/** What differs between the kinds of keys that are rotated. Contents are those of the files. */
export interface KeyKind {
  readonly name: KeyKindName
  newKey(): Buffer
  /** Names the key without telling it. @throws LsxError REFUSED, party self: not such a key */
  keyIdOf(content: Buffer, file: string): string
  /** Public, for the other side; undefined for a key that nobody else hears of. */
  publicOf(content: Buffer, file: string): string | undefined
  /** The next key is there: publishes what others need before it is used. */
  prepared?(content: Buffer, file: string, times: Pick<KeyTimes, 'activeFromMs'>): void
  /** The key in `file` is the active one now. May be called again after a crash. */
  activated?(content: Buffer, file: string): void
  /** The key is no longer used, and what it did goes on to count. */
  retired?(content: Buffer, file: string, times: Pick<KeyTimes, 'retiredAtMs'>): void
}

/** A party's Ed25519 identity, with its pin beside it. */
export const identityKind: KeyKind = {
  name: 'identity',
  newKey: () => Buffer.from(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })),
  keyIdOf: (content, file) =>
    pinOf(content, file)
      .slice('ed25519:'.length, 'ed25519:'.length + 12)
      .replace(/[+/]/g, '-'),
  publicOf: pinOf,
  prepared: (content, file) => void writePinFile(file, parse(content, file)),
  activated: (content, file) => void writePinFile(file, parse(content, file)),
  // What it signed in the audit log is verified with it for years.
  retired: (content, file) => void writePinFile(file, parse(content, file)),
}

function pinOf(content: Buffer, file: string): string {
  return `ed25519:${identityPublicKey(parse(content, file)).toString('base64')}`
}

function parse(content: Buffer, file: string) {
  try {
    const key = createPrivateKey(content)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // OpenSSL's words about a key file help nobody; the message below does.
  }
  throw new LsxError('REFUSED', `${file} holds no Ed25519 private key in PEM`, { party: 'self', facts: { file } })
}
