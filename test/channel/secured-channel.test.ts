import { randomBytes } from 'node:crypto'
import t from 'tap'
import { CloseCode, ECHO_MISSES_BEFORE_KX } from '../../lib/channel/state.ts'
import { encodeMap, FrameType, readHeader, writeHeader } from '../../lib/frames/index.ts'
import { KEY_HARD_STOP_MS } from '../../lib/kx/constants.ts'
import type { Session } from '../../lib/kx/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import type { Direction, SentFrame } from '../support/channel-link.ts'
import { ChannelPair } from '../support/channel-pair.ts'

const SEALED_BODY = encodeMap({})

function frameNames(frames: readonly SentFrame[]): string[] {
  return frames.map(({ direction, frame }) => {
    const { type, epoch, sequence } = readHeader(frame)
    const name = Object.entries(FrameType).find(([, value]) => value === type)?.[0]
    return `${direction} ${name} ${epoch}/${sequence}`
  })
}

function sessionOf(end: { readonly session: Session | undefined }): Session {
  if (end.session === undefined) throw new Error('there is no session')
  return end.session
}

/** The session is over at both ends and nothing is left of it. */
async function isGone(pair: ChannelPair): Promise<boolean> {
  await pair.clock.advance(3_000)
  const isClosed = pair.ls.state.name === 'closed' && pair.xchange.state.name === 'closed'
  return isClosed && pair.clock.pendingTimers === 0 && pair.ls.inFlight === 0
}

t.test(
  "LS-4 LS-5 LS begins the kx, four messages key both ends alike, and the first sealed frame is LS's",
  async (t) => {
    const pair = new ChannelPair()
    pair.xchange.open()
    await pair.clock.advance(1_000)
    t.same(pair.link.frames, [], 'the xchange waits for LS')
    pair.ls.open()
    await pair.clock.advance(50)
    t.same(frameNames(pair.link.frames), [
      'toXchange kx 0/0',
      'toLs kx 0/1',
      'toXchange kx 0/2',
      'toLs kx 1/0',
      'toXchange echo 1/0',
      'toLs echoReply 1/1',
    ])
    t.same(sessionOf(pair.ls).sessionId, sessionOf(pair.xchange).sessionId)
    t.same(pair.transcript, ['1015 xchange kx completed (start), epoch 1', '1020 ls kx completed (start), epoch 1'])
    t.match(pair.lsCounters, { kxStarted: 1, kxCompleted: 1, kxFailed: 0, kxDurationsMs: [20], echoesAnswered: 1 })
    t.match(pair.lsCounters, { lastRoundTripMs: 10, minRoundTripMs: 10, maxRoundTripMs: 10, smoothedRoundTripMs: 10 })
    t.match(pair.xchangeCounters, { kxStarted: 1, kxCompleted: 1, kxFailed: 0 })
  },
)

t.test('LS-5 a channel that is opened twice begins one kx', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  const before = pair.link.frames.length
  pair.ls.open()
  await pair.clock.advance(100)
  t.equal(pair.link.frames.length, before)
  t.equal(pair.ls.session?.epoch, 1)
})

t.test('LS-8 what is sent after the kx cannot be read on the wire', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  const payload = randomBytes(64)
  const [request] = pair.send(1, { payload, method: 'very.secret.method' })
  await pair.clock.advance(50)
  t.same(pair.owner.responses.get(request?.key ?? '')?.payload, payload)
  const wire = Buffer.concat(pair.link.frames.map(({ frame }) => frame))
  t.notOk(wire.includes(payload))
  t.notOk(wire.includes('very.secret.method'))
  t.notOk(wire.includes(request?.key ?? ''))
})

