export { actorText, adminSocketActor, type OperatorClaim, signalActor } from './actor.ts'
export { storeAnchor, validateAnchor } from './anchor.ts'
export { AuditLog } from './audit-log.ts'
export {
  type AuditHealth,
  type AuditLogConfig,
  type AuditLogOptions,
  type AuditSink,
  noAudit,
} from './audit-options.ts'
export { type AuditSigner, type Checkpoint, openCheckpoint, signCheckpoint } from './checkpoint.ts'
export { changedPaths, configDigest } from './config-change.ts'
export { type DaemonAuditOptions, daemonAuditLog, noteEmptiedStore, permissiveAlarm } from './daemon-audit.ts'
export { AUDIT_EVENTS, type AuditEvent } from './events.ts'
export { type AuditFile, listAuditFiles } from './files.ts'
export { readLines } from './read.ts'
export { type AuditActor, type AuditEntry, type AuditRecord, readRecord } from './record.ts'
export type { Anchor } from './recovery.ts'
export { refusalEntry } from './refusal.ts'
export { type ChainReport, ChainVerifier, type Finding, type FindingKind } from './verify.ts'
