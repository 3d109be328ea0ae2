import { randomBytes } from 'node:crypto'
import t from 'tap'
import { readHeader } from '../../lib/frames/index.ts'
import { abandonXchangeKx, answerFinKx, answerInitKx, beginLsKx, continueLsKx } from '../../lib/kx/index.ts'
import { decodeInitKx, decodeInitKxRsp, encodeInitKx } from '../../lib/kx/messages.ts'
import { KX_TIME, type KxParties, kxError, kxParties, newIdentity, newKeyPair, runKx } from '../support/kx-parties.ts'

function initKx(parties: KxParties): Buffer {
  return beginLsKx(parties.ls, KX_TIME).frame ?? Buffer.alloc(0)
}

t.test('an LS older than one accepted before is refused; the same one and a newer one are not', async (t) => {
  const generation = 1_800_000_000_000
  const stale = runKx(kxParties({ ls: { generation }, xchange: { highestGeneration: generation + 1 } }))
  t.match(kxError(stale.xchange), { code: 'STALE_GENERATION', facts: { generation } })
  t.equal(kxError(stale.ls).code, 'KX_FAILED', 'LS learns nothing but the refusal')
  for (const highestGeneration of [0, generation - 1, generation]) {
    const run = runKx(kxParties({ ls: { generation }, xchange: { highestGeneration } }))
    t.equal(run.ls?.name, 'established', `highest ${highestGeneration}`)
    t.ok(run.xchange?.name === 'established' && run.xchange.session.generation === generation)
  }
})

t.test('LS-7 an LS with an identity that is not pinned is denied', async (t) => {
  const run = runKx(kxParties({ ls: { identity: newIdentity() } }))
  t.equal(kxError(run.xchange).code, 'IDENTITY_DENIED')
  t.equal(kxError(run.ls).code, 'KX_FAILED', 'LS learns nothing but the refusal')
})

t.test('LS-7 the pinned identity of LS without its private key is of no use', async (t) => {
  const parties = kxParties()
  const impostor = { publicKey: parties.ls.identity.publicKey, sign: newIdentity().sign }
  const run = runKx({ ...parties, ls: { ...parties.ls, identity: impostor } })
  t.match(kxError(run.xchange), { code: 'KX_FAILED', message: /signature/ })
})

t.test('LS-7 a man in the middle cannot pass on the proof of LS', async (t) => {
  const parties = kxParties()
  let captured: Buffer = Buffer.alloc(0)
  const { publicKey, sign } = parties.ls.identity
  const watched = {
    publicKey,
    sign: (message: Buffer) => {
      captured = sign(message)
      return captured
    },
  }
  t.equal(runKx({ ...parties, ls: { ...parties.ls, identity: watched } }).ls?.name, 'established')
  const middle = { ...parties.ls, identity: { publicKey, sign: () => captured }, staticKeys: newKeyPair() }
  t.match(kxError(runKx({ ...parties, ls: middle }).xchange), { code: 'KX_FAILED', message: /signature/ })
})

t.test('every refusal of INIT_KX looks the same', async (t) => {
  const parties = kxParties()
  const frame = initKx(parties)
  const lowOrder = encodeInitKx({ ...decodeInitKx(frame), body: Buffer.alloc(32) })
  const otherBank = answerInitKx({ ...parties.xchange, bankCode: '058' }, frame, KX_TIME)
  const stale = answerInitKx({ ...parties.xchange, highestGeneration: Number.MAX_SAFE_INTEGER }, frame, KX_TIME)
  const malformed = answerInitKx(parties.xchange, frame.subarray(0, 40), KX_TIME)
  t.equal(kxError(otherBank.state).code, 'KX_FAILED')
  t.equal(kxError(stale.state).code, 'STALE_GENERATION')
  t.equal(kxError(malformed.state).code, 'KX_FAILED')
  for (const { frame: refusal } of [otherBank, stale, malformed]) {
    t.same(readHeader(refusal), { type: 1, epoch: 0, sequence: 1 })
    t.equal(refusal.length, stale.frame.length)
  }
  t.same(decodeInitKxRsp(stale.frame, parties.ls), { accepted: false })

  const low = answerInitKx(parties.xchange, lowOrder, KX_TIME)
  t.match(kxError(low.state), { code: 'KX_FAILED', message: /low order/ })
  t.same(low.frame, stale.frame)
})

