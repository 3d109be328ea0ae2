import { randomBytes } from 'node:crypto'
import t from 'tap'
import { FrameType, readHeader } from '../../lib/frames/index.ts'
import { abandonLsKx, answerFinKx, answerInitKx, beginLsKx, continueLsKx } from '../../lib/kx/index.ts'
import { encodeFinKxRsp, encodeInitKxRsp } from '../../lib/kx/messages.ts'
import { encodePoint } from '../support/edwards25519.ts'
import { establish, KX_TIME, kxError, kxParties, newIdentity, runKx } from '../support/kx-parties.ts'

t.test('LS-4 a kx in four messages gives both sides one session', async (t) => {
  const parties = kxParties()
  const { ls, xchange } = establish(parties)
  for (const session of [ls, xchange]) {
    t.equal(session.bankCode, '044')
    t.same(session.sessionId, parties.ls.sessionId)
    t.equal(session.epoch, 1)
    t.equal(session.generation, parties.ls.generation)
    t.equal(session.establishedAtMs, KX_TIME.wallMs)
    t.same(session.terms, parties.ls.terms)
    t.same(session.offer, parties.xchange.offer)
  }
  t.same(ls.handshakeHash, xchange.handshakeHash)
  t.same(ls.peerStatic, xchange.ownStatic)
  t.same(xchange.peerStatic, ls.ownStatic)
  t.same(ls.peerIdentity, parties.xchange.identity.publicKey)
  t.same(xchange.peerIdentity, parties.ls.identity.publicKey)
})

t.test('LS-8 the session seals both ways; FIN_KX_RSP was sequence 0 of the xchange', async (t) => {
  const { ls, xchange } = establish()
  const request = ls.seal.seal(FrameType.request, Buffer.from('request'), KX_TIME.monotonicMs)
  const response = xchange.seal.seal(FrameType.response, Buffer.from('response'), KX_TIME.monotonicMs)
  t.same(readHeader(request), { type: FrameType.request, epoch: 1, sequence: 0 })
  t.same(readHeader(response), { type: FrameType.response, epoch: 1, sequence: 1 })
  t.same(xchange.open.open(request, KX_TIME.monotonicMs), Buffer.from('request'))
  t.same(ls.open.open(response, KX_TIME.monotonicMs), Buffer.from('response'))
  t.equal(xchange.seal.framesSealed, 2)
  t.equal(ls.open.framesOpened, 2)
})

t.test('LS-6 LS keeps its static key, the xchange has a new one for each INIT_KX', async (t) => {
  const parties = kxParties()
  const first = establish(parties)
  const second = establish({ ...parties, ls: { ...parties.ls, sessionId: randomBytes(16) } })
  t.same(first.ls.ownStatic, second.ls.ownStatic)
  t.notSame(first.xchange.ownStatic, second.xchange.ownStatic)
  t.notSame(first.ls.handshakeHash, second.ls.handshakeHash)
})

t.test('a kx in the middle of a session leaves the old keys at work', async (t) => {
  const parties = kxParties()
  const old = establish(parties)
  const next = establish({
    ls: { ...parties.ls, epoch: 2, sessionId: randomBytes(16) },
    xchange: { ...parties.xchange, epoch: 2, highestGeneration: parties.ls.generation },
  })
  const { monotonicMs } = KX_TIME
  const late = old.xchange.seal.seal(FrameType.response, Buffer.from('of the old epoch'), monotonicMs)
  t.same(old.ls.open.open(late, monotonicMs), Buffer.from('of the old epoch'))
  const first = next.ls.seal.seal(FrameType.request, Buffer.from('of the new epoch'), monotonicMs)
  t.equal(readHeader(first).epoch, 2)
  t.same(next.xchange.open.open(first, monotonicMs), Buffer.from('of the new epoch'))
})

t.test('without channel binding on either side the exporter is empty', async (t) => {
  const exporter = Buffer.alloc(0)
  t.doesNotThrow(() => establish(kxParties({ ls: { exporter }, xchange: { exporter } })))
})