t.test('LS-8 a frame that is changed, repeated, left out or cut on its way ends the channel', async (t) => {
  const attacks: Record<string, (frame: Buffer) => Buffer[]> = {
    'a changed header': (frame) => [changed(frame, 3)],
    'a changed sequence': (frame) => [changed(frame, 11)],
    'changed ciphertext': (frame) => [changed(frame, 13)],
    'a changed tag': (frame) => [changed(frame, frame.length - 1)],
    'a frame twice': (frame) => [frame, frame],
    'a frame cut by a byte': (frame) => [frame.subarray(0, -1)],
    'a frame with a byte more': (frame) => [Buffer.concat([frame, Buffer.of(0)])],
    'an empty frame': () => [Buffer.alloc(0)],
    'a header alone': (frame) => [frame.subarray(0, 12)],
    'another version': (frame) => [Buffer.concat([Buffer.of(2), frame.subarray(1)])],
    'an unknown type': (frame) => [Buffer.concat([Buffer.of(1, 9), frame.subarray(2)])],
  }
  for (const [name, attack] of Object.entries(attacks)) {
    for (const direction of ['toXchange', 'toLs'] as const) {
      const pair = new ChannelPair()
      await pair.connect()
      pair.link.tamper = (frame, on) => (on === direction ? attack(frame) : [frame])
      pair.send(1)
      await pair.clock.advance(100)
      const victim = direction === 'toXchange' ? pair.xchange : pair.ls
      t.match(
        victim.state,
        { name: 'closed', cause: 'policy', error: { code: 'FRAME_INVALID' } },
        `${name}, ${direction}`,
      )
      t.ok(await isGone(pair), 'nothing is left')
    }
  }
  for (const direction of ['toXchange', 'toLs'] as const) {
    const pair = new ChannelPair()
    await pair.connect()
    let lost = false
    pair.link.tamper = (frame, on) => {
      if (on !== direction || lost) return [frame]
      lost = true
      return []
    }
    pair.send(1)
    await pair.clock.advance(20)
    pair.send(1)
    await pair.clock.advance(20)
    const victim = direction === 'toXchange' ? pair.xchange : pair.ls
    t.match(victim.state, { name: 'closed', cause: 'policy' }, `a frame left out, ${direction}`)
  }
})

