import fc from 'fast-check'
import t from 'tap'
import { type Advanced, advance, nextDeadlineMs } from '../../lib/channel/machine.ts'
import {
  type ChannelEffect,
  type ChannelEvent,
  type ChannelState,
  CloseCode,
  LAST_EPOCH,
} from '../../lib/channel/state.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { MachinePair, type Role, sessionOf } from '../support/channel-machines.ts'
import { kxParties, newKeyPair } from '../support/kx-parties.ts'

type Situation = (pair: MachinePair) => void

const DRAIN: ChannelEvent = { type: 'drain', deadlineMs: 1_000_000 }
const REKEY: ChannelEvent = { type: 'rekey', reason: 'operator' }
const GONE: ChannelEvent = { type: 'peerClosed', closeCode: 1006, reason: '' }
const DAY_MS = 86_400_000
const PARTIES = kxParties()

function newPair(): MachinePair {
  return new MachinePair({ parties: PARTIES })
}

function connectAndBeginKx(pair: MachinePair): void {
  pair.connect().ls.apply(REKEY, pair.now)
}

/** How each side comes to be in each of its situations, from two machines that were just made. */
const SITUATIONS: Record<Role, Record<string, Situation>> = {
  ls: {
    unopened: () => {},
    'INIT_KX-sent': (pair) => {
      pair.ls.apply({ type: 'opened' }, pair.now)
    },
    'FIN_KX-sent': (pair) => {
      pair.ls.apply({ type: 'opened' }, pair.now)
      pair.carry('ls')
      pair.carry('xchange')
    },
    connected: (pair) => pair.connect(),
    'peer-draining': (pair) => {
      pair.connect().xchange.apply(DRAIN, pair.now)
      pair.carryAll()
    },
    'rekey-INIT_KX-sent': connectAndBeginKx,
    'rekey-FIN_KX-sent': (pair) => {
      connectAndBeginKx(pair)
      pair.carry('ls')
      pair.carry('xchange')
    },
    draining: (pair) => {
      pair.connect().ls.apply(DRAIN, pair.now)
    },
    'draining-INIT_KX-sent': (pair) => {
      connectAndBeginKx(pair)
      pair.ls.apply(DRAIN, pair.now)
    },
    closed: (pair) => {
      pair.connect().ls.apply(GONE, pair.now)
    },
  },
  xchange: {
    opened: () => {},
    'INIT_KX-answered': (pair) => {
      pair.ls.apply({ type: 'opened' }, pair.now)
      pair.carry('ls')
    },
    connected: (pair) => pair.connect(),
    'peer-draining': (pair) => {
      pair.connect().ls.apply(DRAIN, pair.now)
      pair.carryAll()
    },
    'rekey-INIT_KX-answered': (pair) => {
      connectAndBeginKx(pair)
      pair.carry('ls')
    },
    'old-session-kept': (pair) => {
      connectAndBeginKx(pair)
      pair.carry('ls')
      pair.carry('xchange')
      pair.carry('ls')
    },
    draining: (pair) => {
      pair.connect().xchange.apply(DRAIN, pair.now)
    },
    closed: (pair) => {
      pair.connect().xchange.apply(GONE, pair.now)
    },
  },
}

