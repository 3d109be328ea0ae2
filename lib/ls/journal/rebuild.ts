import { setImmediate as nextTurn } from 'node:timers/promises'
import type { TimeIndexEntry } from '../../store/index.ts'
import type { JournalDamage } from './damage.ts'
import { type JournalTables, SETTLED } from './journal-tables.ts'
import type { OpenRequests } from './open-requests.ts'

const PAGE = 512

interface JournalParts {
  readonly tables: JournalTables
  readonly open: OpenRequests
  readonly damage: JournalDamage
}

/**
 * Fills the index of open requests from the order of acceptance: what has no outcome is open. Of the settled ones, which
 * are most, only the presence is looked up. All that was open is `sent` from now on. Gives the number of settled ones.
 */
export async function rebuildOpenRequests(parts: JournalParts, signal: AbortSignal): Promise<number> {
  const { tables, damage } = parts
  let settled = 0
  let after: TimeIndexEntry | undefined
  for (;;) {
    signal.throwIfAborted()
    const entries = tables.order.oldest(PAGE, { after })
    after = entries.at(-1)
    if (after === undefined) return settled
    for (const entry of entries) {
      const { key } = entry
      const note = damage.readable(() => tables.order.note(entry))
      if (!tables.requests.has(key)) damage.noteLost(key, 'request')
      else if (tables.outcomes.has(key)) settled++
      else if (note === SETTLED) damage.noteLost(key, 'outcome')
      else damage.readable(() => reopen(parts, key))
    }
    await nextTurn()
  }
}

function reopen({ tables, open, damage }: JournalParts, key: string): void {
  const stored = tables.requests.get(key)
  if (stored === undefined) return
  const request = open.add({ key, ...stored })
  request.state = 'sent'
  const progress = damage.readable(() => tables.progress.get(key))
  if (progress?.sequence !== stored.sequence) return
  request.hasProgress = true
  request.sentAtMs = progress.sentAtMs
  request.bootId = progress.bootId
  if (progress.inDoubt) open.markInDoubt(request, progress.code)
}

/** Reads every record of the journal once, and notes what is damaged. */
export async function verifyRecords({ tables, damage }: JournalParts, signal: AbortSignal): Promise<void> {
  for (const table of tables.all) {
    const report = await table.verify(signal)
    for (const error of report.errors) damage.note(error)
    damage.noteUnlisted(report.damaged - report.errors.length)
  }
}