function changed(frame: Buffer, at: number): Buffer {
  const copy = Buffer.from(frame)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

t.test('a sealed frame before the kx is done, and a frame over the limit, end the channel', async (t) => {
  const early = new ChannelPair()
  early.open()
  const frame = Buffer.alloc(60)
  writeHeader(frame, { type: FrameType.request, epoch: 1, sequence: 0 })
  early.link.xchangeSocket.inject(frame)
  t.match(early.xchange.state, { name: 'closed', cause: 'policy', error: { code: 'FRAME_INVALID' } })
  t.same(early.link.xchangeSocket.closedWith, { closeCode: CloseCode.frameInvalid, reason: 'FRAME_INVALID' })

  const large = new ChannelPair({ terms: { maxFrameBytes: 2_048 } })
  await large.connect()
  const session = sessionOf(large.xchange)
  large.link.lsSocket.inject(session.seal.seal(FrameType.control, Buffer.alloc(2_048 - 28 + 1), 0))
  t.match(large.ls.state, { name: 'closed', cause: 'policy', error: { code: 'FRAME_INVALID' } })
})

t.test('LS-2 a request from an xchange, and a response from LS, are refused by the word of the protocol', async (t) => {
  const fromXchange = new ChannelPair()
  await fromXchange.connect()
  const request = sessionOf(fromXchange.xchange).seal.seal(FrameType.request, SEALED_BODY, 0)
  fromXchange.link.xchangeSocket.send(request)
  await fromXchange.clock.advance(50)
  t.match(fromXchange.ls.state, { name: 'closed', cause: 'policy', error: { code: 'REFUSED', facts: { audit: true } } })
  t.same(fromXchange.link.lsSocket.closedWith, { closeCode: CloseCode.refused, reason: 'REFUSED' })

  const fromLs = new ChannelPair()
  await fromLs.connect()
  fromLs.link.lsSocket.send(sessionOf(fromLs.ls).seal.seal(FrameType.response, SEALED_BODY, 0))
  await fromLs.clock.advance(50)
  t.match(fromLs.xchange.state, { name: 'closed', cause: 'policy', error: { code: 'NOT_LS', facts: { audit: true } } })
  t.equal(fromLs.received.length, 0)
})

t.test('sealed bodies that are no records, echoes or control maps end the channel', async (t) => {
  const bodies: [FrameType, Buffer][] = [
    [FrameType.request, Buffer.alloc(0)],
    [FrameType.request, Buffer.from('c0', 'hex')],
    [FrameType.echo, Buffer.from('90', 'hex')],
    [FrameType.echo, encodeMap({ sessionId: Buffer.alloc(16), bankCode: '044', n: 1, more: true })],
    [FrameType.echo, encodeMap({ sessionId: 'text', bankCode: '044', n: 1 })],
    [FrameType.echoReply, encodeMap({ sessionId: Buffer.alloc(16), bankCode: 44, n: 1 })],
    [FrameType.echoReply, encodeMap({ sessionId: Buffer.alloc(16), bankCode: '044', n: 2 ** 32 })],
    [FrameType.control, Buffer.alloc(0)],
    [FrameType.control, Buffer.concat([encodeMap({}), encodeMap({})])],
  ]
  for (const [type, body] of bodies) {
    const pair = new ChannelPair()
    await pair.connect()
    pair.link.lsSocket.send(sessionOf(pair.ls).seal.seal(type, body, pair.clock.monotonicMs()))
    await pair.clock.advance(50)
    t.match(
      pair.xchange.state,
      { name: 'closed', cause: 'policy', error: { code: 'FRAME_INVALID' } },
      body.toString('hex'),
    )
  }
})

t.test('a kx that is not finished in time ends the channel at both ends', async (t) => {
  for (const cut of [['toXchange'], ['toLs']] as const) {
    const pair = new ChannelPair()
    pair.link.cut(...cut)
    pair.open()
    await pair.clock.advance(4_999)
    t.equal(pair.ls.state.name, 'securing')
    await pair.clock.advance(1)
    t.match(pair.ls.state, { name: 'closed', cause: 'kx', error: { code: 'KX_FAILED' } }, cut.join())
    t.match(pair.lsCounters, { kxStarted: 1, kxFailed: 1 })
    t.ok(await isGone(pair))
  }
})

t.test(
  'an identity that is not pinned keys nobody: one end says why in its log, the other learns nothing',
  async (t) => {
    const pair = new ChannelPair()
    pair.spoilLsKx = (kx) => ({ ...kx, pinnedIdentities: [randomBytes(32)] })
    pair.open()
    await pair.clock.advance(50)
    t.match(pair.ls.state, { name: 'closed', cause: 'kx', error: { code: 'IDENTITY_DENIED' } })
    t.same(pair.link.lsSocket.closedWith, { closeCode: CloseCode.kxFailed, reason: 'KX_FAILED' })
    t.match(pair.xchange.state, { name: 'closed', cause: 'kx', error: { code: 'KX_FAILED' } })
    t.notOk(pair.transcript.some((line) => line.includes('completed')))

    const other = new ChannelPair()
    other.spoilXchangeKx = (kx) => ({ ...kx, pinnedIdentities: [randomBytes(32)] })
    other.open()
    await other.clock.advance(50)
    t.match(other.xchange.state, { name: 'closed', cause: 'kx', error: { code: 'IDENTITY_DENIED' } })
    t.match(other.ls.state, { name: 'closed', cause: 'kx', error: { code: 'KX_FAILED' } })
  },
)

t.test('BEY-1 ends of two different TLS connections get no key: somebody sits in between', async (t) => {
  const pair = new ChannelPair()
  pair.spoilXchangeKx = (kx) => ({ ...kx, exporter: randomBytes(32) })
  pair.open()
  await pair.clock.advance(50)
  t.match(pair.ls.state, { name: 'closed', cause: 'kx', error: { code: 'KX_FAILED' } })
  t.match(pair.xchange.state, { name: 'closed', cause: 'kx' })
})

t.test('a generation that cannot be written down is not confirmed', async (t) => {
  const pair = new ChannelPair({
    acceptGeneration: () => {
      throw new LsxError('STORE_FULL', 'no space left on the device')
    },
  })
  pair.open()
  await pair.clock.advance(50)
  t.match(pair.xchange.state, { name: 'closed', cause: 'local', error: { code: 'STORE_FULL' } })
  t.same(frameNames(pair.link.frames).length, 3, 'FIN_KX_RSP never left')
  t.match(pair.ls.state, { name: 'closed', cause: 'kx' })
  t.ok(await isGone(pair))
})

t.test(
  'LS-11 a link that goes dead both ways is found within 2.5 intervals, and let go after a kx in vain',
  async (t) => {
    const pair = new ChannelPair()
    await pair.connect()
    const { echoIntervalMs } = sessionOf(pair.ls).terms
    await pair.clock.advance(echoIntervalMs * 3 + 20)
    const deadAtMs = pair.clock.monotonicMs()
    pair.link.cut('toXchange', 'toLs')
    let foundAtMs: number | undefined
    while (foundAtMs === undefined && pair.clock.monotonicMs() < deadAtMs + 10 * echoIntervalMs) {
      await pair.clock.advance(100)
      if (pair.lsCounters.kxStarted === 2) foundAtMs = pair.clock.monotonicMs()
    }
    t.equal(pair.lsCounters.echoesMissed, ECHO_MISSES_BEFORE_KX)
    t.ok(
      (foundAtMs ?? Number.POSITIVE_INFINITY) - deadAtMs <= 2.5 * echoIntervalMs,
      `found after ${(foundAtMs ?? 0) - deadAtMs} ms`,
    )
    await pair.clock.advance(5_000)
    t.match(pair.ls.state, { name: 'closed', cause: 'echo', error: { code: 'KX_FAILED' } })
    await pair.clock.advance(echoIntervalMs * 4)
    t.match(pair.xchange.state, { name: 'closed', cause: 'echo' }, 'the xchange, too, without being told')
    t.equal(pair.clock.pendingTimers, 0)
  },
)

t.test('LS-11 a link that is dead in one direction only is found by LS all the same', async (t) => {
  for (const direction of ['toXchange', 'toLs'] as const) {
    const pair = new ChannelPair()
    await pair.connect()
    pair.link.cut(direction)
    await pair.clock.advance(31_000)
    t.match(pair.ls.state, { name: 'closed', cause: 'echo' }, direction)
  }
})

t.test('LS-11 a link that only stalled gets a new session on the same socket, and loses nothing', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  const before = sessionOf(pair.ls).sessionId
  pair.link.hold('toXchange')
  pair.send(5)
  await pair.clock.advance(27_000)
  t.equal(pair.lsCounters.kxStarted, 2, 'two echoes were missed')
  pair.link.release('toXchange')
  await pair.clock.advance(100)
  t.match(pair.ls.state, { name: 'connected', session: { epoch: 2 }, echo: { missed: 0 } })
  t.notSame(sessionOf(pair.ls).sessionId, before)
  t.equal(pair.owner.count('answered'), 5)
  t.match(pair.transcript.at(-1), 'ls kx completed (echo), epoch 2')
})

