import type { LsxError } from '../runtime/index.ts'
import type { AuditEvent } from './events.ts'
import type { AuditEntry } from './record.ts'

/** A refusal, with all that the log says of it. */
export function refusalEntry(error: LsxError, facts: Readonly<Record<string, unknown>>): AuditEntry<AuditEvent> {
  const { bankCode, ...others } = facts
  return {
    event: 'refusal',
    bankCode: typeof bankCode === 'string' ? bankCode : undefined,
    facts: { ...error.facts, ...others, code: error.code, party: error.party, message: error.message },
  }
}