t.test('the smaller frame limit is agreed on', async (t) => {
  const parties = kxParties()
  const { terms } = parties.ls
  const { offer } = parties.xchange
  const limits: [own: number, offered: number][] = [
    [65_536, 16_384],
    [16_384, 65_536],
  ]
  for (const [own, offered] of limits) {
    const { ls, xchange } = establish({
      ls: { ...parties.ls, terms: { ...terms, maxFrameBytes: own } },
      xchange: { ...parties.xchange, offer: { ...offer, maxFrameBytes: offered } },
    })
    t.equal(ls.terms.maxFrameBytes, 16_384)
    t.equal(xchange.terms.maxFrameBytes, 16_384)
  }
})

t.test('LS-7 an xchange with an identity that is not pinned is denied, and told nothing', async (t) => {
  const run = runKx(kxParties({ xchange: { identity: newIdentity() } }))
  t.equal(kxError(run.ls).code, 'IDENTITY_DENIED')
  t.equal(run.frames.length, 2, 'no FIN_KX')
})

t.test('a small-order identity proves nothing, even where it is pinned', async (t) => {
  const publicKey = encodePoint(1n, 0n)
  // Under this key the signature R = neutral point, S = 0 verifies for every message.
  const forger = { publicKey, sign: () => Buffer.concat([publicKey, Buffer.alloc(32)]) }
  const asXchange = runKx(kxParties({ ls: { pinnedIdentities: [publicKey] }, xchange: { identity: forger } }))
  t.equal(kxError(asXchange.ls).code, 'IDENTITY_DENIED')
  const asLs = runKx(kxParties({ ls: { identity: forger }, xchange: { pinnedIdentities: [publicKey] } }))
  t.equal(kxError(asLs.xchange).code, 'IDENTITY_DENIED')
})

t.test('LS-7 the pinned identity without its private key is of no use', async (t) => {
  const parties = kxParties()
  const { publicKey } = parties.xchange.identity
  const impostor = { publicKey, sign: newIdentity().sign }
  const run = runKx({ ...parties, xchange: { ...parties.xchange, identity: impostor } })
  t.equal(kxError(run.ls).code, 'KX_FAILED')
  t.match(kxError(run.ls).message, /signature/)
})

t.test('LS-7 a man in the middle cannot pass on the proof of the xchange', async (t) => {
  const parties = kxParties()
  let captured: Buffer = Buffer.alloc(0)
  const { publicKey, sign } = parties.xchange.identity
  const watched = {
    publicKey,
    sign: (message: Buffer) => {
      captured = sign(message)
      return captured
    },
  }
  establish({ ...parties, xchange: { ...parties.xchange, identity: watched } })
  const middle = { publicKey, sign: () => captured }
  const run = runKx({ ...parties, xchange: { ...parties.xchange, identity: middle } })
  t.equal(kxError(run.ls).code, 'KX_FAILED', 'the proof is for another static key')
})

t.test('clocks further apart than the skew fail with a hint', async (t) => {
  const xchangeAt = (offsetMs: number) => ({ xchangeTime: { ...KX_TIME, wallMs: KX_TIME.wallMs + offsetMs } })
  const tolerant = () => kxParties({ xchange: { clockSkewMs: 3_600_000 } })
  for (const offsetMs of [-360_000, 60_000]) {
    t.equal(runKx(tolerant(), xchangeAt(offsetMs)).ls?.name, 'established', `${offsetMs} ms`)
  }
  for (const offsetMs of [-360_001, 60_001]) {
    const error = kxError(runKx(tolerant(), xchangeAt(offsetMs)).ls)
    t.match(error, { code: 'KX_FAILED', message: /clocks/ }, `${offsetMs} ms`)
  }
})

t.test('a refusal of either message ends the kx and says where to look', async (t) => {
  const { ls: config, xchange } = kxParties()
  const expected = { code: 'KX_FAILED', message: 'the xchange refused the key exchange; see its log' }
  const first = beginLsKx(config, KX_TIME)
  t.match(kxError(continueLsKx(first.state, encodeInitKxRsp(config, undefined), KX_TIME).state), expected)

  const second = beginLsKx(config, KX_TIME)
  const answer = answerInitKx(xchange, second.frame ?? Buffer.alloc(0), KX_TIME)
  const awaiting = continueLsKx(second.state, answer.frame, KX_TIME)
  const refused = continueLsKx(awaiting.state, encodeFinKxRsp(config, undefined), KX_TIME)
  t.match(kxError(refused.state), expected)
  t.equal(refused.frame, undefined, 'a failing LS sends nothing')
})

