import { armFailpoint, type Logger } from '../lib/runtime/index.ts'

/** LSX_FAILPOINT makes a daemon kill itself at a named step. Loud, because nobody wants that outside of a test. */
export function armFailpointOf(spec: string | undefined, logger: Logger): void {
  if (spec === undefined || spec === '') return
  armFailpoint(spec)
  logger.warn({ failpoint: spec }, 'LSX_FAILPOINT is set: this process will kill itself there; for crash tests only')
}
