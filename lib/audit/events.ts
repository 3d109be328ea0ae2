interface EventEntry {
  /** One line for docs/OPERATIONS.md. */
  readonly summary: string
  /** On disk, not only written, before the next checkpoint: what nobody may be able to undo by pulling the plug. */
  readonly isSynced: boolean
  /** A peer can bring it about as often as it likes: beyond a rate it is counted and not written. */
  readonly isThinned: boolean
  /** A checkpoint follows at once. */
  readonly isSigned: boolean
}

const synced = (summary: string): EventEntry => ({ summary, isSynced: true, isThinned: false, isSigned: false })
const thinned = (summary: string): EventEntry => ({ summary, isSynced: false, isThinned: true, isSigned: false })

const signed = (summary: string): EventEntry => ({ summary, isSynced: true, isThinned: false, isSigned: true })

/** Every event of the audit log. Names are stable: programs select by them. */
export const AUDIT_EVENTS = {
  'file-began': synced('A file begins: whose log it is, its chain, and the head of the file before it.'),
  rotated: synced('A file ends; the record names the next one.'),
  checkpoint: synced('All records so far are signed.'),
  started: synced('The daemon started.'),
  stopped: synced('The daemon stopped in order.'),
  recovered: synced('The run before ended without a stop; says what was cut off the end of the log.'),
  'chain-broken': synced('The log on disk does not verify, or lacks records that were signed; says which.'),
  'file-changed': synced('Somebody else changed, moved or removed the file while it was being written.'),
  'records-lost': synced('The disk was full or slow: so many records could not be kept.'),
  'records-thinned': thinned('Events beyond the rate that is written one by one, counted.'),
  refusal: thinned('A peer was refused.'),
  'kx-completed': thinned('A key exchange was completed.'),
  'kx-failed': thinned('A key exchange failed.'),
  'channel-ended': thinned('A channel ended by a rule of ours.'),
  evidence: thinned('A bank, proven by its key, did what counts for a quarantine rule.'),
  quarantined: signed('A bank was put in quarantine, by an operator or by a rule.'),
  resumed: signed('A bank was let back.'),
  command: synced('An operator gave a command.'),
  'command-result': synced('What came of a command.'),
  'configuration-reloaded': synced(
    'The configuration was read again: digests before and after, and the options changed.',
  ),
  'configuration-refused': synced('The configuration was read again and has a mistake: nothing changed.'),
  'key-rotated': signed('A key was replaced.'),
  'mode-permissive': synced('The daemon runs with weaker rules than strict; says which.'),
  'store-emptied': synced('The store is empty, and its key is not new.'),
} as const satisfies Record<string, EventEntry>

export type AuditEvent = keyof typeof AUDIT_EVENTS
