import { TAG_BYTES } from '../frames/index.ts'
import { LsxError } from '../runtime/index.ts'
import { openSealed, sealInto } from './aes-gcm.ts'

/**
 * CipherState of Noise section 5.1, for AESGCM. It serves the handshake only; sessions use SealingKey and OpeningKey.
 */
export class CipherState {
  #key: Buffer | undefined
  #counter = 0

  /** Takes the buffer over: it is zeroed when the key is replaced or destroyed. */
  initializeKey(key: Buffer): void {
    this.#key?.fill(0)
    this.#key = key
    this.#counter = 0
  }

  hasKey(): boolean {
    return this.#key !== undefined
  }

  encryptWithAd(associatedData: Buffer, plaintext: Buffer): Buffer {
    if (this.#key === undefined) return plaintext
    const ciphertext = Buffer.allocUnsafe(plaintext.length + TAG_BYTES)
    sealInto(ciphertext, 0, this.#key, this.#counter++, associatedData, plaintext)
    return ciphertext
  }

  /** Throws KX_FAILED when the ciphertext does not verify. */
  decryptWithAd(associatedData: Buffer, ciphertext: Buffer): Buffer {
    if (this.#key === undefined) return ciphertext
    const plaintext = openSealed(this.#key, this.#counter, associatedData, ciphertext)
    if (plaintext === undefined) {
      throw new LsxError(
        'KX_FAILED',
        'a handshake message does not verify: it was changed on the way, or the two ends differ in bank code, session id, generation or TLS channel binding (does a proxy end TLS in between?)',
      )
    }
    this.#counter++
    return plaintext
  }

  destroy(): void {
    this.#key?.fill(0)
    this.#key = undefined
  }
}
