import { LsxError } from '../runtime/index.ts'

/** What LS keeps of a bank's key exchange. Public keys only: private and session keys are never stored. */
export interface KxRecord {
  readonly bankCode: string
  /** Lower-case hex, empty before the first kx. */
  readonly sessionId: string
  readonly state: string
  /** 0 disconnected, 1 connected. */
  readonly status: 0 | 1
  /** X25519 public keys, hex. */
  readonly lsStatic: string
  readonly xchangeStatic: string
  /** The pinned Ed25519 identity that the xchange proved, hex. */
  readonly xchangeIdentity: string
  readonly epoch: number
  /** Unix ms of the last completed kx, 0 before the first. */
  readonly lastKxAtMs: number
  readonly kxStarted: number
  readonly kxCompleted: number
  readonly kxFailed: number
}

const TEXTS = ['bankCode', 'sessionId', 'state', 'lsStatic', 'xchangeStatic', 'xchangeIdentity'] as const
const NUMBERS = ['status', 'epoch', 'lastKxAtMs', 'kxStarted', 'kxCompleted', 'kxFailed'] as const

export function validateKxRecord(value: unknown): KxRecord {
  const record = value as Record<string, unknown>
  const sound =
    typeof value === 'object' &&
    value !== null &&
    TEXTS.every((name) => typeof record[name] === 'string') &&
    NUMBERS.every((name) => typeof record[name] === 'number')
  if (!sound) throw new LsxError('INTERNAL', 'a kx record of another form')
  return value as KxRecord
}