t.test('LS-11 an xchange that answers for another session twice gets a new kx', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  const seal = sessionOf(pair.xchange).seal
  pair.link.cut('toXchange')
  const reply = (n: number) => encodeMap({ sessionId: Buffer.alloc(16), bankCode: '044', n })
  for (let n = 1; n <= 2; n++) {
    await pair.clock.advance(10_000)
    pair.link.lsSocket.inject(seal.seal(FrameType.echoReply, reply(n), pair.clock.monotonicMs()))
  }
  t.match(pair.lsCounters, { echoesMissed: 2, kxStarted: 2 })
  t.match(pair.ls.state, { name: 'connected', pendingKx: { reason: 'echo' } })
})

/** Both directions: epochs go up one by one, each with all its sequences from 0; KX frames keep their own count. */
function switchBreach(frames: readonly SentFrame[], direction: Direction): string | undefined {
  let epoch = 0
  let next = 0
  for (const { direction: on, frame } of frames) {
    const header = readHeader(frame)
    if (on !== direction || header.epoch === 0) continue
    if (header.epoch === epoch + 1) {
      epoch = header.epoch
      next = 0
      const isConfirmation = header.type === FrameType.kx
      if (direction === 'toLs' && !isConfirmation) return `epoch ${epoch} began with another frame than FIN_KX_RSP`
    }
    if (header.epoch !== epoch) return `epoch ${header.epoch} after ${epoch}`
    if (header.sequence !== next) return `sequence ${header.sequence} in the place of ${next}`
    next++
  }
  return undefined
}

