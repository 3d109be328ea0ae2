import type { ChannelCounters } from '../channel/index.ts'
import type { Clock } from '../runtime/index.ts'
import type { BankLink } from './bank-link.ts'
import type { UptimeLedger } from './uptime/index.ts'

/** One bank as operators and programs see it. */
export interface BankStatus {
  readonly bankCode: string
  readonly name: string
  readonly dial: 'ls' | 'xchange'
  /** 0 disconnected, 1 connected. */
  readonly status: 0 | 1
  readonly state: string
  /** How long in this state. */
  readonly stateMs: number
  readonly reason: string | undefined
  readonly quarantine: { readonly reason: string; readonly by: string | undefined; readonly since: string } | undefined
  readonly sessionId: string | undefined
  readonly epoch: number | undefined
  readonly peerAddress: string | undefined
  readonly certificateNotAfter: string | undefined
  /** Until when the bank's service token of this session holds; undefined where there is none. */
  readonly tokenNotAfter: string | undefined
  readonly nextDialInMs: number | undefined
  readonly lastFailure: { at: string; cause: string; code: string | undefined; message: string } | undefined
  readonly inFlight: number
  readonly queued: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly keys: { lsStatic: string; xchangeStatic: string; xchangeIdentity: string; lastKxAt: string } | undefined
  readonly counters: Omit<ChannelCounters, 'kxDurationsMs'> & { kxMedianMs: number | undefined }
  readonly uptime: ReturnType<UptimeLedger['figures']>
}

export function bankStatus(link: BankLink, uptime: UptimeLedger, clock: Clock): BankStatus {
  const nowMs = clock.monotonicMs()
  const { state, session, lastFailure, peer, kxRecord } = link
  const { kxDurationsMs, ...counters } = link.counters
  return {
    bankCode: link.bank.code,
    name: link.bank.name,
    dial: link.bank.dial,
    status: session === undefined ? 0 : 1,
    state: state.name,
    stateMs: Math.round(nowMs - state.sinceMs),
    reason: state.name === 'quarantined' ? state.reason : undefined,
    quarantine:
      state.name === 'quarantined'
        ? { reason: state.reason, by: state.by, since: new Date(state.quarantinedAtMs).toISOString() }
        : undefined,
    sessionId: session?.sessionId.toString('hex'),
    epoch: session?.epoch,
    peerAddress: peer?.address,
    certificateNotAfter: peer?.certificateNotAfter.toISOString(),
    tokenNotAfter:
      link.peerTokenExpiresAtMs === undefined ? undefined : new Date(link.peerTokenExpiresAtMs).toISOString(),
    nextDialInMs: link.nextDialAtMs === undefined ? undefined : Math.max(0, Math.round(link.nextDialAtMs - nowMs)),
    lastFailure:
      lastFailure === undefined
        ? undefined
        : {
            at: new Date(lastFailure.atMs).toISOString(),
            cause: lastFailure.cause,
            code: lastFailure.code,
            message: lastFailure.message,
          },
    inFlight: link.inFlight,
    queued: link.lane.queued,
    outcomes: link.lane.outcomes,
    keys:
      kxRecord === undefined || kxRecord.lastKxAtMs === 0
        ? undefined
        : {
            lsStatic: kxRecord.lsStatic,
            xchangeStatic: kxRecord.xchangeStatic,
            xchangeIdentity: kxRecord.xchangeIdentity,
            lastKxAt: new Date(kxRecord.lastKxAtMs).toISOString(),
          },
    counters: { ...counters, kxMedianMs: median(kxDurationsMs) },
    uptime: uptime.figures(link.bank.code, clock.nowMs()),
  }
}

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}
