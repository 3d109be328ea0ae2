import { existsSync } from 'node:fs'
import type { KeyRing } from '../keys/index.ts'
import { describeError, type Logger } from '../runtime/index.ts'
import { sealedEnvelope } from './sealed-envelope.ts'
import { openStore, type StoreOptions, type TransactionalStore } from './store.ts'
import { loadStoreKeys, storeHoldsData } from './store-key.ts'

export interface DaemonStoreOptions extends Omit<StoreOptions, 'envelope' | 'onStall'> {
  /** Of the store's keys; the first one is made for a new store. */
  readonly keyRing: KeyRing
  readonly logger: Logger
  /** The store has stopped committing, and the log says so: the process must end at once. */
  readonly onStalled: () => void
}

export interface DaemonStore {
  readonly store: TransactionalStore
  /** The store is new and its key is not. */
  readonly wasEmptied: boolean
}

/** Opens the sealed store of a daemon, which holds its lock already. Throws as `loadStoreKeys` and `openStore` do. */
export function openDaemonStore({ keyRing, logger, onStalled, ...options }: DaemonStoreOptions): DaemonStore {
  const storeIsNew = !storeHoldsData(options.path)
  const wasEmptied = storeIsNew && existsSync(keyRing.file)
  const store = openStore({
    ...options,
    envelope: sealedEnvelope(loadStoreKeys(keyRing, { storeIsNew })),
    onStall: (error) => {
      logger.fatal(
        { error: describeError(error) },
        'the store has stopped committing; ending, so that a fresh process recovers',
      )
      onStalled()
    },
  })
  return { store, wasEmptied }
}