t.test(
  'LS-19 keys are renewed under load, frame-exactly and again and again, and not one request is lost',
  async (t) => {
    const pair = new ChannelPair({ latencyMs: 7, offer: { windowRecords: 64 } })
    const waiting: (() => void)[] = []
    // Answers come in another turn and out of order, so that requests and answers lie on the wire at every switch.
    pair.onRequest = (request, respond) => {
      waiting.push(() => respond({ id: request.id, status: 0, payload: request.payload, meta: undefined }))
      if (waiting.length >= 3) for (const answer of waiting.splice(0).reverse()) answer()
    }
    await pair.connect()
    let sent = 0
    for (let step = 0; step < 300; step++) {
      sent += pair.send(1 + (step % 4)).length
      if (step % 10 === 0) pair.ls.rekey('operator')
      await pair.clock.advance(step % 7)
    }
    for (const answer of waiting.splice(0)) answer()
    await pair.clock.advance(100)
    for (const answer of waiting.splice(0)) answer()
    await pair.clock.advance(100)
    t.ok(sent > 500, `${sent} requests`)
    t.equal(pair.owner.count('answered'), sent)
    t.same(
      [...pair.owner.ends.values()].filter((ends) => ends.length !== 1),
      [],
    )
    t.ok(sessionOf(pair.ls).epoch >= 20, `epoch ${sessionOf(pair.ls).epoch}`)
    t.same(sessionOf(pair.ls).sessionId, sessionOf(pair.xchange).sessionId)
    t.equal(switchBreach(pair.link.frames, 'toXchange'), undefined)
    t.equal(switchBreach(pair.link.frames, 'toLs'), undefined)
    t.match(pair.lsCounters, { kxFailed: 0, unknownResponses: 0, lateResponses: 0 })
  },
)

t.test('LS-19 keys that have carried their share of frames or bytes are renewed; both directions count', async (t) => {
  const byFrames = new ChannelPair({ terms: { rekeyAfterFrames: 40 } })
  await byFrames.connect()
  for (let step = 0; step < 100; step++) {
    byFrames.send(1)
    await byFrames.clock.advance(20)
  }
  t.equal(byFrames.owner.count('answered'), 100)
  t.equal(sessionOf(byFrames.ls).epoch, 6, 'two frames for each request')

  const byBytes = new ChannelPair({ terms: { rekeyAfterBytes: 100_000 } })
  await byBytes.connect()
  for (let step = 0; step < 20; step++) {
    byBytes.send(1, { payload: Buffer.alloc(10_000) })
    await byBytes.clock.advance(20)
  }
  t.equal(byBytes.owner.count('answered'), 20)
  t.equal(sessionOf(byBytes.ls).epoch, 4, '20 kB for each request')

  const byAge = new ChannelPair({ terms: { rekeyAfterMs: 60_000 } })
  await byAge.connect()
  await byAge.clock.advance(180_500)
  t.equal(sessionOf(byAge.ls).epoch, 4, 'without any traffic')
})

t.test(
  'LS-19 an xchange that refuses every new kx keeps its session, is asked now and then, and loses nothing',
  async (t) => {
    const pair = new ChannelPair({ terms: { rekeyAfterFrames: 10 } })
    await pair.connect()
    const { sessionId } = sessionOf(pair.ls)
    pair.highestGeneration = pair.parties.ls.generation + 1
    for (let second = 0; second < 60; second++) {
      pair.send(3)
      await pair.clock.advance(1_000)
    }
    t.equal(pair.owner.count('answered'), 180)
    t.same(sessionOf(pair.ls).sessionId, sessionId)
    t.equal(pair.lsCounters.kxFailed, 2, 'not at each frame that is sent')
    t.match(pair.transcript.slice(2, 4), ['xchange kx failed (age): STALE_GENERATION', 'ls kx failed (age): KX_FAILED'])
    pair.highestGeneration = 0
    pair.ls.rekey('operator')
    await pair.clock.advance(100)
    t.equal(sessionOf(pair.ls).epoch, 2)
  },
)