/** Every kind of event, good and bad, as it may reach a side in any situation. */
const EVENTS: Record<string, (pair: MachinePair, role: Role) => ChannelEvent> = {
  opened: () => ({ type: 'opened' }),
  'kx-due': (pair, role) => ({ type: 'kxFrame', frame: dueKxFrame(pair, role) }),
  'kx-init': () => ({ type: 'kxFrame', frame: dueKxFrame(newPair(), 'xchange') }),
  'kx-junk': () => ({ type: 'kxFrame', frame: Buffer.from('0101000000000000000000010000', 'hex') }),
  echo: (pair, role) => ({ type: 'echo', body: echoOf(pair, role), epoch: epochOf(pair, role) }),
  'echo-mismatch': (pair, role) => {
    return { type: 'echo', body: { ...echoOf(pair, role), sessionId: Buffer.alloc(16) }, epoch: epochOf(pair, role) }
  },
  'echo-shape': () => ({ type: 'echo', body: { n: -1 }, epoch: 1 }),
  'reply-unasked': (pair, role) => {
    return { type: 'echoReply', body: { ...echoOf(pair, role), n: 4_000_000_000 }, epoch: epochOf(pair, role) }
  },
  'reply-shape': () => ({ type: 'echoReply', body: {}, epoch: 1 }),
  'drain-frame': () => ({ type: 'control', body: { kind: 'drain' } }),
  goodbye: () => ({ type: 'control', body: { kind: 'goodbye' } }),
  window: () => ({ type: 'control', body: { kind: 'window', windowRecords: 0 } }),
  'window-shape': () => ({ type: 'control', body: { kind: 'window', windowRecords: 1.5 } }),
  resolve: () => ({ type: 'control', body: { kind: 'resolve', n: 1, keys: ['a'] } }),
  'resolve-shape': () => ({ type: 'control', body: { kind: 'resolve', n: 1, keys: [7] } }),
  resolved: () => ({ type: 'control', body: { kind: 'resolved', n: 1, states: ['never'], rememberedForMs: 1 } }),
  'resolved-shape': () => ({
    type: 'control',
    body: { kind: 'resolved', n: 1, states: ['never'], rememberedForMs: -1 },
  }),
  'control-unknown': () => ({ type: 'control', body: { kind: 'weather', sky: 'blue' } }),
  'control-empty': () => ({ type: 'control', body: {} }),
  'peer-switched': () => ({ type: 'peerSwitched' }),
  'tick-early': () => ({ type: 'tick' }),
  'tick-late': () => ({ type: 'tick' }),
  rekey: () => REKEY,
  drain: () => DRAIN,
  'drain-overdue': () => ({ type: 'drain', deadlineMs: -1 }),
  'nothing-in-flight': () => ({ type: 'nothingInFlight' }),
  drop: () => ({ type: 'drop', cause: 'local', error: undefined, closeCode: CloseCode.dropped }),
  'drop-policy': () => {
    return { type: 'drop', cause: 'policy', error: new LsxError('QUARANTINED', 'a test'), closeCode: CloseCode.refused }
  },
  'peer-closed': () => GONE,
  'peer-closed-kx': () => ({ type: 'peerClosed', closeCode: CloseCode.kxFailed, reason: 'KX_FAILED' }),
  'socket-failed': () => {
    return { type: 'socketFailed', error: new LsxError('CHANNEL_DOWN', 'a test'), cause: 'peer-close' }
  },
}

/**
 * Where each event leads. S, C and D: securing, connected and draining, perhaps with something to say. A dot: nothing
 * at all changes. A word: closed with that cause.
 */
