import { describeError, type Logger, LsxError } from '../runtime/index.ts'
import type { Store, Table } from '../store/index.ts'
import type { Anchor } from './recovery.ts'

const KEY = 'last-checkpoint'

/** The last checkpoint, kept in the daemon's sealed store: to cut the log unseen, somebody must change both. */
export function storeAnchor(
  store: Pick<Store, 'table'>,
  logger: Logger,
): { read(): Anchor | undefined; write(anchor: Anchor): void } {
  const table: Table<Anchor> = store.table('audit', { validate: validateAnchor })
  return {
    read: () => {
      try {
        return table.get(KEY)
      } catch (error) {
        logger.error({ audit: true, error: describeError(error) }, 'what was remembered of the audit log is damaged')
        return undefined
      }
    },
    write: (anchor) => {
      table.put(KEY, anchor).catch((error: unknown) => {
        logger.error({ error: describeError(error) }, 'the head of the audit log could not be remembered in the store')
      })
    },
  }
}

export function validateAnchor(value: unknown): Anchor {
  const anchor = value as Partial<Anchor> | null
  if (typeof anchor?.chain !== 'string' || typeof anchor.seq !== 'number' || typeof anchor.hash !== 'string')
    throw new LsxError('INTERNAL', 'a remembered head of the audit log of another form')
  return anchor as Anchor
}
