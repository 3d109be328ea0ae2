export type { Envelope } from './envelope.ts'
export { openStore, type Store, type StoreOptions } from './store.ts'
export type { Entry, KeyRange, ReadRange, Table, VerifyReport } from './table.ts'
export { verifyStore } from './verify-store.ts'
