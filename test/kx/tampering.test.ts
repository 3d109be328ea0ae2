import { randomBytes } from 'node:crypto'
import t from 'tap'
import {
  answerFinKx,
  answerInitKx,
  beginLsKx,
  continueLsKx,
  type LsKxConfig,
  type LsKxState,
  type XchangeKxState,
} from '../../lib/kx/index.ts'
import {
  KX_TIME,
  type KxParties,
  type KxRun,
  kxParties,
  newKeyPair,
  repeatedKeyPairs,
  runKx,
} from '../support/kx-parties.ts'

const MESSAGE_NAMES = ['INIT_KX', 'INIT_KX_RSP', 'FIN_KX', 'FIN_KX_RSP'] as const
const NOTHING = Buffer.alloc(0)

/** Parties whose every kx gives the same four frames, so that thousands of runs need no new keys. */
function repeatableParties(): KxParties {
  const parties = kxParties()
  return {
    ls: { ...parties.ls, newEphemeral: repeatedKeyPairs(newKeyPair()) },
    xchange: { ...parties.xchange, newKeyPair: repeatedKeyPairs(newKeyPair(), newKeyPair()) },
  }
}

/**
 * What must hold when frame `index` was not what the peer sent: nobody has keys, but for an xchange that had FIN_KX
 * before FIN_KX_RSP was spoilt; and whoever noticed says KX_FAILED. Returns what does not hold.
 */
function breachOf(run: KxRun, index: number): string | undefined {
  const ends: (LsKxState | XchangeKxState | undefined)[] = index === 3 ? [run.ls] : [run.ls, run.xchange]
  if (ends.some((state) => state?.name === 'established')) return 'a session was established'
  const failures = ends.filter((state) => state?.name === 'failed')
  if (failures.length === 0) return 'nobody noticed'
  for (const state of failures)
    if (state.error.code !== 'KX_FAILED') return `${state.error.code}: ${state.error.message}`
  return undefined
}

t.test('LS-4 every bit of every kx message, flipped, ends the kx without a key', async (t) => {
  const parties = repeatableParties()
  const honest = runKx(parties)
  t.equal(honest.ls?.name, 'established')
  t.equal(honest.frames.length, 4)
  t.same(runKx(parties).frames, honest.frames, 'the runs are repeatable')
  for (const [index, frame] of honest.frames.entries()) {
    const breaches: string[] = []
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const flipped = Buffer.from(frame)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const breach = breachOf(receiveWith(parties, honest, { index, frame: flipped }), index)
      if (breach !== undefined) breaches.push(`bit ${bit}: ${breach}`)
    }
    t.same(breaches, [], `${MESSAGE_NAMES[index]}: ${frame.length * 8} bits`)
  }
})

t.test('every kx message cut at each byte, or with a byte after it, ends the kx without a key', async (t) => {
  const parties = repeatableParties()
  const honest = runKx(parties)
  for (const [index, frame] of honest.frames.entries()) {
    const breaches: string[] = []
    for (let length = 0; length <= frame.length; length++) {
      const spoilt = length === frame.length ? Buffer.concat([frame, Buffer.of(0)]) : frame.subarray(0, length)
      const breach = breachOf(receiveWith(parties, honest, { index, frame: spoilt }), index)
      if (breach !== undefined) breaches.push(`${length} bytes: ${breach}`)
    }
    t.same(breaches, [], `${MESSAGE_NAMES[index]}`)
  }
})

t.test('a message in the place of another ends the kx without a key', async (t) => {
  const parties = repeatableParties()
  const honest = runKx(parties)
  for (let index = 0; index < 4; index++) {
    for (const [other, replacement] of honest.frames.entries()) {
      if (other === index) continue
      const run = runWith(parties, index, replacement)
      t.equal(breachOf(run, index), undefined, `${MESSAGE_NAMES[other]} in the place of ${MESSAGE_NAMES[index]}`)
    }
  }
})