const TRANSITIONS: Record<Role, string> = {
  ls: `
                    unopened INIT_KX-sent FIN_KX-sent connected peer-draining rekey-INIT_KX-sent rekey-FIN_KX-sent draining draining-INIT_KX-sent closed
  opened            S        .            .           .         .             .                  .                 .        .                     .
  kx-due            policy   S            C           policy    policy        C                  C                 policy   D                     .
  kx-init           policy   kx           kx          policy    policy        C                  kx                policy   D                     .
  kx-junk           policy   kx           kx          policy    policy        C                  kx                policy   D                     .
  echo              policy   policy       policy      C         C             C                  C                 D        D                     .
  echo-mismatch     policy   policy       policy      C         C             C                  C                 D        D                     .
  echo-shape        policy   policy       policy      policy    policy        policy             policy            policy   policy                .
  reply-unasked     policy   policy       policy      C         C             C                  C                 D        D                     .
  reply-shape       policy   policy       policy      policy    policy        policy             policy            policy   policy                .
  drain-frame       policy   policy       policy      C         .             C                  C                 .        .                     .
  goodbye           policy   policy       policy      peer      peer          peer               peer              peer     peer                  .
  window            policy   policy       policy      C         C             C                  C                 D        D                     .
  window-shape      policy   policy       policy      policy    policy        policy             policy            policy   policy                .
  resolve           policy   policy       policy      policy    policy        policy             policy            policy   policy                .
  resolve-shape     policy   policy       policy      policy    policy        policy             policy            policy   policy                .
  resolved          policy   policy       policy      C         C             C                  C                 D        D                     .
  resolved-shape    policy   policy       policy      policy    policy        policy             policy            policy   policy                .
  control-unknown   policy   policy       policy      C         C             C                  C                 D        D                     .
  control-empty     policy   policy       policy      C         C             C                  C                 D        D                     .
  peer-switched     .        .            .           .         .             .                  .                 .        .                     .
  tick-early        .        .            .           C         C             C                  C                 D        D                     .
  tick-late         kx       kx           kx          C         C             kx                 kx                local    kx                    .
  rekey             .        .            .           C         C             .                  .                 .        .                     .
  drain             local    local        local       D         D             D                  D                 D        D                     .
  drain-overdue     local    local        local       D         D             D                  D                 D        D                     .
  nothing-in-flight .        .            .           .         .             .                  .                 local    local                 .
  drop              local    local        local       local     local         local              local             local    local                 .
  drop-policy       policy   policy       policy      policy    policy        policy             policy            policy   policy                .
  peer-closed       kx       kx           kx          peer      peer          peer               peer              peer     peer                  .
  peer-closed-kx    kx       kx           kx          kx        kx            kx                 kx                kx       kx                    .
  socket-failed     peer     peer         peer        peer      peer          peer               peer              peer     peer                  .`,
  xchange: `
                    opened INIT_KX-answered connected peer-draining rekey-INIT_KX-answered old-session-kept draining closed
  opened            .      .                .         .             .                      .                .        .
  kx-due            S      C                C         C             C                      policy           D        .
  kx-init           S      policy           C         C             C                      policy           D        .
  kx-junk           kx     kx               C         C             C                      policy           D        .
  echo              policy policy           C         C             C                      C                D        .
  echo-mismatch     policy policy           C         C             C                      C                D        .
  echo-shape        policy policy           policy    policy        policy                 policy           policy   .
  reply-unasked     policy policy           C         C             C                      C                D        .
  reply-shape       policy policy           policy    policy        policy                 policy           policy   .
  drain-frame       policy policy           C         .             C                      C                D        .
  goodbye           policy policy           peer      peer          peer                   peer             peer     .
  window            policy policy           policy    policy        policy                 policy           policy   .
  window-shape      policy policy           policy    policy        policy                 policy           policy   .
  resolve           policy policy           C         C             C                      C                D        .
  resolve-shape     policy policy           policy    policy        policy                 policy           policy   .
  resolved          policy policy           policy    policy        policy                 policy           policy   .
  resolved-shape    policy policy           policy    policy        policy                 policy           policy   .
  control-unknown   policy policy           C         C             C                      C                D        .
  control-empty     policy policy           C         C             C                      C                D        .
  peer-switched     .      .                .         .             .                      C                .        .
  tick-early        .      .                C         C             C                      C                D        .
  tick-late         kx     kx               C         C             C                      C                local    .
  rekey             .      .                .         .             .                      .                .        .
  drain             local  local            D         D             D                      D                D        .
  drain-overdue     local  local            D         D             D                      D                D        .
  nothing-in-flight .      .                .         .             .                      .                local    .
  drop              local  local            local     local         local                  local            local    .
  drop-policy       policy policy           policy    policy        policy                 policy           policy   .
  peer-closed       kx     kx               peer      peer          peer                   peer             peer     .
  peer-closed-kx    kx     kx               kx        kx            kx                     kx               kx       .
  socket-failed     peer   peer             peer      peer          peer                   peer             peer     .`,
}

/** The kx frame that the peer would send next, made by letting both sides get there; empty where none is due. */
function dueKxFrame(pair: MachinePair, role: Role): Buffer {
  const peer = pair.machine(role === 'ls' ? 'xchange' : 'ls')
  const { state } = peer
  if (role === 'xchange' && (state.name === 'securing' || state.name === 'connected') && state.pendingKx === undefined)
    peer.apply(state.name === 'securing' ? { type: 'opened' } : REKEY, pair.now)
  for (;;) {
    const kx = peer.outbox.find((effect) => effect.type === 'sendKx')
    if (kx?.type === 'sendKx') return kx.frame
    if (!pair.carry(role)) return Buffer.alloc(0)
  }
}

function epochOf(pair: MachinePair, role: Role): number {
  const { state } = pair.machine(role)
  return state.name === 'connected' || state.name === 'draining' ? state.session.epoch : 1
}

function echoOf(pair: MachinePair, role: Role): Record<string, unknown> {
  const { state } = pair.machine(role)
  const isKeyed = state.name === 'connected' || state.name === 'draining'
  return { sessionId: isKeyed ? state.session.sessionId : Buffer.alloc(16), bankCode: '044', n: 0 }
}

