import { randomBytes } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createFileExclusive, readSecretFile, SECRET_MODE } from '../certs/index.ts'
import type { KeyKind, KeyRing } from '../keys/index.ts'
import { LsxError } from '../runtime/index.ts'
import { STORE_KEY_BYTES, storeKeyId } from './sealed-envelope.ts'

/** A daemon says this where the key of a store is there and the store itself is empty. */
export const EMPTIED_STORE_LINE =
  'the store is empty, and its key is there already: if this is not the first start, somebody has removed the store; put its backup back'

/** Beside the store, unless the configuration names another place. */
export function storeKeyFileOf(config: {
  readonly storeDir: string
  readonly storeKeyFile?: string | undefined
}): string {
  return config.storeKeyFile ?? `${config.storeDir}.key`
}

/** Has anything ever been stored in this directory? */
export function storeHoldsData(storePath: string): boolean {
  const file = join(storePath, 'data.mdb')
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0
}

/**
 * The key that seals a store: 32 bytes as base64 in a file that only its owner may read. Made when there is none and
 * the store is new, and never otherwise: with another key what the store holds is lost.
 *
 * @throws LsxError REFUSED, party self: missing for a store with data, open to others, not a store key, cannot be made
 */
export function loadStoreKey(path: string, options: { storeIsNew: boolean }): Buffer {
  if (!existsSync(path)) {
    if (!options.storeIsNew) {
      throw refused(
        path,
        `the store key ${path} is missing, and the store holds data: put the key's backup back, or move the store away and begin with an empty one`,
      )
    }
    createFileExclusive(path, `${randomBytes(STORE_KEY_BYTES).toString('base64')}\n`, SECRET_MODE)
  }
  return parseStoreKey(readSecretFile(path), path)
}

function parseStoreKey(content: Buffer, path: string): Buffer {
  const text = content.toString('latin1').trimEnd()
  const key = Buffer.from(text, 'base64')
  // Node's decoder skips what is not base64: only text that comes out again is the key as it was written.
  if (key.length !== STORE_KEY_BYTES || key.toString('base64') !== text) {
    throw refused(path, `${path} is not a store key (${STORE_KEY_BYTES} bytes as base64): put the key's backup back`)
  }
  return key
}

/** A store key as it is rotated: records of the old one are opened with it until they are sealed anew. */
export const storeKeyKind: KeyKind = {
  name: 'store',
  newKey: () => Buffer.from(`${randomBytes(STORE_KEY_BYTES).toString('base64')}\n`),
  keyIdOf: (content, file) => storeKeyId(parseStoreKey(content, file)),
  publicOf: () => undefined,
}

/**
 * The active store key first, then those that records may still be sealed with.
 *
 * @throws LsxError REFUSED, party self: as `loadStoreKey`
 */
export function loadStoreKeys(ring: KeyRing, options: { storeIsNew: boolean }): readonly [Buffer, ...Buffer[]] {
  const active = loadStoreKey(ring.file, options)
  const retired = ring.look().filter(({ state }) => state === 'retired')
  return [active, ...retired.map(({ file }) => parseStoreKey(readSecretFile(file), file))]
}

function refused(path: string, message: string): LsxError {
  return new LsxError('REFUSED', message, { party: 'self', facts: { file: path } })
}