t.test('a confirmation for another epoch fails', async (t) => {
  const run = runKx(kxParties({ xchange: { epoch: 2 } }))
  t.match(kxError(run.ls), { code: 'KX_FAILED', facts: { expectedEpoch: 1, epoch: 2 } })
})

t.test('each phase is continued once', async (t) => {
  const { ls, xchange } = kxParties()
  const init = beginLsKx(ls, KX_TIME)
  const initRsp = answerInitKx(xchange, init.frame ?? Buffer.alloc(0), KX_TIME)
  const fin = continueLsKx(init.state, initRsp.frame, KX_TIME)
  const defect = { code: 'INTERNAL' }
  t.throws(() => continueLsKx(init.state, initRsp.frame, KX_TIME), defect)
  const finRsp = answerFinKx(initRsp.state, fin.frame ?? Buffer.alloc(0), KX_TIME)
  const end = continueLsKx(fin.state, finRsp.frame, KX_TIME)
  t.equal(end.state.name, 'established')
  t.throws(() => continueLsKx(fin.state, finRsp.frame, KX_TIME), defect)
  t.throws(() => continueLsKx(end.state, finRsp.frame, KX_TIME), defect)
})

t.test('a failed phase is over: the right answer comes too late', async (t) => {
  const { ls, xchange } = kxParties()
  const init = beginLsKx(ls, KX_TIME)
  const initRsp = answerInitKx(xchange, init.frame ?? Buffer.alloc(0), KX_TIME)
  const failed = continueLsKx(init.state, randomBytes(100), KX_TIME)
  t.equal(kxError(failed.state).code, 'KX_FAILED')
  t.throws(() => continueLsKx(init.state, initRsp.frame, KX_TIME), { code: 'INTERNAL' })
  t.throws(() => continueLsKx(failed.state, initRsp.frame, KX_TIME), { code: 'INTERNAL' })
})

t.test('an abandoned kx cannot go on; a session outlives it', async (t) => {
  const { ls, xchange } = kxParties()
  const init = beginLsKx(ls, KX_TIME)
  const initRsp = answerInitKx(xchange, init.frame ?? Buffer.alloc(0), KX_TIME)
  const fin = continueLsKx(init.state, initRsp.frame, KX_TIME)
  const finRsp = answerFinKx(initRsp.state, fin.frame ?? Buffer.alloc(0), KX_TIME)
  abandonLsKx(fin.state)
  abandonLsKx(fin.state)
  t.throws(() => continueLsKx(fin.state, finRsp.frame, KX_TIME), { code: 'INTERNAL' })

  const { ls: established } = runKx(kxParties())
  if (established === undefined) throw new Error('no kx')
  abandonLsKx(established)
  t.ok(established.name === 'established' && established.session.seal.seal(FrameType.echo, Buffer.alloc(1), 5_000))
})

t.test('a configuration that cannot work fails the kx before anything is sent', async (t) => {
  const { terms } = kxParties().ls
  const wrong = {
    'bank code': { bankCode: 'no spaces' },
    'session id': { sessionId: randomBytes(8) },
    generation: { generation: 2 ** 53 },
    exporter: { exporter: randomBytes(31) },
    terms: { terms: { ...terms, echoIntervalMs: 0 } },
  }
  for (const [what, override] of Object.entries(wrong)) {
    const step = beginLsKx(kxParties({ ls: override }).ls, KX_TIME)
    t.equal(kxError(step.state).code, 'KX_FAILED', what)
    t.equal(step.frame, undefined, what)
  }
  t.equal(kxError(runKx(kxParties({ ls: { epoch: 65_536 } })).ls).code, 'INTERNAL', 'epoch')
})

t.test('a session holds on to no buffer of the frames that made it', async (t) => {
  const { ls } = runKx(kxParties())
  if (ls?.name !== 'established') throw new Error('the kx failed')
  const { sessionId, peerIdentity, peerStatic, handshakeHash, offer } = ls.session
  const kept = [sessionId, peerIdentity, peerStatic, handshakeHash, offer.bootId]
  t.strictSame(new Set(kept.map((bytes) => bytes.buffer)).size, 1)
  t.equal(sessionId.buffer.byteLength, 16 + 32 + 32 + 32 + 16)
  t.strictSame(
    kept.map((bytes) => bytes.length),
    [16, 32, 32, 32, 16],
  )
})
