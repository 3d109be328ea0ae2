import { randomBytes } from 'node:crypto'
import t from 'tap'
import { readHeader } from '../../lib/frames/index.ts'
import { HandshakeState } from '../../lib/kx/handshake-state.ts'
import { XX } from '../../lib/kx/patterns.ts'
import { OpeningKey, SealingKey } from '../../lib/kx/session-keys.ts'
import { x25519KeyPairFromRaw } from '../../lib/kx/x25519.ts'
import { newKeyPair } from '../support/kx-parties.ts'
import { type KxVector, readKxVectors } from '../support/kx-vectors.ts'

function statesOf(vector: KxVector): { ls: HandshakeState; xchange: HandshakeState } {
  const common = { pattern: XX, prologue: vector.prologue }
  return {
    ls: new HandshakeState({
      ...common,
      role: 'initiator',
      staticKeys: x25519KeyPairFromRaw(vector.lsStatic),
      newEphemeral: () => x25519KeyPairFromRaw(vector.lsEphemeral),
    }),
    xchange: new HandshakeState({
      ...common,
      role: 'responder',
      staticKeys: x25519KeyPairFromRaw(vector.xchangeStatic),
      newEphemeral: () => x25519KeyPairFromRaw(vector.xchangeEphemeral),
    }),
  }
}

function newStates(prologues = { ls: Buffer.from('p'), xchange: Buffer.from('p') }) {
  const common = { pattern: XX, newEphemeral: newKeyPair }
  return {
    ls: new HandshakeState({ ...common, role: 'initiator', prologue: prologues.ls, staticKeys: newKeyPair() }),
    xchange: new HandshakeState({
      ...common,
      role: 'responder',
      prologue: prologues.xchange,
      staticKeys: newKeyPair(),
    }),
  }
}

t.test('LS-4 the handshakes and first frames of the vectors', async (t) => {
  for (const vector of readKxVectors()) {
    const { ls, xchange } = statesOf(vector)
    vector.handshake.forEach(({ payload, message }, index) => {
      const [writer, reader] = index % 2 === 0 ? [ls, xchange] : [xchange, ls]
      t.same(writer.writeMessage(payload), message, `${vector.bankCode}: message ${index + 1} as written`)
      t.same(reader.readMessage(message), payload, `${vector.bankCode}: message ${index + 1} as read`)
    })
    const lsResult = ls.finish()
    const xchangeResult = xchange.finish()
    t.same(lsResult.handshakeHash, vector.handshakeHash)
    t.same(xchangeResult.handshakeHash, vector.handshakeHash)
    t.same(lsResult.remoteStatic, x25519KeyPairFromRaw(vector.xchangeStatic).publicKey)
    t.same(xchangeResult.remoteStatic, x25519KeyPairFromRaw(vector.lsStatic).publicKey)

    const epoch = readHeader(vector.frames[0]?.header ?? Buffer.alloc(0)).epoch
    const keys = {
      ls: {
        seal: new SealingKey(lsResult.initiatorKey, epoch, 0, 0),
        open: new OpeningKey(xchangeResult.initiatorKey, epoch, 0, 0),
      },
      xchange: {
        seal: new SealingKey(xchangeResult.responderKey, epoch, 0, 0),
        open: new OpeningKey(lsResult.responderKey, epoch, 0, 0),
      },
    }
    for (const { from, header, plaintext, frame } of vector.frames) {
      t.same(keys[from].seal.seal(readHeader(header).type, plaintext, 0), frame, `${vector.bankCode}: frame sealed`)
      t.same(keys[from].open.open(frame, 0), plaintext, `${vector.bankCode}: frame opened`)
    }
  }
})

t.test('a call out of turn is a defect of ours', async (t) => {
  const { ls, xchange } = newStates()
  const defect = { code: 'INTERNAL' }
  t.throws(() => xchange.writeMessage(Buffer.alloc(0)), defect)
  t.throws(() => ls.readMessage(randomBytes(32)), defect)
  t.throws(() => ls.finish(), defect)
  t.throws(() => ls.remoteStatic, defect)
  const first = ls.writeMessage(Buffer.alloc(0))
  t.throws(() => ls.writeMessage(Buffer.alloc(0)), defect)
  t.same(xchange.readMessage(first), Buffer.alloc(0), 'the right call still works')
})

t.test('a finished state is consumed', async (t) => {
  const { ls, xchange } = newStates()
  xchange.readMessage(ls.writeMessage(Buffer.alloc(0)))
  ls.readMessage(xchange.writeMessage(Buffer.alloc(0)))
  xchange.readMessage(ls.writeMessage(Buffer.alloc(0)))
  t.same(ls.finish().initiatorKey, xchange.finish().initiatorKey)
  t.throws(() => ls.finish(), { code: 'INTERNAL' })
})

t.test('a failure destroys the state: the right message is not taken after a wrong one', async (t) => {
  const { ls, xchange } = newStates()
  xchange.readMessage(ls.writeMessage(Buffer.alloc(0)))
  const second = xchange.writeMessage(Buffer.from('payload'))
  const wrong = Buffer.from(second)
  wrong[40] = (wrong[40] ?? 0) ^ 1
  t.throws(() => ls.readMessage(wrong), { code: 'KX_FAILED' })
  t.throws(() => ls.readMessage(second), { code: 'INTERNAL' })
})

t.test('messages cut at each byte and one that is too long', async (t) => {
  const { ls, xchange } = newStates()
  xchange.readMessage(ls.writeMessage(Buffer.alloc(0)))
  const second = xchange.writeMessage(Buffer.from('payload'))
  for (let length = 0; length < 32; length++) {
    const responder = newStates().xchange
    t.throws(() => responder.readMessage(randomBytes(length)), { code: 'KX_FAILED' }, `message 1 of ${length}`)
  }
  for (const length of [0, 31, 32, 79, 80, 95, second.length - 1]) {
    const initiator = newStates().ls
    initiator.writeMessage(Buffer.alloc(0))
    t.throws(() => initiator.readMessage(second.subarray(0, length)), { code: 'KX_FAILED' }, `message 2 of ${length}`)
  }
  t.throws(
    () => newStates().xchange.readMessage(Buffer.alloc(65_536)),
    { code: 'KX_FAILED' },
    'longer than Noise allows',
  )
  t.throws(() => newStates().ls.writeMessage(Buffer.alloc(65_536)), { code: 'INTERNAL' }, 'longer than Noise allows')
})

t.test('different prologues do not meet', async (t) => {
  const { ls, xchange } = newStates({ ls: Buffer.from('one'), xchange: Buffer.from('two') })
  xchange.readMessage(ls.writeMessage(Buffer.alloc(0)))
  t.throws(() => ls.readMessage(xchange.writeMessage(Buffer.alloc(0))), { code: 'KX_FAILED' })
})