t.test(
  'a key at its hard stop ends the channel, never the daemon, and what it did not seal counts as unsent',
  async (t) => {
    const deferred: (() => void)[] = []
    const pair = new ChannelPair({
      defer: (flush) => deferred.push(flush),
      terms: { echoIntervalMs: 60_000, echoTimeoutMs: 30_000 },
    })
    await pair.connect()
    pair.highestGeneration = pair.parties.ls.generation + 1
    await pair.clock.advance(KEY_HARD_STOP_MS - pair.clock.monotonicMs() + 11)
    t.equal(pair.ls.state.name, 'connected', 'two hours without a new key')
    pair.send(1)
    t.doesNotThrow(() => {
      for (const flush of deferred.splice(0)) flush()
    })
    t.match(pair.ls.state, { name: 'closed', cause: 'local', error: { code: 'INTERNAL' } })
    t.equal(pair.owner.count('unsent'), 1)
    t.ok(await isGone(pair))
  },
)

t.test('whatever ends a channel, its keys are destroyed and no timer is left', async (t) => {
  const ways: Record<string, (pair: ChannelPair) => void> = {
    'LS drops': (pair) => pair.ls.drop('local', undefined),
    'LS drops by policy': (pair) => pair.ls.drop('policy', new LsxError('QUARANTINED', 'a test'), CloseCode.refused),
    'the xchange drops': (pair) => pair.xchange.drop('local', undefined),
    'LS drains': (pair) => pair.ls.drain(pair.clock.monotonicMs() + 1_000),
    'the xchange drains': (pair) => pair.xchange.drain(pair.clock.monotonicMs() + 1_000),
    'both drain': (pair) => {
      pair.ls.drain(pair.clock.monotonicMs() + 1_000)
      pair.xchange.drain(pair.clock.monotonicMs() + 1_000)
    },
    'the socket breaks': (pair) => pair.link.lsSocket.fail(new LsxError('CHANNEL_DOWN', 'ECONNRESET')),
    'the peer is killed': (pair) => pair.link.xchangeSocket.terminate(),
    'a bad frame': (pair) => pair.link.lsSocket.inject(Buffer.alloc(3)),
    'a kx under way': (pair) => {
      pair.ls.rekey('operator')
      pair.ls.drop('local', undefined)
    },
  }
  for (const [name, end] of Object.entries(ways)) {
    const pair = new ChannelPair()
    pair.onRequest = () => {}
    await pair.connect()
    const sessions = [sessionOf(pair.ls), sessionOf(pair.xchange)]
    pair.send(2)
    await pair.clock.advance(7)
    end(pair)
    t.ok(await isGone(pair), name)
    for (const { seal, open } of sessions) {
      t.throws(() => seal.seal(FrameType.control, SEALED_BODY, 0), { code: 'INTERNAL' })
      t.throws(() => open.open(Buffer.alloc(40), 0), { code: 'FRAME_INVALID' })
    }
    t.equal(pair.transcript.filter((line) => line.includes('closed')).length, 2, 'each end is told once')
    t.same([...pair.owner.ends.values()].flat().length, 2, 'each request ends once')
  }
})

t.test('an observer may drop, drain or renew in the middle of being told', async (t) => {
  for (const act of ['drop', 'drain', 'rekey'] as const) {
    const pair = new ChannelPair()
    const told = pair.transcript.push.bind(pair.transcript)
    pair.transcript.push = (...lines) => {
      const length = told(...lines)
      if (!lines[0]?.includes('ls kx completed (start)')) return length
      if (act === 'drop') pair.ls.drop('local', undefined)
      else if (act === 'drain') pair.ls.drain(pair.clock.monotonicMs() + 1_000)
      else pair.ls.rekey('operator')
      return length
    }
    pair.open()
    await pair.clock.advance(200)
    if (act === 'rekey') t.equal(sessionOf(pair.ls).epoch, 2)
    else t.ok(await isGone(pair), act)
  }
})