/** A situation is made once for all events: `advance` changes no state that it is given. A kx, however, is used up. */
function pairIn(role: Role, situation: string): MachinePair {
  const pair = newPair()
  SITUATIONS[role][situation]?.(pair)
  return pair
}

function code(before: ChannelState, { state, effects }: Advanced): string {
  if (state === before && effects.length === 0) return '.'
  if (state.name === 'closed') return state.cause === 'peer-close' ? 'peer' : state.cause
  return state.name.charAt(0).toUpperCase()
}

/** What must hold of every step, whatever the event was. Returns what does not. */
function breachOf(before: ChannelState, { state, effects }: Advanced): string | undefined {
  const ends = effects.filter(({ type }) => type === 'close' || type === 'terminate')
  const deadlineMs = nextDeadlineMs(state)
  if (before.name === 'closed') return state === before && effects.length === 0 ? undefined : 'a closed channel moved'
  if (state.name !== 'closed') {
    if (ends.length > 0) return 'the socket is ended, the channel is not'
    return deadlineMs === undefined || Number.isNaN(deadlineMs) ? 'it waits without a deadline' : undefined
  }
  if (deadlineMs !== undefined) return 'it is closed and waits'
  if (ends.length !== 1 || ends[0] !== effects.at(-1)) return 'the socket is not ended last and once'
  if (before.name === 'securing') return undefined
  const destroyed = new Set<unknown>()
  for (const effect of effects) {
    if (effect.type === 'destroyKeys' && effect.half === 'both') destroyed.add(effect.session)
  }
  if (!destroyed.has(before.session)) return 'keys live on'
  return before.previous === undefined || destroyed.has(before.previous) ? undefined : 'old keys live on'
}

for (const role of ['ls', 'xchange'] as const) {
  t.test(`${role}: every event in every situation leads where it should`, async (t) => {
    const [header, ...rows] = TRANSITIONS[role].trim().split('\n')
    const situations = (header ?? '').trim().split(/\s+/)
    t.same(situations, Object.keys(SITUATIONS[role]), 'each situation has its column')
    t.same(
      rows.map((row) => row.trim().split(/\s+/)[0]),
      Object.keys(EVENTS),
      'each event has its row',
    )
    const pairs = situations.map((situation) => pairIn(role, situation))
    const breaches: string[] = []
    for (const row of rows) {
      const [event = '', ...expected] = row.trim().split(/\s+/)
      const seen = situations.map((situation, index) => {
        const pair = event.startsWith('kx-') ? pairIn(role, situation) : (pairs[index] ?? newPair())
        const made = EVENTS[event]?.(pair, role) ?? GONE
        const laterMs = event === 'tick-late' ? DAY_MS : 0
        const now = { wallMs: pair.now.wallMs + laterMs, monotonicMs: pair.now.monotonicMs + laterMs }
        const { state, config } = pair.machine(role)
        const advanced = advance(state, made, now, config)
        const breach = breachOf(state, advanced)
        if (breach !== undefined) breaches.push(`${event} in ${situation}: ${breach}`)
        return code(state, advanced)
      })
      t.same(seen, expected, event)
    }
    t.same(breaches, [])
  })
}

/** The type and what is told of an effect, without keys and sessions. */
function told(effects: readonly ChannelEffect[]): string[] {
  return effects.map((effect) => {
    switch (effect.type) {
      case 'sendSealed':
        return effect.frameType === 'control' ? `control ${String(effect.body.kind)}` : effect.frameType
      case 'destroyKeys':
        return `destroy ${effect.half} of epoch ${effect.session.epoch}`
      case 'close':
        return `close ${effect.closeCode} ${effect.reason}`
      case 'kxStarted':
      case 'kxCompleted':
      case 'kxFailed':
        return `${effect.type} ${effect.reason}`
      case 'echoMissed':
        return `echoMissed ${effect.missed}`
      default:
        return effect.type
    }
  })
}

