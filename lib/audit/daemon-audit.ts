import { randomBytes } from 'node:crypto'
import { PERMISSIVE_LINE, PERMISSIVE_LINE_MS, type SecurityMode, type Weakness } from '../config/index.ts'
import { type Clock, type Logger, RepeatedLine, type Service } from '../runtime/index.ts'
import { EMPTIED_STORE_LINE, type Store } from '../store/index.ts'
import { storeAnchor } from './anchor.ts'
import { AuditLog } from './audit-log.ts'
import type { AuditLogConfig, AuditLogOptions, AuditSink } from './audit-options.ts'

export interface DaemonAuditOptions
  extends Pick<AuditLogOptions, 'party' | 'signer' | 'startFacts' | 'clock' | 'logger'> {
  /** Without `dir` the log lies beside the store. */
  readonly config: Omit<AuditLogConfig, 'dir'> & { readonly dir?: string | undefined }
  readonly storeDir: string
  readonly store: Pick<Store, 'table'>
}

/** The audit log of a daemon, which remembers its last checkpoint in the daemon's store. */
export function daemonAuditLog({ config, storeDir, store, ...options }: DaemonAuditOptions): AuditLog {
  return new AuditLog({
    ...options,
    config: { ...config, dir: config.dir ?? `${storeDir}.audit` },
    newChainId: () => randomBytes(16).toString('hex'),
    anchor: storeAnchor(store, options.logger),
  })
}

/** Loud for as long as it lasts: nobody may forget that the rules are off. None in strict mode. */
export function permissiveAlarm(options: {
  readonly mode: SecurityMode
  readonly weaknesses: readonly Weakness[]
  readonly audit: AuditSink
  readonly clock: Clock
  readonly logger: Logger
}): readonly Service[] {
  const { mode, weaknesses, audit, clock, logger } = options
  if (mode === 'strict') return []
  audit.record({ event: 'mode-permissive', facts: { weaknesses } })
  const say = () => logger.error({ audit: true, weaknesses }, PERMISSIVE_LINE)
  return [new RepeatedLine({ clock, intervalMs: PERMISSIVE_LINE_MS, say })]
}

/** With the store goes what was remembered: of LS generation, quarantines and requests, of an xchange which keys it executed. */
export function noteEmptiedStore(storeDir: string, { audit, logger }: { audit: AuditSink; logger: Logger }): void {
  logger.warn({ audit: true, storeDir }, EMPTIED_STORE_LINE)
  audit.record({ event: 'store-emptied', facts: { storeDir } })
}
