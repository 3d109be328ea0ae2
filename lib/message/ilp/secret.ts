import { randomBytes } from 'node:crypto'
import { createFileExclusive, readSecretFile, SECRET_MODE } from '../../certs/index.ts'
import { LsxError } from '../../runtime/index.ts'

const MIN_BYTES = 16
const MAX_BYTES = 1_024
const NEW_SECRET_BYTES = 32

/** The secret from which fulfilments are made. Who has it can fulfil: it is never logged and never leaves this object. */
export class IlpSecret {
  readonly #hmacKey: Buffer

  /** @param secret its bytes, as Mojaloop's components get them as text */
  constructor(secret: Buffer) {
    if (secret.length < MIN_BYTES || secret.length > MAX_BYTES) {
      throw new LsxError('REFUSED', `an ILP secret has ${MIN_BYTES} to ${MAX_BYTES} bytes`, { party: 'self' })
    }
    // Mojaloop's components take the base64 text of the secret for the key, not its bytes.
    this.#hmacKey = Buffer.from(secret.toString('base64'), 'latin1')
  }

  /** Calls `use` with the HMAC key. */
  withKey<T>(use: (hmacKey: Buffer) => T): T {
    return use(this.#hmacKey)
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