t.test('LS-5 an xchange begins no kx, whatever it is asked and however long it waits', async (t) => {
  const pair = newPair()
  pair.xchange.apply({ type: 'opened' }, pair.now)
  pair.xchange.apply(REKEY, pair.now)
  t.same(pair.xchange.effects, [])
  pair.connect()
  const before = pair.xchange.effects.length
  for (let hour = 0; hour < 3; hour++) {
    pair.later(3_600_000)
    pair.xchange.apply({ type: 'tick' }, pair.now)
    pair.xchange.apply(REKEY, pair.now)
  }
  const said = pair.xchange.effects.slice(before).filter(({ type }) => type === 'sendKx' || type === 'kxStarted')
  t.same(said, [], 'not even when its echoes are lost')
})

t.test(
  'LS-11 an echo goes out every interval, two misses in a row begin a kx, which ends the socket in vain',
  async (t) => {
    const { ls, now } = newPair().connect()
    const heard: string[] = []
    for (let atMs = nextDeadlineMs(ls.state); atMs !== undefined; atMs = nextDeadlineMs(ls.state)) {
      const { effects } = ls.apply({ type: 'tick' }, { wallMs: now.wallMs, monotonicMs: atMs })
      heard.push(`${atMs - now.monotonicMs} ${told(effects).join(', ')}`)
    }
    t.same(heard, [
      '10000 echo',
      '15000 echoMissed 1',
      '20000 echo',
      '25000 echoMissed 2, kxStarted echo, sendKx',
      '30000 kxFailed echo, abandonKx, destroy both of epoch 1, terminate',
    ])
    t.match(ls.state, { name: 'closed', cause: 'echo' })
  },
)

t.test('LS-11 an xchange that hears nothing lets go after four misses, since it cannot begin a kx', async (t) => {
  const { xchange, now } = newPair().connect()
  const heard: string[] = []
  for (let atMs = nextDeadlineMs(xchange.state); atMs !== undefined; atMs = nextDeadlineMs(xchange.state)) {
    const { effects } = xchange.apply({ type: 'tick' }, { wallMs: now.wallMs, monotonicMs: atMs })
    heard.push(`${atMs - now.monotonicMs} ${told(effects).join(', ')}`)
  }
  t.same(heard, [
    '10000 echo',
    '15000 echoMissed 1',
    '20000 echo',
    '25000 echoMissed 2',
    '30000 echo',
    '35000 echoMissed 3',
    '40000 echo',
    '45000 echoMissed 4, destroy both of epoch 1, close 4408 CHANNEL_DOWN',
  ])
})

t.test('LS-11 two replies in a row that name another session, or bank, begin a kx', async (t) => {
  for (const wrong of [{ sessionId: Buffer.alloc(16) }, { bankCode: '058' }]) {
    const { ls, now } = newPair().connect()
    const { sessionId } = sessionOf(ls.state)
    const seen: string[] = []
    for (const [index, monotonicMs] of [15_000, 25_000].entries()) {
      const later = { ...now, monotonicMs }
      ls.apply({ type: 'tick' }, later)
      const body = { sessionId, bankCode: '044', n: index + 1, ...wrong }
      seen.push(...told(ls.apply({ type: 'echoReply', body, epoch: 1 }, later).effects))
    }
    t.same(seen, ['sessionMixup', 'echoMissed 1', 'sessionMixup', 'echoMissed 2', 'kxStarted echo', 'sendKx'])
  }
})

t.test('LS-11 one miss is forgiven by the next answer, and a late answer counts for nothing', async (t) => {
  const { ls, now } = newPair().connect()
  const { sessionId } = sessionOf(ls.state)
  const at = (monotonicMs: number) => ({ ...now, monotonicMs })
  const reply = (n: number): ChannelEvent => ({ type: 'echoReply', body: { sessionId, bankCode: '044', n }, epoch: 1 })
  ls.apply({ type: 'tick' }, at(15_000))
  t.same(told(ls.apply({ type: 'tick' }, at(20_000)).effects), ['echoMissed 1'])
  t.same(ls.apply(reply(1), at(20_001)).effects, [], 'late')
  ls.apply({ type: 'tick' }, at(25_000))
  t.same(told(ls.apply(reply(2), at(25_004)).effects), ['echoAnswered'])
  ls.apply({ type: 'tick' }, at(35_000))
  t.same(told(ls.apply({ type: 'tick' }, at(40_000)).effects), ['echoMissed 1'], 'the count began anew')
})

