import type { AuditEntry, AuditEvent, AuditSink } from '../../lib/audit/index.ts'

/** Keeps what was recorded. */
export class MemoryAudit implements AuditSink {
  readonly entries: AuditEntry<AuditEvent>[] = []

  record(entry: AuditEntry<AuditEvent>): number {
    return this.entries.push(entry) - 1
  }

  of(event: AuditEvent): AuditEntry<AuditEvent>[] {
    return this.entries.filter((entry) => entry.event === event)
  }
}
