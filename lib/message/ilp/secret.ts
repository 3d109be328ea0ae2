import { hash, randomBytes } from 'node:crypto'
import { createFileExclusive, readSecretFile, SECRET_MODE } from '../../certs/index.ts'
import { LsxError } from '../../runtime/index.ts'

const MIN_BYTES = 16
const MAX_BYTES = 1_024
const NEW_SECRET_BYTES = 32

/** SHA-256's, which HMAC pads its key to: RFC 2104, section 2. */
const BLOCK_BYTES = 64

/** The secret from which fulfilments are made. Who has it can fulfil: it is never logged and never leaves this object. */
export class IlpSecret {
  /** The padded key, as the inner and the outer hash begin with it. */
  readonly #inner: Buffer
  readonly #outer: Buffer

  /** @param secret its bytes, as Mojaloop's components get them as text */
  constructor(secret: Buffer) {
    if (secret.length < MIN_BYTES || secret.length > MAX_BYTES) {
      throw new LsxError('REFUSED', `an ILP secret has ${MIN_BYTES} to ${MAX_BYTES} bytes`, { party: 'self' })
    }
    // Mojaloop's components take the base64 text of the secret for the key, not its bytes.
    const key = Buffer.from(secret.toString('base64'), 'latin1')
    const block = Buffer.alloc(BLOCK_BYTES)
    const digest = key.length > BLOCK_BYTES ? hash('sha256', key, 'buffer') : key
    digest.copy(block)
    this.#inner = Buffer.from(block.map((byte) => byte ^ 0x36))
    this.#outer = Buffer.from(block.map((byte) => byte ^ 0x5c))
    for (const secretBytes of [key, block, digest]) secretBytes.fill(0)
  }

  /** HMAC-SHA256 (RFC 2104) of an ASCII text: two plain hashes take a third of the time of an HMAC object. */
  hmac(text: string): Buffer {
    const inner = hash('sha256', Buffer.concat([this.#inner, Buffer.from(text, 'latin1')]), 'buffer')
    return hash('sha256', Buffer.concat([this.#outer, inner]), 'buffer')
  }

  toJSON(): string {
    return '[secret]'
  }
}

/**
 * Reads a secret of 16 to 1,024 bytes from a file that only its owner can read; one newline at the end does not count.
 *
 * @throws LsxError REFUSED, party self
 */
export function loadIlpSecret(file: string): IlpSecret {
  const content = readSecretFile(file)
  const secret = content.at(-1) === 0x0a ? content.subarray(0, -1) : content
  try {
    return new IlpSecret(secret)
  } catch (cause) {
    throw new LsxError('REFUSED', `${file}: ${(cause as Error).message}`, { party: 'self', facts: { file }, cause })
  }
}

/** Makes a secret of 43 characters in a new file. Throws REFUSED where the file is there already. */
export function createIlpSecretFile(file: string): void {
  createFileExclusive(file, `${randomBytes(NEW_SECRET_BYTES).toString('base64url')}\n`, SECRET_MODE)
}
