import type { BankStatus } from '../../lib/ls/index.ts'

/** A bank as lsd tells of it, 12 minutes connected. */
export function bankStatus(changes: Partial<BankStatus> = {}): BankStatus {
  return {
    bankCode: '044',
    name: 'First Bank',
    dial: 'ls',
    status: 1,
    state: 'connected',
    stateMs: 725_000,
    reason: undefined,
    quarantine: undefined,
    sessionId: '0123456789abcdef0123456789abcdef',
    epoch: 3,
    peerAddress: '127.0.0.1',
    certificateNotAfter: '2027-01-01T00:00:00.000Z',
    tokenNotAfter: undefined,
    nextDialInMs: undefined,
    lastFailure: undefined,
    inFlight: 2,
    queued: 1,
    outcomes: { answered: 7, refused: 1, 'not-sent': 0, 'in-doubt': 0 },
    keys: {
      lsStatic: 'aa'.repeat(32),
      xchangeStatic: 'bb'.repeat(32),
      xchangeIdentity: 'cc'.repeat(32),
      lastKxAt: '2026-06-01T10:00:00.000Z',
    },
    counters: {
      connects: 1,
      drops: { dns: 0, tcp: 0, tls: 0, upgrade: 0, kx: 0, echo: 2, 'peer-close': 0, local: 0, policy: 0 },
      kxStarted: 3,
      kxCompleted: 3,
      kxFailed: 0,
      kxMedianMs: 1.9,
      echoesAnswered: 70,
      echoesMissed: 1,
      lastRoundTripMs: 0.8,
      minRoundTripMs: 0.5,
      maxRoundTripMs: 2,
      smoothedRoundTripMs: 0.842,
      framesSent: 80,
      framesReceived: 79,
      bytesSent: 8_000,
      bytesReceived: 7_900,
      requests: 9,
      responses: 8,
      lateResponses: 0,
      unknownResponses: 0,
      invalidSignatures: 0,
    },
    uptime: undefined,
    ...changes,
  }
}

export const DAEMON_STATUS = { version: '0.1.0', pid: 4_711, phase: 'ready', upMs: 7_500_000, banks: 3, connected: 1 }
