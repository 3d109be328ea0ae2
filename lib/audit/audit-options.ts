import type { Clock, Logger } from '../runtime/index.ts'
import type { AuditSigner } from './checkpoint.ts'
import type { AuditEvent } from './events.ts'
import type { openForAppend } from './files.ts'
import type { AuditEntry } from './record.ts'
import type { Anchor } from './recovery.ts'

/** Where records go; the smallest interface of those who record. */
export interface AuditSink {
  record(entry: AuditEntry<AuditEvent>): number | undefined
  /** Left out where there is no log on disk. */
  readonly health?: AuditHealth
}

/** Of a bench or a tool that keeps no log. */
export const noAudit: AuditSink = { record: () => undefined }

export interface AuditLogConfig {
  readonly dir: string
  /** Records between two signed checkpoints. */
  readonly checkpointEvery: number
  /** No record stays unsigned for longer than this. */
  readonly checkpointAfterMs: number
  /** A file that has reached this is followed by the next. */
  readonly rotateBytes: number
  /** Records that may wait for a slow or full disk; more are lost, and counted in the log. */
  readonly maxBuffered: number
}

export interface AuditLogOptions {
  readonly config: AuditLogConfig
  /** `ls`, or `xchange <bank code>`. */
  readonly party: string
  /** The daemon's identity, as it is at the moment. */
  readonly signer: () => AuditSigner
  /** What the `started` record says. */
  readonly startFacts: Readonly<Record<string, unknown>>
  readonly newChainId: () => string
  /** The last checkpoint as this daemon remembers it elsewhere. */
  readonly anchor?: { read(): Anchor | undefined; write(anchor: Anchor): void }
  readonly clock: Clock
  readonly logger: Logger
  /** For tests of a disk that is full: opens a file whose writes fail. */
  readonly openFile?: typeof openForAppend
}

/** As operators see it. */
export interface AuditHealth {
  readonly state: 'ok' | 'failing'
  readonly problem: string | undefined
  readonly dir: string
  readonly file: string
  /** Whose signature the checkpoints carry. */
  readonly pin: string
  readonly chain: string
  readonly seq: number
  readonly hash: string
  readonly signedThrough: number
  readonly syncedThrough: number
  readonly buffered: number
  /** Since the start. */
  readonly lost: number
}
