import { randomBytes } from 'node:crypto'
import { LsChannel, newChannelCounters, XchangeChannel } from '../../lib/channel/index.ts'
import { ResponseStatus } from '../../lib/frames/index.ts'
import { DurableRequests } from '../../lib/ls/durable-requests.ts'
import { IlpDesk } from '../../lib/ls/ilp-desk.ts'
import { RequestLane } from '../../lib/ls/request-lane.ts'
import { type Asker, RoutedRequest } from '../../lib/ls/routed-request.ts'
import { silentLogger, systemClock } from '../../lib/runtime/index.ts'
import { kxParties } from '../../test/support/kx-parties.ts'
import { MemoryJournal } from '../../test/support/memory-journal.ts'
import { memorySockets } from './memory-socket.ts'

const MAX_FRAME_BYTES = 65_536
const TIMES = { kxTimeoutMs: 5_000, kxRetryMs: 30_000 }
const BANK = '044'
const TIMEOUT_MS = 30_000
/** Never worn, never overdue: nothing but requests is measured. */
const TERMS = {
  echoIntervalMs: 3_600_000,
  echoTimeoutMs: 3_600_000,
  rekeyAfterMs: 7_000_000,
  rekeyAfterFrames: 16_000_000,
  rekeyAfterBytes: Number.MAX_SAFE_INTEGER,
}

const NO_ILP = { methods: [], version: 4 as const, expiryMs: 30_000, clockSkewMs: 5_000 }

export interface Lane {
  /** Submits so many requests; resolves when each is settled. */
  settle(requests: number): Promise<void>
}

/**
 * LS's lane of one bank over a real channel whose both ends are in this process, joined in memory: submit, seal, open,
 * answer, seal, open, settle. Without sockets, TLS and the once-only table.
 */
export function openLane(payload: Buffer): Lane {
  const clock = systemClock
  const parties = kxParties()
  const [lsSocket, xchangeSocket] = memorySockets()
  const lane = new RequestLane(
    {
      early: 'queue',
      bounds: { maxQueued: 10_000, maxQueuedBytes: 67_108_864 },
      maxFrameBytes: MAX_FRAME_BYTES,
      durable: new DurableRequests(new MemoryJournal(), clock),
      ilp: new IlpDesk({ ilp: NO_ILP, banks: [] }, { clock, refusals: { record: () => {} } }),
      clock,
      logger: silentLogger,
    },
    { code: 'KEY_PENDING', message: 'no key yet', mayWait: true },
  )
  const failed = (error: Error | undefined) => {
    throw error ?? new Error('the channel was closed')
  }
  const common = { counters: newChannelCounters(), clock, logger: silentLogger, maxFrameBytes: MAX_FRAME_BYTES }
  const xchange = new XchangeChannel({
    ...common,
    config: {
      role: 'xchange',
      bankCode: parties.xchange.bankCode,
      times: TIMES,
      newKx: (epoch) => ({ ...parties.xchange, epoch }),
    },
    socket: xchangeSocket,
    onRequest: (request, respond) =>
      respond({ id: request.id, status: ResponseStatus.ok, payload: request.payload, meta: undefined }),
    onResolve: (keys) => ({ states: keys.map(() => 'never' as const), rememberedForMs: 0 }),
    observer: {
      onKxCompleted: () => {},
      onKxFailed: failed,
      onPeerDraining: () => {},
      onClosed: (_cause, error) => failed(error),
      acceptGeneration: () => {},
    },
    maxBufferedBytes: 16_777_216,
    defer: setImmediate,
  })
  const ls: LsChannel<RoutedRequest> = new LsChannel<RoutedRequest>({
    ...common,
    config: {
      role: 'ls',
      bankCode: parties.ls.bankCode,
      times: TIMES,
      newKx: (epoch) => ({
        ...parties.ls,
        terms: { ...parties.ls.terms, ...TERMS },
        epoch,
        sessionId: randomBytes(16),
      }),
    },
    socket: lsSocket,
    owner: lane,
    observer: {
      onKxCompleted: () => lane.attach(ls),
      onKxFailed: failed,
      onPeerDraining: () => {},
      onClosed: (_cause, error) => failed(error),
    },
    defer: setImmediate,
  })
  xchange.open()
  ls.open()
  let sequence = 0
  return {
    settle: (requests) =>
      new Promise((resolve, reject) => {
        let left = requests
        const asker: Asker = {
          closed: false,
          reply: ({ outcome }) => {
            if (outcome !== 'answered') reject(new Error(`a request ended as ${outcome}`))
            else if (--left === 0) resolve()
          },
        }
        for (let index = 0; index < requests; index++) {
          const askerId = ++sequence
          lane.submit(
            new RoutedRequest({
              asker,
              askerId,
              bankCode: BANK,
              key: `key-${askerId}`,
              method: 'echo',
              payload,
              acceptedAtMs: clock.monotonicMs(),
              timeoutMs: TIMEOUT_MS,
            }),
          )
        }
      }),
  }
}