t.test('LS-11 a peer that answers for another session right after a new kx is left: no kx follows on kx', async (t) => {
  const pair = newPair().connect()
  const mismatch = (): string[] => {
    const body = { sessionId: Buffer.alloc(16), bankCode: '044', n: 0 }
    return told(pair.ls.apply({ type: 'echo', body, epoch: sessionOf(pair.ls.state).epoch }, pair.now).effects)
  }
  mismatch()
  t.ok(mismatch().includes('kxStarted echo'))
  pair.carryAll()
  t.equal(sessionOf(pair.ls.state).epoch, 2)
  pair.later(9_000)
  mismatch()
  t.ok(mismatch().includes('close 4408 CHANNEL_DOWN'))
  t.match(pair.ls.state, { name: 'closed', cause: 'echo' })
})

t.test('LS-11 LS that drains begins no kx over lost echoes: it ends', async (t) => {
  const { ls, now } = newPair().connect()
  ls.apply({ type: 'drain', deadlineMs: 10_000_000 }, now)
  let effects: readonly ChannelEffect[] = []
  for (const monotonicMs of [15_000, 20_000, 25_000, 30_000]) {
    effects = ls.apply({ type: 'tick' }, { ...now, monotonicMs }).effects
  }
  t.same(told(effects), ['echoMissed 2', 'destroy both of epoch 1', 'close 4408 CHANNEL_DOWN'])
})

t.test(
  'LS-19 a new kx switches LS at FIN_KX_RSP, and the xchange keeps the old opening key until LS is heard',
  async (t) => {
    const pair = newPair().connect()
    const before = { ls: sessionOf(pair.ls.state), xchange: sessionOf(pair.xchange.state) }
    t.same(told(pair.ls.apply(REKEY, pair.now).effects), ['kxStarted operator', 'sendKx'])
    pair.carry('ls')
    pair.carry('xchange')
    const heard = pair.xchange.effects.length
    pair.carry('ls')
    t.same(told(pair.xchange.effects.slice(heard)), [
      'acceptGeneration',
      'sendKx',
      'destroy seal of epoch 1',
      'kxCompleted age',
    ])
    t.match(pair.xchange.state, { name: 'connected', previous: { epoch: 1 }, session: { epoch: 2 } })
    const begun = pair.ls.effects.length
    pair.carry('xchange')
    t.same(told(pair.ls.effects.slice(begun)), ['destroy both of epoch 1', 'kxCompleted operator', 'echo'])
    const switched = pair.xchange.effects.length
    pair.carry('ls')
    t.same(told(pair.xchange.effects.slice(switched)), ['destroy both of epoch 1', 'echoReply'])
    t.same(sessionOf(pair.ls.state).sessionId, sessionOf(pair.xchange.state).sessionId)
    t.notSame(sessionOf(pair.ls.state).sessionId, before.ls.sessionId)
    t.match(pair.xchange.state, { previous: undefined })
  },
)

t.test('LS-19 a kx that comes due by age is begun once, and drawn out while one is under way', async (t) => {
  const pair = new MachinePair({ parties: PARTIES, terms: { rekeyAfterMs: 1_000 } }).connect()
  pair.later(999)
  t.same(told(pair.ls.apply({ type: 'tick' }, pair.now).effects), [])
  pair.later(1)
  t.same(told(pair.ls.apply({ type: 'tick' }, pair.now).effects), ['kxStarted age', 'sendKx'])
  pair.later(500)
  t.same(told(pair.ls.apply({ type: 'tick' }, pair.now).effects), [])
  t.same(told(pair.ls.apply(REKEY, pair.now).effects), [], 'nor does the operator begin a second')
  pair.carryAll()
  t.equal(sessionOf(pair.ls.state).epoch, 2)
})

t.test('LS-19 a new kx that the xchange refuses leaves the session alone, and LS tries again later', async (t) => {
  const parties = kxParties()
  const pair = new MachinePair({ parties }).connect()
  const session = sessionOf(pair.ls.state)
  Object.assign(parties.xchange, { highestGeneration: parties.ls.generation + 1 })
  const before = pair.ls.effects.length
  pair.ls.apply(REKEY, pair.now)
  pair.carryAll()
  t.same(told(pair.ls.effects.slice(before)), ['kxStarted operator', 'sendKx', 'kxFailed operator'])
  t.equal(sessionOf(pair.ls.state), session)
  t.equal(pair.xchange.state.name, 'connected')
  pair.later(29_999)
  t.notOk(told(pair.ls.apply({ type: 'tick' }, pair.now).effects).includes('kxStarted age'))
  pair.later(1)
  t.ok(told(pair.ls.apply({ type: 'tick' }, pair.now).effects).includes('kxStarted age'))
})