t.test('every refusal of FIN_KX looks the same', async (t) => {
  const refusals: Buffer[] = []
  const sessionId = randomBytes(16)
  const { terms } = kxParties().ls
  const causes: Record<string, KxParties> = {
    'identity not pinned': kxParties({ ls: { sessionId, identity: newIdentity() } }),
    'proof too long': kxParties({ ls: { sessionId, proofLifetimeMs: 86_400_000 } }),
    'epoch used up': kxParties({ ls: { sessionId }, xchange: { epoch: 65_536 } }),
    'own terms': kxParties({ ls: { sessionId, terms } }),
  }
  for (const [cause, parties] of Object.entries(causes)) {
    const spoil = cause === 'own terms'
    const run = runKx(parties, {
      tamper: (frame, index) => (spoil && index === 2 ? frame.subarray(0, frame.length - 1) : frame),
    })
    t.equal(run.xchange?.name, 'failed', cause)
    t.equal(kxError(run.ls).message, 'the xchange refused the key exchange; see its log', cause)
    refusals.push(run.frames[3] ?? Buffer.alloc(0))
  }
  t.same(readHeader(refusals[0] ?? Buffer.alloc(0)), { type: 1, epoch: 0, sequence: 3 })
  for (const refusal of refusals) t.same(refusal, refusals[0])
})

t.test('low-order X25519 keys in INIT_KX fail cleanly, whichever', async (t) => {
  const parties = kxParties()
  const message = decodeInitKx(initKx(parties))
  for (const hex of [
    '0100000000000000000000000000000000000000000000000000000000000000',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  ]) {
    const step = answerInitKx(parties.xchange, encodeInitKx({ ...message, body: Buffer.from(hex, 'hex') }), KX_TIME)
    t.match(kxError(step.state), { code: 'KX_FAILED', party: 'peer' }, hex)
  }
})

t.test('INIT_KX with a payload is refused: nothing would protect it', async (t) => {
  const parties = kxParties()
  const message = decodeInitKx(initKx(parties))
  const body = Buffer.concat([message.body, Buffer.from('payload')])
  t.match(kxError(answerInitKx(parties.xchange, encodeInitKx({ ...message, body }), KX_TIME).state), {
    code: 'KX_FAILED',
  })
})

t.test('terms that ask for more than was offered are refused', async (t) => {
  const parties = kxParties()
  // LS takes the smaller limit by itself; one that does not is simulated by an xchange that offered less than it said.
  const offer = { ...parties.xchange.offer }
  const init = beginLsKx(parties.ls, KX_TIME)
  const initRsp = answerInitKx({ ...parties.xchange, offer }, init.frame ?? Buffer.alloc(0), KX_TIME)
  const fin = continueLsKx(init.state, initRsp.frame, KX_TIME)
  offer.maxFrameBytes = 1_024
  const end = answerFinKx(initRsp.state, fin.frame ?? Buffer.alloc(0), KX_TIME)
  t.match(kxError(end.state), { code: 'KX_FAILED', message: /larger frames/ })
})

t.test('clocks further apart than the skew fail on this side too', async (t) => {
  const parties = kxParties({ ls: { clockSkewMs: 3_600_000 } })
  const run = runKx(parties, { lsTime: { ...KX_TIME, wallMs: KX_TIME.wallMs + 60_001 } })
  t.match(kxError(run.xchange), { code: 'KX_FAILED', message: /clocks/ })
})

t.test('each phase is continued once', async (t) => {
  const { ls, xchange } = kxParties()
  const init = beginLsKx(ls, KX_TIME)
  const initRsp = answerInitKx(xchange, init.frame ?? Buffer.alloc(0), KX_TIME)
  const fin = continueLsKx(init.state, initRsp.frame, KX_TIME)
  const finKx = fin.frame ?? Buffer.alloc(0)
  const end = answerFinKx(initRsp.state, finKx, KX_TIME)
  t.equal(end.state.name, 'established')
  for (const state of [initRsp.state, end.state]) {
    t.throws(() => answerFinKx(state, finKx, KX_TIME), { code: 'INTERNAL' })
  }
})

t.test('an abandoned kx cannot go on', async (t) => {
  const parties = kxParties()
  const initRsp = answerInitKx(parties.xchange, initKx(parties), KX_TIME)
  abandonXchangeKx(initRsp.state)
  abandonXchangeKx(initRsp.state)
  t.throws(() => answerFinKx(initRsp.state, Buffer.alloc(0), KX_TIME), { code: 'INTERNAL' })
})

t.test('a configuration that cannot work fails the kx', async (t) => {
  const { offer } = kxParties().xchange
  const step = runKx(kxParties({ xchange: { offer: { ...offer, windowRecords: 0 } } }))
  t.match(kxError(step.xchange), { code: 'KX_FAILED', message: /windowRecords/ })
  const broken = {
    publicKey: randomBytes(32),
    sign: () => {
      throw new Error('the key store is away')
    },
  }
  t.match(kxError(runKx(kxParties({ xchange: { identity: broken } })).xchange), {
    code: 'INTERNAL',
    message: 'the key store is away',
  })
})