t.test('a message of an earlier kx ends the kx without a key', async (t) => {
  const parties = kxParties()
  const earlier = runKx(parties)
  const sameSession = runKx(parties).frames
  t.equal(earlier.ls?.name, 'established')
  t.equal(sameSession.length, 4)
  for (let index = 1; index < 4; index++) {
    // The session id is the same here, which it never is in life: the keys alone must tell them apart.
    const replayedFrame = earlier.frames[index] ?? NOTHING
    const run = runWith(parties, index, replayedFrame)
    t.equal(breachOf(run, index), undefined, `replay of ${MESSAGE_NAMES[index]}, same session id`)
    const next = { ...parties, ls: { ...parties.ls, sessionId: randomBytes(16) } }
    const nextRun = runWith(next, index, replayedFrame)
    t.equal(breachOf(nextRun, index), undefined, `replay of ${MESSAGE_NAMES[index]}, new session id`)
  }
  const replayed = answerInitKx(parties.xchange, earlier.frames[0] ?? NOTHING, KX_TIME)
  t.equal(replayed.state.name, 'awaitingFinKx', 'a replayed INIT_KX gets an answer, as it may be a first one')
  const stolen = answerFinKx(replayed.state, earlier.frames[2] ?? NOTHING, KX_TIME)
  t.equal(stolen.state.name, 'failed', 'which the replayed FIN_KX does not fit')
})

t.test('BEY-1 ends that differ in a fact of the prologue never get a key', async (t) => {
  const parties = repeatableParties()
  const sessionId = randomBytes(16)
  const generation = parties.ls.generation + 1
  const differences: Record<string, Partial<LsKxConfig>> = {
    'bank code': { bankCode: '058' },
    'another TLS connection': { exporter: randomBytes(32) },
    'channel binding off on one side': { exporter: Buffer.alloc(0) },
  }
  for (const [what, difference] of Object.entries(differences)) {
    const run = runKx({ ...parties, ls: { ...parties.ls, ...difference } })
    t.equal(breachOf(run, 0), undefined, what)
  }
  // These travel in INIT_KX: one in the middle changes them for the xchange, and back for LS.
  const honest = runKx(parties)
  for (const [what, difference] of Object.entries({ 'session id': { sessionId }, generation: { generation } })) {
    const forged = beginLsKx({ ...parties.ls, ...difference }, KX_TIME).frame ?? NOTHING
    const run = runKx(parties, {
      tamper: (frame, index) => {
        if (index === 0) return forged
        return index === 1 ? swapSessionId(frame, sessionId, parties.ls.sessionId) : frame
      },
    })
    t.equal(breachOf(run, 0), undefined, what)
    t.notSame(forged, honest.frames[0])
  }
})

function swapSessionId(frame: Buffer, from: Buffer, to: Buffer): Buffer {
  const swapped = Buffer.from(frame)
  const at = frame.indexOf(from)
  if (at >= 0) to.copy(swapped, at)
  return swapped
}

/** The kx in which frame `index` arrives as `replacement`. */
function runWith(parties: KxParties, index: number, replacement: Buffer): KxRun {
  return runKx(parties, { tamper: (frame, at) => (at === index ? replacement : frame) })
}

/** The same for repeatable parties, where the honest frames stand in for a sender whose part is done: far quicker. */
function receiveWith(parties: KxParties, honest: KxRun, spoilt: { index: number; frame: Buffer }): KxRun {
  const [initKx = NOTHING, initKxRsp = NOTHING] = honest.frames
  const { index, frame } = spoilt
  if (index === 0) return runWith(parties, index, frame)
  if (index === 2) {
    const { state } = answerInitKx(parties.xchange, initKx, KX_TIME)
    return { ls: undefined, xchange: answerFinKx(state, frame, KX_TIME).state, frames: [] }
  }
  const { state } = beginLsKx(parties.ls, KX_TIME)
  const awaiting = index === 1 ? state : continueLsKx(state, initKxRsp, KX_TIME).state
  const end = continueLsKx(awaiting, frame, KX_TIME)
  if (end.frame !== undefined) throw new Error('LS answered a spoilt frame')
  return { ls: end.state, xchange: undefined, frames: [] }
}
