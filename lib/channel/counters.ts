import type { DropCause } from './state.ts'

/** Plain counters of one bank's channel, kept over all its sockets. The hot path only adds. */
export interface ChannelCounters {
  connects: number
  drops: Record<DropCause, number>
  kxStarted: number
  kxCompleted: number
  kxFailed: number
  /** The last durations, newest last, at most KX_DURATIONS_KEPT. */
  kxDurationsMs: number[]
  echoesAnswered: number
  echoesMissed: number
  lastRoundTripMs: number | undefined
  minRoundTripMs: number | undefined
  maxRoundTripMs: number | undefined
  /** Exponentially weighted, 1/8 for the newest. */
  smoothedRoundTripMs: number | undefined
  framesSent: number
  framesReceived: number
  bytesSent: number
  bytesReceived: number
  requests: number
  responses: number
  lateResponses: number
  unknownResponses: number
  /** Messages of the peer whose signature does not verify, or is missing where one is required. */
  invalidSignatures: number
}

const KX_DURATIONS_KEPT = 100

export function newChannelCounters(): ChannelCounters {
  return {
    connects: 0,
    drops: { dns: 0, tcp: 0, tls: 0, upgrade: 0, kx: 0, echo: 0, 'peer-close': 0, local: 0, policy: 0 },
    kxStarted: 0,
    kxCompleted: 0,
    kxFailed: 0,
    kxDurationsMs: [],
    echoesAnswered: 0,
    echoesMissed: 0,
    lastRoundTripMs: undefined,
    minRoundTripMs: undefined,
    maxRoundTripMs: undefined,
    smoothedRoundTripMs: undefined,
    framesSent: 0,
    framesReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    requests: 0,
    responses: 0,
    lateResponses: 0,
    unknownResponses: 0,
    invalidSignatures: 0,
  }
}

export function countKxDuration(counters: ChannelCounters, durationMs: number): void {
  counters.kxCompleted++
  counters.kxDurationsMs.push(durationMs)
  if (counters.kxDurationsMs.length > KX_DURATIONS_KEPT) counters.kxDurationsMs.shift()
}

export function countRoundTrip(counters: ChannelCounters, roundTripMs: number): void {
  counters.echoesAnswered++
  counters.lastRoundTripMs = roundTripMs
  counters.minRoundTripMs = Math.min(counters.minRoundTripMs ?? roundTripMs, roundTripMs)
  counters.maxRoundTripMs = Math.max(counters.maxRoundTripMs ?? roundTripMs, roundTripMs)
  const smoothed = counters.smoothedRoundTripMs
  counters.smoothedRoundTripMs = smoothed === undefined ? roundTripMs : smoothed + (roundTripMs - smoothed) / 8
}
