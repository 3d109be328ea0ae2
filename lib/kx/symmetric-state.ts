import { createHash, createHmac } from 'node:crypto'
import { CipherState } from './cipher-state.ts'

/** HASHLEN of SHA-256. */
const HASH_BYTES = 32

/** SymmetricState of Noise section 5.2, for SHA-256. */
export class SymmetricState {
  readonly #cipher = new CipherState()
  #chainingKey: Buffer
  #hash: Buffer

  /** `protocolName`: at most 32 ASCII bytes, so that it is padded with zeros and not hashed. */
  constructor(protocolName: string) {
    this.#hash = Buffer.alloc(HASH_BYTES)
    this.#hash.write(protocolName, 'ascii')
    this.#chainingKey = Buffer.from(this.#hash)
  }

  /** Zeroes `inputKeyMaterial`. */
  mixKey(inputKeyMaterial: Buffer): void {
    const [chainingKey, key] = hkdf(this.#chainingKey, inputKeyMaterial)
    inputKeyMaterial.fill(0)
    this.#chainingKey.fill(0)
    this.#chainingKey = chainingKey
    this.#cipher.initializeKey(key)
  }

  mixHash(data: Buffer): void {
    this.#hash = createHash('sha256').update(this.#hash).update(data).digest()
  }

  handshakeHash(): Buffer {
    return Buffer.from(this.#hash)
  }

  hasKey(): boolean {
    return this.#cipher.hasKey()
  }

  encryptAndHash(plaintext: Buffer): Buffer {
    const ciphertext = this.#cipher.encryptWithAd(this.#hash, plaintext)
    this.mixHash(ciphertext)
    return ciphertext
  }

  /** Throws KX_FAILED when the ciphertext does not verify. */
  decryptAndHash(ciphertext: Buffer): Buffer {
    const plaintext = this.#cipher.decryptWithAd(this.#hash, ciphertext)
    this.mixHash(ciphertext)
    return plaintext
  }

  /** Split(): the keys of the two directions, the initiator's first. Raw keys, as frames carry their own counters. */
  split(): [Buffer, Buffer] {
    return hkdf(this.#chainingKey, Buffer.alloc(0))
  }

  destroy(): void {
    this.#chainingKey.fill(0)
    this.#cipher.destroy()
  }
}

/** HKDF of Noise section 4.3 with two outputs. */
function hkdf(chainingKey: Buffer, inputKeyMaterial: Buffer): [Buffer, Buffer] {
  const temporaryKey = hmac(chainingKey, inputKeyMaterial)
  const first = hmac(temporaryKey, Buffer.of(1))
  const secondInput = Buffer.concat([first, Buffer.of(2)])
  const second = hmac(temporaryKey, secondInput)
  secondInput.fill(0)
  temporaryKey.fill(0)
  return [first, second]
}

function hmac(key: Buffer, data: Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest()
}
