import type { AuditHealth } from '../audit/index.ts'
import type { BankStatus, Transition, UptimeFigures } from '../ls/index.ts'
import { LsxError } from '../runtime/index.ts'

/** What lsd says of itself. */
export interface DaemonStatus {
  readonly version: string
  readonly pid: number
  readonly phase: string
  readonly upMs: number
  /** How many are configured, and how many of them are connected. */
  readonly banks: number
  readonly connected: number
  /** What somebody has to see to, such as a certificate that ends. */
  readonly warnings?: readonly string[]
  readonly mode?: string
  readonly audit?: Pick<AuditHealth, 'state' | 'problem'>
}

export interface StatusAnswer {
  readonly daemon: DaemonStatus
  readonly banks: readonly BankStatus[]
}

/** Without figures for a bank that has no history yet. */
export type BankUptime = Pick<BankStatus, 'bankCode' | 'name' | 'state'> & Partial<UptimeFigures>

export interface UptimeAnswer {
  readonly banks: readonly BankUptime[]
  /** Oldest first. */
  readonly transitions: readonly Transition[]
}

/** A transfer whose proof was missing or wrong. */
export interface IlpFailureLine {
  /** ISO 8601. */
  readonly at: string
  readonly bankCode: string
  readonly method: string
  readonly idempotencyKey: string
  readonly type: string
}

export interface IlpFailuresAnswer {
  /** Newest first. */
  readonly failures: readonly IlpFailureLine[]
  /** With those beyond the limit. */
  readonly total: number
  /** By type. */
  readonly countsSinceStart: Readonly<Record<string, number>>
}

/** A bank for which a command was carried out, or not. */
export interface BankResult {
  readonly bankCode: string
  readonly ok: boolean
  readonly code?: string
  readonly message?: string
}

/** The daemon is ours and trusted, but may be of another version: INTERNAL when its answer lacks one of the lists. */
export function readAnswer<T extends object>(answer: unknown, lists: readonly (keyof T & string)[]): T {
  const map = answer as Record<string, unknown> | null
  if (typeof map === 'object' && map !== null && lists.every((name) => Array.isArray(map[name]))) return map as T
  throw new LsxError('INTERNAL', 'lsd answered in a form that this lsctl does not know: are they of one version?')
}
