import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { LsxError } from '../runtime/index.ts'
import {
  createFileExclusive,
  PUBLIC_MODE,
  readPublicFile,
  readSecretFile,
  SECRET_MODE,
  writeFileAtomic,
} from './files.ts'

/** Ed25519 public keys are 32 bytes (RFC 8032 section 5.1.5). */
const PUBLIC_KEY_BYTES = 32
const PIN_PREFIX = 'ed25519:'
const PIN = /^ed25519:[A-Za-z0-9+/]{43}=$/

/** Where an identity lies, and the pin that the other side puts in its configuration. */
export interface IdentityFiles {
  readonly keyFile: string
  readonly pinFile: string
  /** `ed25519:<base64 of the raw public key>` */
  readonly pin: string
}

/**
 * Makes an Ed25519 identity: the private key at `path` (PKCS #8 PEM, 0600) and its pin beside it, `.pub` in place of `.key`.
 *
 * @throws LsxError REFUSED, party self: a file is there already
 */
export function createIdentityFile(path: string): IdentityFiles {
  const pinFile = pinFileOf(path)
  if (existsSync(pinFile) && !existsSync(path)) {
    throw new LsxError('REFUSED', `${pinFile} is there without its key; move it away if that identity is given up`, {
      party: 'self',
      facts: { file: pinFile },
    })
  }
  const { privateKey } = generateKeyPairSync('ed25519')
  createFileExclusive(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), SECRET_MODE)
  return writePinFile(path, privateKey)
}

/** Writes the pin file that belongs to the key at `path`. */
export function writePinFile(path: string, key: KeyObject): IdentityFiles {
  const pin = formatIdentityPin(identityPublicKey(key))
  const pinFile = pinFileOf(path)
  writeFileAtomic(pinFile, `${pin}\n`, PUBLIC_MODE)
  return { keyFile: path, pinFile, pin }
}

/** `identity.key` → `identity.pub`; a name without `.key` gets `.pub` at its end. */
export function pinFileOf(keyFile: string): string {
  return `${keyFile.endsWith('.key') ? keyFile.slice(0, -'.key'.length) : keyFile}.pub`
}

/**
 * Loads an Ed25519 private key.
 *
 * @throws LsxError REFUSED, party self: the file's permissions, or not such a key
 */
export function loadIdentityKey(path: string): KeyObject {
  const pem = readSecretFile(path)
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // OpenSSL's words about a key file help nobody; the message below does.
  } finally {
    pem.fill(0)
  }
  throw new LsxError('REFUSED', `${path} holds no Ed25519 private key in PEM; make one with: lsctl keys new`, {
    party: 'self',
    facts: { file: path },
  })
}

/** Raw public key, 32 bytes, of an Ed25519 private or public key. */
export function identityPublicKey(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  // The raw key is the tail of its SubjectPublicKeyInfo (RFC 8410 section 4).
  return Buffer.from(publicKey.export({ type: 'spki', format: 'der' }).subarray(-PUBLIC_KEY_BYTES))
}

export function formatIdentityPin(publicKey: Buffer): string {
  return `${PIN_PREFIX}${publicKey.toString('base64')}`
}

/**
 * The 32 raw bytes of a pin, given as `ed25519:<base64>` or as the path of a file that holds that one line. The text is
 * checked, not the point: whoever pins it also refuses small-order keys.
 *
 * @throws LsxError IDENTITY_DENIED, party self: malformed; REFUSED, party self: the file's permissions
 */
export function readIdentityPin(textOrPath: string): Buffer {
  if (textOrPath.startsWith(PIN_PREFIX)) return parsePin(textOrPath, 'the identity pin')
  return parsePin(readPublicFile(textOrPath).toString('latin1').trim(), textOrPath)
}

function parsePin(text: string, source: string): Buffer {
  const publicKey = Buffer.from(text.slice(PIN_PREFIX.length), 'base64')
  // Node's base64 is lenient; one key must have one spelling.
  if (PIN.test(text) && publicKey.length === PUBLIC_KEY_BYTES && formatIdentityPin(publicKey) === text) return publicKey
  throw new LsxError('IDENTITY_DENIED', `${source} is not of the form ed25519:<base64 of 32 bytes>`, {
    party: 'self',
    facts: { source },
  })
}
