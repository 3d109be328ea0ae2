import { connect, decodePayload, LsxError } from '../lib/ipc/index.ts'
import { type Clock, silentLogger, systemClock } from '../lib/runtime/index.ts'
import { loadStoreKey, openStore, sealedEnvelope, storeHoldsData } from '../lib/store/index.ts'
import { DurableOnceOnlyTable } from '../lib/xchange/index.ts'
import type { JournalView, OnceOnlyView } from './ledger-check.ts'

/** Questions to the admin socket at once. */
const AT_ONCE = 64

interface ShownRequest {
  readonly record: { readonly state: string; readonly outcome?: string; readonly response?: Uint8Array }
}

/** What the running lsd says of durable requests. Keys that its journal does not know are left out. */
export async function readJournal(adminSocket: string, keys: readonly string[]): Promise<Map<string, JournalView>> {
  const views = new Map<string, JournalView>()
  const left = [...keys]
  const client = await connect(adminSocket)
  const next = async (): Promise<void> => {
    for (let key = left.pop(); key !== undefined; key = left.pop()) {
      try {
        const { record } = (await client.call('request-show', { key })) as ShownRequest
        views.set(key, journalViewOf(record))
      } catch (error) {
        if (!(error instanceof LsxError) || error.code !== 'BAD_REQUEST') throw error
      }
    }
  }
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, next))
  } finally {
    await client.close()
  }
  return views
}

function journalViewOf({ state, outcome, response }: ShownRequest['record']): JournalView {
  const kind = state === 'settled' || state === 'in-doubt' ? state : 'open'
  return { state: kind, outcome, receipt: response === undefined ? undefined : receiptOf(response) }
}

/** What a node's once-only table holds, read from its store when the node has stopped. */
export function readOnceOnlyTable(storeDir: string, keys: readonly string[]): Promise<Map<string, OnceOnlyView>> {
  return withOnceOnlyTable(storeDir, systemClock, (table) => {
    const views = new Map<string, OnceOnlyView>()
    for (const key of keys) {
      const found = table.lookup(key)
      const receipt = found.kind === 'done' ? receiptOf(found.response.payload) : undefined
      views.set(key, { kind: found.kind, receipt })
    }
    return views
  })
}

/**
 * Makes the store of a node that has been in service for `ageMs`. LS takes a new one for one that has lost its memory
 * when a clock that jumps makes a request look older than it.
 */
export async function makeNodeStore(storeDir: string, ageMs: number): Promise<void> {
  const clock = { ...systemClock, nowMs: () => systemClock.nowMs() - ageMs }
  await withOnceOnlyTable(storeDir, clock, () => {})
}

async function withOnceOnlyTable<T>(
  storeDir: string,
  clock: Clock,
  use: (table: DurableOnceOnlyTable) => T,
): Promise<T> {
  const storeKey = loadStoreKey(`${storeDir}.key`, { storeIsNew: !storeHoldsData(storeDir) })
  const store = openStore({ path: storeDir, envelope: sealedEnvelope(storeKey), minFreeBytes: 0 })
  try {
    const table = new DurableOnceOnlyTable({ store, clock, logger: silentLogger })
    await table.start(AbortSignal.timeout(30_000))
    const result = use(table)
    await table.stop()
    return result
  } finally {
    await store.close()
  }
}

function receiptOf(response: Uint8Array): string | undefined {
  const payload = decodePayload(response)
  if (typeof payload !== 'object' || payload === null || !('receipt' in payload)) return undefined
  return String(payload.receipt)
}
