import { LsxError } from '../runtime/index.ts'
import type { Store } from './store.ts'

const KEY = 'owner'

function validateOwner(value: unknown): string {
  if (typeof value === 'string' && value.length <= 64) return value
  throw new TypeError('not the owner of a store')
}

/**
 * A store belongs to the party that used it first: `ls`, or `xchange 044`. Another one's records would be taken for its
 * own. @throws LsxError REFUSED (party self)
 */
export async function claimStore(store: Store, owner: string): Promise<void> {
  const table = store.table('owner', { validate: validateOwner })
  const claimed = table.get(KEY)
  if (claimed === owner) return
  if (claimed === undefined) return table.put(KEY, owner)
  const message = `the store ${store.path} belongs to ${claimed}, and this is ${owner}: give it a storeDir of its own`
  throw new LsxError('REFUSED', message, { party: 'self', facts: { claimed, owner } })
}
