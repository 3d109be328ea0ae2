import { describeError, type Logger } from '../runtime/index.ts'
import type { Store } from './store.ts'
import type { VerifyReport } from './table.ts'

/** Checks all records at a daemon's start and says what is damaged. A damaged record is never served; others are. */
export async function verifyStore(store: Store, logger: Logger, signal: AbortSignal): Promise<VerifyReport> {
  const report = await store.verify(signal)
  for (const error of report.errors)
    logger.error({ error: describeError(error) }, `the store is damaged: ${error.message}`)
  if (report.damaged > 0)
    logger.error(
      { path: store.path, damaged: report.damaged, records: report.records },
      'restore the store from a copy if its records matter',
    )
  return report
}
