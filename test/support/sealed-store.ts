import { type Database, open } from 'lmdb'
import { openStore, type StoreOptions, sealedEnvelope, type TransactionalStore } from '../../lib/store/index.ts'

const STORE_KEY = Buffer.alloc(32, 5)

/** A sealed store for tests: no floor, so that a nearly full disk does not decide the result. */
export function openSealedStore(path: string, options: Partial<StoreOptions> = {}): TransactionalStore {
  return openStore({ path, minFreeBytes: 0, envelope: sealedEnvelope(STORE_KEY), ...options })
}

/** What a fault of the disk or of a program could do to a table: bytes changed behind the store's back. */
export async function tamper(
  path: string,
  table: string,
  change: (raw: Database<Buffer, Buffer>) => Promise<unknown>,
): Promise<void> {
  const root = open<Buffer, Buffer>({ path, noSubdir: false, encoding: 'binary' })
  await change(root.openDB<Buffer, Buffer>(table, { encoding: 'binary', keyEncoding: 'binary' }))
  await root.close()
}

/** Flips one bit of a record. */
export async function damage(path: string, table: string, key: string): Promise<void> {
  await tamper(path, table, async (raw) => {
    const bytes = raw.getBinary(Buffer.from(key)) ?? Buffer.alloc(32)
    bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1
    await raw.put(Buffer.from(key), bytes)
  })
}
