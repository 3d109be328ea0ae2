import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { LsxError } from '../runtime/index.ts'
import type { Envelope } from './envelope.ts'

/*
 * version u8 (2) | salt 16 | counter u64 | ciphertext | tag 16, big endian.
 * AES-256-GCM; key = HKDF-SHA256(store key, salt, "LS-STORE-1"); nonce = 4 zero bytes | counter; the record's place is
 * the associated data.
 */
const SEALED_VERSION = 2
const SALT_BYTES = 16
const COUNTER_OFFSET = 1 + SALT_BYTES
const HEADER_BYTES = COUNTER_OFFSET + 8
const TAG_BYTES = 16
const NONCE_BYTES = 12
const CIPHER = 'aes-256-gcm'
const SUBKEY_INFO = 'LS-STORE-1'
const KEY_ID_INFO = 'LS-STORE-KEY-ID-1'

export const STORE_KEY_BYTES = 32
/** Then a new salt: far below any bound on records under one key, and the counter stays a safe integer. */
const RECORDS_PER_SALT = 2 ** 32
/** One salt is added at each start of the process; a year of daily restarts stays in the cache. */
const CACHED_SUBKEYS = 512

/**
 * Seals records with AES-256-GCM under a key that lives outside the store. Whoever has the files alone can neither read
 * a value nor change one unnoticed, but sees table names, keys and lengths, and can put back an older record of the
 * same key. `newSalt` gives 16 random bytes, asked for once at the start: a salt used twice would use nonces twice.
 *
 * @throws LsxError INTERNAL when the key does not have 32 bytes
 */
export function sealedEnvelope(storeKey: Buffer, newSalt: () => Buffer = () => randomBytes(SALT_BYTES)): Envelope {
  return new SealedEnvelope(storeKey, newSalt)
}

class SealedEnvelope implements Envelope {
  readonly name: string
  readonly #storeKey: KeyObject
  readonly #newSalt: () => Buffer
  readonly #subkeys = new LRUCache<string, Buffer>({ max: CACHED_SUBKEYS })
  readonly #nonce = Buffer.alloc(NONCE_BYTES)
  #salt: Buffer
  #sealingKey: Buffer
  #counter = 0

  constructor(storeKey: Buffer, newSalt: () => Buffer) {
    if (storeKey.length !== STORE_KEY_BYTES) {
      throw new LsxError('INTERNAL', `a store key has ${STORE_KEY_BYTES} bytes`, { facts: { bytes: storeKey.length } })
    }
    this.#storeKey = createSecretKey(storeKey)
    this.#newSalt = newSalt
    this.#salt = this.#takeSalt()
    this.#sealingKey = this.#subkey(this.#salt)
    const keyId = Buffer.from(hkdfSync('sha256', this.#storeKey, '', KEY_ID_INFO, 8))
    this.name = `sealed ${keyId.toString('hex')}`
  }

  enclose(place: Buffer, body: Buffer): Buffer {
    if (this.#counter >= RECORDS_PER_SALT) {
      this.#salt = this.#takeSalt()
      this.#sealingKey = this.#subkey(this.#salt)
      this.#counter = 0
    }
    const bytes = Buffer.allocUnsafe(HEADER_BYTES + body.length + TAG_BYTES)
    bytes[0] = SEALED_VERSION
    this.#salt.copy(bytes, 1)
    writeCounter(bytes, this.#counter++)
    const cipher = createCipheriv(CIPHER, this.#sealingKey, this.#nonceOf(bytes), { authTagLength: TAG_BYTES })
    cipher.setAAD(place)
    cipher.update(body).copy(bytes, HEADER_BYTES)
    cipher.final()
    cipher.getAuthTag().copy(bytes, bytes.length - TAG_BYTES)
    return bytes
  }

  open(place: Buffer, bytes: Buffer): Buffer | undefined {
    if (bytes.length < HEADER_BYTES + TAG_BYTES || bytes[0] !== SEALED_VERSION) return undefined
    const subkey = this.#subkey(bytes.subarray(1, COUNTER_OFFSET))
    const decipher = createDecipheriv(CIPHER, subkey, this.#nonceOf(bytes), { authTagLength: TAG_BYTES })
    decipher.setAAD(place)
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
    const body = decipher.update(bytes.subarray(HEADER_BYTES, bytes.length - TAG_BYTES))
    try {
      decipher.final()
    } catch {
      return undefined
    }
    return body
  }

  #takeSalt(): Buffer {
    const salt = this.#newSalt()
    if (salt.length === SALT_BYTES) return Buffer.from(salt)
    throw new LsxError('INTERNAL', `a salt has ${SALT_BYTES} bytes`, { facts: { bytes: salt.length } })
  }

  #subkey(salt: Buffer): Buffer {
    const name = salt.toString('latin1')
    let subkey = this.#subkeys.get(name)
    if (subkey === undefined) {
      subkey = Buffer.from(hkdfSync('sha256', this.#storeKey, salt, SUBKEY_INFO, STORE_KEY_BYTES))
      this.#subkeys.set(name, subkey)
    }
    return subkey
  }

  #nonceOf(record: Buffer): Buffer {
    record.copy(this.#nonce, NONCE_BYTES - 8, COUNTER_OFFSET, HEADER_BYTES)
    return this.#nonce
  }
}

function writeCounter(record: Buffer, counter: number): void {
  record.writeUInt32BE(Math.floor(counter / 2 ** 32), COUNTER_OFFSET)
  record.writeUInt32BE(counter % 2 ** 32, COUNTER_OFFSET + 4)
}