t.test('a kx that was to prove that the session lives, and is refused, ends the channel', async (t) => {
  for (const reason of ['echo', 'health'] as const) {
    const parties = kxParties()
    const pair = new MachinePair({ parties }).connect()
    Object.assign(parties.xchange, { highestGeneration: parties.ls.generation + 1 })
    pair.ls.apply({ type: 'rekey', reason }, pair.now)
    pair.carry('ls')
    pair.carry('xchange')
    t.match(pair.ls.state, { name: 'closed', cause: 'kx', error: { code: 'KX_FAILED' } }, reason)
  }
})

t.test('a confirmation that does not verify ends the channel: the xchange may have switched', async (t) => {
  const pair = newPair().connect()
  pair.ls.apply(REKEY, pair.now)
  pair.carry('ls')
  pair.carry('xchange')
  pair.carry('ls')
  const [confirmation] = pair.xchange.outbox
  if (confirmation?.type !== 'sendKx') throw new Error('no confirmation')
  const spoilt = Buffer.from(confirmation.frame)
  spoilt[spoilt.length - 1] = (spoilt.at(-1) ?? 0) ^ 1
  const { effects } = pair.ls.apply({ type: 'kxFrame', frame: spoilt }, pair.now)
  t.match(pair.ls.state, { name: 'closed', cause: 'kx' })
  t.ok(told(effects).includes('close 4401 KX_FAILED'))
})

t.test('the peer learns one opaque code where an identity or a generation was refused', async (t) => {
  for (const code of ['IDENTITY_DENIED', 'STALE_GENERATION'] as const) {
    const pair = newPair()
    const drop: ChannelEvent = {
      type: 'drop',
      cause: 'kx',
      error: new LsxError(code, 'the reason'),
      closeCode: CloseCode.kxFailed,
    }
    t.same(told(pair.ls.apply(drop, pair.now).effects), ['close 4401 KX_FAILED'])
  }
})

t.test('a kx that LS cannot even begin fails at once, and leaves a live session alone', async (t) => {
  const parties = kxParties()
  const pair = new MachinePair({ parties }).connect()
  const session = sessionOf(pair.ls.state)
  Object.assign(parties.ls, { bankCode: 'no bank code: too long by far, and with blanks' })
  t.same(told(pair.ls.apply(REKEY, pair.now).effects), ['kxStarted operator', 'kxFailed operator'])
  t.match(pair.ls.state, { name: 'connected', pendingKx: undefined })
  t.equal(sessionOf(pair.ls.state), session)

  const fresh = new MachinePair({ parties })
  t.ok(told(fresh.ls.apply({ type: 'opened' }, fresh.now).effects).includes('close 4401 KX_FAILED'))
  t.match(fresh.ls.state, { name: 'closed', cause: 'kx' })
})

t.test('the last epoch is not followed by another: LS replaces the socket', async (t) => {
  const pair = newPair().connect()
  const atLast = (state: ChannelState): ChannelState => {
    if (state.name !== 'connected') throw new Error(state.name)
    return { ...state, session: { ...state.session, epoch: LAST_EPOCH } }
  }
  pair.ls.state = atLast(pair.ls.state)
  pair.xchange.state = atLast(pair.xchange.state)
  const { effects } = pair.ls.apply(REKEY, pair.now)
  t.same(told(effects), [`destroy both of epoch ${LAST_EPOCH}`, 'close 4410 KX_FAILED'])
  t.match(pair.ls.state, { name: 'closed', cause: 'local', error: { party: 'self' } })
  pair.xchange.apply({ type: 'kxFrame', frame: dueKxFrame(newPair(), 'xchange') }, pair.now)
  t.match(pair.xchange.state, { name: 'closed', cause: 'policy' })
})

