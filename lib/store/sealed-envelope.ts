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
export function sealedEnvelope(
  storeKeys: Buffer | readonly Buffer[],
  newSalt: () => Buffer = () => randomBytes(SALT_BYTES),
): SealedEnvelope {
  return new SealedEnvelope(Buffer.isBuffer(storeKeys) ? [storeKeys] : storeKeys, newSalt)
}

/** Names a store key without telling it. */
export function storeKeyId(storeKey: Buffer): string {
  return Buffer.from(hkdfSync('sha256', storeKey, '', KEY_ID_INFO, 8)).toString('hex')
}

/** Of their envelopes, in the same order. */
export function storeKeyNames(storeKeys: readonly Buffer[]): readonly string[] {
  return storeKeys.map((storeKey) => `sealed ${storeKeyId(storeKey)}`)
}

interface StoreKey {
  readonly name: string
  readonly key: KeyObject
}

interface Subkey {
  readonly name: string
  readonly key: KeyObject
}

/** Seals with the first of its keys and opens with any: a record does not say which, so that it stays as short as it was. */
export class SealedEnvelope implements Envelope {
  readonly #newSalt: () => Buffer
  /** By salt, of keys that opened a record of it, or that seal with it. */
  readonly #subkeys = new LRUCache<string, Subkey>({ max: CACHED_SUBKEYS })
  readonly #nonce = Buffer.alloc(NONCE_BYTES)
  #keys: readonly [StoreKey, ...StoreKey[]]
  #salt: Buffer
  #sealingKey: KeyObject
  #counter = 0

  constructor(storeKeys: readonly Buffer[], newSalt: () => Buffer) {
    this.#newSalt = newSalt
    this.#keys = namedKeys(storeKeys)
    this.#salt = this.#takeSalt()
    this.#sealingKey = this.#newSealingKey()
  }

  get name(): string {
    return this.#keys[0].name
  }

  get opens(): readonly string[] {
    return this.#keys.map(({ name }) => name)
  }

  /** The first seals from here on. Whoever calls this has noted in the store that its records may be of that key. */
  takeKeys(storeKeys: readonly Buffer[]): void {
    this.#keys = namedKeys(storeKeys)
    this.#subkeys.clear()
    this.#newRun()
  }

  isCurrent(place: Buffer, bytes: Buffer): boolean {
    if (bytes.length < HEADER_BYTES + TAG_BYTES || bytes[0] !== SEALED_VERSION) return false
    const salt = bytes.toString('latin1', 1, COUNTER_OFFSET)
    if (!this.#subkeys.has(salt)) this.open(place, bytes)
    return this.#subkeys.get(salt)?.name === this.name
  }

  enclose(place: Buffer, body: Buffer): Buffer {
    if (this.#counter >= RECORDS_PER_SALT) {
      this.#newRun()
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
    const salt = bytes.toString('latin1', 1, COUNTER_OFFSET)
    const known = this.#subkeys.get(salt)
    if (known !== undefined) return this.#openWith(known.key, place, bytes)
    for (const storeKey of this.#keys) {
      const subkey = subkeyOf(storeKey, bytes.subarray(1, COUNTER_OFFSET))
      const body = this.#openWith(subkey, place, bytes)
      if (body === undefined) continue
      this.#subkeys.set(salt, { name: storeKey.name, key: subkey })
      return body
    }
    return undefined
  }

  #openWith(subkey: KeyObject, place: Buffer, bytes: Buffer): Buffer | undefined {
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

  #newRun(): void {
    this.#salt = this.#takeSalt()
    this.#sealingKey = this.#newSealingKey()
    this.#counter = 0
  }

  #newSealingKey(): KeyObject {
    const key = subkeyOf(this.#keys[0], this.#salt)
    this.#subkeys.set(this.#salt.toString('latin1'), { name: this.name, key })
    return key
  }

  #takeSalt(): Buffer {
    const salt = this.#newSalt()
    if (salt.length === SALT_BYTES) return Buffer.from(salt)
    throw new LsxError('INTERNAL', `a salt has ${SALT_BYTES} bytes`, { facts: { bytes: salt.length } })
  }

  #nonceOf(record: Buffer): Buffer {
    record.copy(this.#nonce, NONCE_BYTES - 8, COUNTER_OFFSET, HEADER_BYTES)
    return this.#nonce
  }
}

/** A key object: with the key in plain bytes a cipher takes almost twice as long to make. */
function subkeyOf({ key }: StoreKey, salt: Buffer): KeyObject {
  const bytes = Buffer.from(hkdfSync('sha256', key, salt, SUBKEY_INFO, STORE_KEY_BYTES))
  const subkey = createSecretKey(bytes)
  bytes.fill(0)
  return subkey
}

function namedKeys(storeKeys: readonly Buffer[]): readonly [StoreKey, ...StoreKey[]] {
  const [first, ...others] = storeKeys.map((storeKey): StoreKey => {
    if (storeKey.length !== STORE_KEY_BYTES) {
      throw new LsxError('INTERNAL', `a store key has ${STORE_KEY_BYTES} bytes`, { facts: { bytes: storeKey.length } })
    }
    return { name: `sealed ${storeKeyId(storeKey)}`, key: createSecretKey(storeKey) }
  })
  if (first === undefined) throw new LsxError('INTERNAL', 'a sealed store needs a store key')
  return [first, ...others]
}

function writeCounter(record: Buffer, counter: number): void {
  record.writeUInt32BE(Math.floor(counter / 2 ** 32), COUNTER_OFFSET)
  record.writeUInt32BE(counter % 2 ** 32, COUNTER_OFFSET + 4)
}
