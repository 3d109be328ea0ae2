import {
  openStore,
  type StoreOptions,
  type TransactionalStore,
  type TransactionalTable,
} from '../../lib/store/index.ts'

export interface SampleRecord {
  readonly text: string
  readonly amountMinor: number
}

export function validateSample(value: unknown): SampleRecord {
  if (typeof value === 'object' && value !== null && 'text' in value && 'amountMinor' in value) {
    const { text, amountMinor } = value
    if (typeof text === 'string' && typeof amountMinor === 'number') return { text, amountMinor }
  }
  throw new TypeError('not a sample record')
}

/** A store for tests: small floor, so that a nearly full disk does not decide the result. */
export function openSampleStore(path: string, options: Partial<StoreOptions> = {}): TransactionalStore {
  return openStore({ path, minFreeBytes: 0, ...options })
}

export function sampleTable(store: TransactionalStore, name = 'samples'): TransactionalTable<SampleRecord> {
  return store.table(name, { validate: validateSample })
}

export const FLIP_TABLES = ['first', 'second'] as const
export const FLIP_RECORDS = 200

/** The record of one table and index is a function of both, so that a reader knows the right value of every key. */
export function flipRecord(table: string, index: number): { key: string; value: SampleRecord } {
  const key = `${String(index * 7919).padStart(8, '0')}/${index % 10}`
  const length = index % 20 === 0 ? 6_000 : 300 + ((index * 131) % 700)
  return { key, value: { text: `${table}:${key}:`.padEnd(length, String(index)), amountMinor: index * 1_000_003 } }
}
