import { createCipheriv, createDecipheriv } from 'node:crypto'
import { TAG_BYTES } from '../frames/index.ts'

const ALGORITHM = 'aes-256-gcm'
const NONCE_BYTES = 12
/** Without this, node takes tags of four bytes. */
const TAG_OPTIONS = { authTagLength: TAG_BYTES } as const

/** Noise section 12.3 and our frames alike: 4 zero bytes, then the counter as u64 big endian. */
function nonceOf(counter: number): Buffer {
  const nonce = Buffer.allocUnsafe(NONCE_BYTES)
  nonce.writeUInt32BE(0, 0)
  nonce.writeUInt32BE(Math.floor(counter / 0x1_0000_0000), 4)
  nonce.writeUInt32BE(counter >>> 0, 8)
  return nonce
}

/** Writes ciphertext then tag, 16 bytes more than `plaintext`, into `target`. `counter` must be unique for `key`. */
export function sealInto(
  target: Buffer,
  offset: number,
  key: Buffer,
  counter: number,
  associatedData: Buffer,
  plaintext: Buffer,
): void {
  const cipher = createCipheriv(ALGORITHM, key, nonceOf(counter), TAG_OPTIONS)
  cipher.setAAD(associatedData)
  target.set(cipher.update(plaintext), offset)
  cipher.final()
  target.set(cipher.getAuthTag(), offset + plaintext.length)
}

/** The plaintext of `sealed` (ciphertext then tag), or undefined when it does not verify. */
export function openSealed(key: Buffer, counter: number, associatedData: Buffer, sealed: Buffer): Buffer | undefined {
  const tagStart = sealed.length - TAG_BYTES
  if (tagStart < 0) return undefined
  const decipher = createDecipheriv(ALGORITHM, key, nonceOf(counter), TAG_OPTIONS)
  decipher.setAAD(associatedData)
  decipher.setAuthTag(sealed.subarray(tagStart))
  // update() hands out plaintext before final() has checked the tag: nothing leaves here until it has.
  const plaintext = decipher.update(sealed.subarray(0, tagStart))
  try {
    decipher.final()
  } catch {
    plaintext.fill(0)
    return undefined
  }
  return plaintext
}