t.test("LS answers an xchange's drain with its own, once, and an xchange does not answer that of LS", async (t) => {
  const pair = newPair().connect()
  const drain: ChannelEvent = { type: 'control', body: { kind: 'drain' } }
  t.same(told(pair.ls.apply(drain, pair.now).effects), ['peerDraining', 'control drain'])
  t.same(told(pair.ls.apply(drain, pair.now).effects), [])
  t.match(pair.ls.state, { name: 'connected', peerDraining: true })
  t.same(told(pair.xchange.apply(drain, pair.now).effects), ['peerDraining'])
  t.same(told(pair.ls.apply(DRAIN, pair.now).effects), ['control drain'])
  t.match(pair.ls.state, { name: 'draining', peerDraining: true })
  const draining = newPair().connect()
  draining.ls.apply(DRAIN, draining.now)
  t.same(told(draining.ls.apply(drain, draining.now).effects), [], 'it has said so already')
})

t.test('a drain that is asked again keeps the earlier deadline, and says goodbye at it', async (t) => {
  const { ls, now } = newPair().connect()
  ls.apply({ type: 'drain', deadlineMs: 9_000 }, now)
  ls.apply({ type: 'drain', deadlineMs: 99_000 }, now)
  t.match(ls.state, { name: 'draining', deadlineMs: 9_000 })
  ls.apply({ type: 'drain', deadlineMs: 8_000 }, now)
  t.equal(nextDeadlineMs(ls.state), 8_000)
  const { effects } = ls.apply({ type: 'tick' }, { ...now, monotonicMs: 8_000 })
  t.same(told(effects), ['control goodbye', 'destroy both of epoch 1', 'close 1001 goodbye'])
  t.match(ls.state, { name: 'closed', cause: 'local', error: undefined })
})

t.test('a kx that was under way when the drain began is finished, and traffic goes on under it', async (t) => {
  const pair = newPair()
  connectAndBeginKx(pair)
  pair.ls.apply(DRAIN, pair.now)
  pair.carryAll()
  t.match(pair.ls.state, { name: 'draining', pendingKx: undefined, session: { epoch: 2 } })
  t.match(pair.xchange.state, { name: 'connected', peerDraining: true, previous: undefined, session: { epoch: 2 } })
})

t.test(
  'LS-5 no order of events, waits and lost frames makes either side throw, wait for ever or begin a second kx',
  async (t) => {
    const keyPair = newKeyPair()
    const parties = kxParties({ ls: { newEphemeral: () => keyPair }, xchange: { newKeyPair: () => keyPair } })
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ carry: fc.constantFrom<Role>('ls', 'xchange') }) },
      { weight: 1, arbitrary: fc.record({ lose: fc.constantFrom<Role>('ls', 'xchange') }) },
      { weight: 2, arbitrary: fc.record({ waitMs: fc.integer({ min: 0, max: 12_000 }) }) },
      {
        weight: 3,
        arbitrary: fc.record({
          role: fc.constantFrom<Role>('ls', 'xchange'),
          event: fc.constantFrom(...Object.keys(EVENTS).filter((name) => name !== 'kx-due')),
        }),
      },
    )
    fc.assert(
      fc.property(fc.boolean(), fc.array(step, { maxLength: 40 }), (startConnected, steps) => {
        const pair = new MachinePair({ parties, terms: { rekeyAfterMs: 20_000 } })
        if (startConnected) pair.connect()
        for (const step of steps) {
          const before = { ls: pair.ls.state, xchange: pair.xchange.state }
          const from = { ls: pair.ls.effects.length, xchange: pair.xchange.effects.length }
          if ('carry' in step) pair.carry(step.carry)
          else if ('lose' in step) pair.machine(step.lose).outbox.shift()
          else if ('waitMs' in step) {
            pair.later(step.waitMs)
            for (const role of ['ls', 'xchange'] as const) pair.machine(role).apply({ type: 'tick' }, pair.now)
          } else pair.machine(step.role).apply(EVENTS[step.event]?.(pair, step.role) ?? GONE, pair.now)
          for (const role of ['ls', 'xchange'] as const) {
            const { state, effects } = pair.machine(role)
            const own = effects.slice(from[role])
            // A carry over to a side that must switch first takes two steps; both show in its effects.
            const breach = breachOf(before[role], { state, effects: own })
            if (breach !== undefined && !('carry' in step && own.length > 1 && breach.endsWith('live on'))) {
              throw new Error(`${role}: ${breach}`)
            }
            if (role === 'ls' && own.filter(({ type }) => type === 'kxStarted').length > 1) throw new Error('two kx')
          }
        }
      }),
      { numRuns: 150 },
    )
    t.pass()
  },
)
