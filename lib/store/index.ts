export type { Change, WritePurpose } from './change.ts'
export { type DaemonStore, type DaemonStoreOptions, openDaemonStore } from './daemon-store.ts'
export type { Envelope } from './envelope.ts'
export { isPosition, Positions, positionAt, timeOf } from './positions.ts'
export { Pruner, type PrunerOptions } from './pruner.ts'
export { SealedEnvelope, sealedEnvelope, storeKeyId } from './sealed-envelope.ts'
export { SizeBound } from './size-bound.ts'
export { openStore, type Store, type StoreOptions, type TableOptions, type TransactionalStore } from './store.ts'
export {
  EMPTIED_STORE_LINE,
  loadStoreKey,
  loadStoreKeys,
  storeHoldsData,
  storeKeyFileOf,
  storeKeyKind,
} from './store-key.ts'
export { lockStore, type StoreLock } from './store-lock.ts'
export { claimStore } from './store-owner.ts'
export type { Entry, KeyRange, ReadRange, Table, TransactionalTable, VerifyReport } from './table.ts'
export { TimeIndex, type TimeIndexEntry } from './time-index.ts'
export { verifyStore } from './verify-store.ts'
