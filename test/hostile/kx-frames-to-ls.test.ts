import { randomBytes } from 'node:crypto'
import t from 'tap'
import { decodeMap, encodeMap, HEADER_BYTES } from '../../lib/frames/index.ts'
import { DIALLED_FAKE, DIALLING_FAKE, fakeBanks } from '../support/fake-banks.ts'
import { type BankAttack, KX, POLICY, strikeLs, WEBSOCKET } from './bank-attack.ts'
import { flipped, header, rawWebSocketFrame } from './hostile-frames.ts'

/** What an xchange may answer to INIT_KX. */
const BEFORE_KX: readonly BankAttack[] = [
  { title: 'random bytes', send: ({ socket }) => socket.send(randomBytes(200)), ...POLICY, says: /version|type/ },
  {
    title: 'an empty message',
    send: ({ socket }) => socket.send(Buffer.alloc(0)),
    ...POLICY,
    says: /shorter than its header/,
  },
  {
    title: 'half a header',
    send: ({ socket }) => socket.send(header(1, 0, 0).subarray(0, 7)),
    ...POLICY,
    says: /shorter/,
  },
  {
    title: 'an unknown frame type',
    send: ({ socket }) => socket.send(header(7, 0, 0)),
    ...POLICY,
    says: /unknown type/,
  },
  {
    title: 'another protocol version',
    send: ({ socket }) => socket.send(header(1, 0, 0, 2)),
    ...POLICY,
    says: /version/,
  },
  {
    title: 'a sequence above 2^53',
    send: ({ socket }) => socket.send(Buffer.concat([header(1, 0, 0).subarray(0, 4), Buffer.alloc(8, 0xff)])),
    ...POLICY,
    says: /sequence/,
  },
  {
    title: 'a sealed frame before the kx',
    send: ({ socket }) => socket.send(Buffer.concat([header(3, 1, 0), randomBytes(64)])),
    ...POLICY,
    says: /before the kx was finished/,
  },
  {
    title: 'a header and nothing behind it',
    send: ({ socket }) => socket.send(header(1, 0, 1)),
    ...KX,
    says: /INIT_KX_RSP is malformed/,
  },
  {
    title: 'a kx frame with garbage in it',
    send: ({ socket }) => socket.send(Buffer.concat([header(1, 0, 1), randomBytes(300)])),
    ...KX,
    says: /INIT_KX_RSP is malformed/,
  },
  {
    title: 'a kx frame far too large',
    send: ({ socket }) => socket.send(Buffer.concat([header(1, 0, 1), Buffer.alloc(50_000)])),
    ...KX,
    says: /kx frame of 50012 bytes is over 4096/,
  },
  {
    title: 'its own INIT_KX sent back',
    send: ({ socket }, initKx) => socket.send(initKx),
    ...KX,
    says: /INIT_KX_RSP does not have exactly the fields/,
  },
  {
    title: 'a kx map with a field too many',
    send: ({ socket }) =>
      socket.send(
        Buffer.concat([
          header(1, 0, 1),
          encodeMap({
            command: 'INIT_KX_RSP',
            bankCode: '077',
            sessionId: randomBytes(16),
            response: 1,
            body: randomBytes(96),
            more: 1,
          }),
        ]),
      ),
    ...KX,
    says: /INIT_KX_RSP does not have exactly the fields/,
  },
  {
    title: 'a truncated INIT_KX_RSP',
    send: (fake, initKx) => fake.socket.send(fake.answerInitKx(initKx).subarray(0, -1)),
    ...KX,
    says: /INIT_KX_RSP is malformed/,
  },
  {
    title: 'an INIT_KX_RSP with a flipped bit',
    send: (fake, initKx) => fake.socket.send(flipped(fake.answerInitKx(initKx), -20)),
    ...KX,
    says: /handshake message does not verify/,
  },
  {
    title: 'INIT_KX_RSP twice',
    send: (fake, initKx) => {
      const answer = fake.answerInitKx(initKx)
      fake.socket.send(answer)
      fake.socket.send(answer)
    },
    ...KX,
    says: /FIN_KX_RSP does not have exactly the fields/,
  },
  {
    title: 'FIN_KX_RSP with a flipped bit',
    send: async (fake, initKx) => {
      fake.socket.send(fake.answerInitKx(initKx))
      fake.socket.send(flipped(fake.answerFinKx(await fake.socket.receive()), -3))
    },
    ...KX,
    says: /confirmation in FIN_KX_RSP does not verify/,
  },
  {
    title: 'a refusal of the kx',
    send: ({ socket }, initKx) =>
      socket.send(
        Buffer.concat([
          header(1, 0, 1),
          encodeMap({
            command: 'INIT_KX_RSP',
            bankCode: '077',
            sessionId: sessionIdOf(initKx),
            response: 0,
            body: Buffer.alloc(0),
          }),
        ]),
      ),
    ...KX,
    says: /the xchange refused the key exchange; see its log/,
  },
  {
    title: 'a text message',
    send: ({ socket }) => socket.send('{"command":"INIT_KX_RSP"}'),
    ...WEBSOCKET,
    says: /text message/,
  },
  {
    title: 'a message over the frame limit',
    send: ({ socket }) => socket.send(Buffer.alloc(70_000)),
    ...WEBSOCKET,
    says: /WebSocket protocol: Max payload size exceeded/,
  },
  {
    title: 'a message in too many fragments',
    send: ({ socket }) => {
      for (let part = 0; part < 20; part++) socket.send(Buffer.alloc(8), { fin: false })
    },
    ...WEBSOCKET,
    says: /WebSocket protocol/,
  },
  {
    title: 'bytes that are no WebSocket frame',
    send: ({ socket }) => socket.sendBelow(Buffer.alloc(64, 0xff)),
    ...WEBSOCKET,
    says: /WebSocket protocol/,
  },
  {
    title: 'a compressed message that nobody agreed on',
    send: ({ socket }) => socket.sendBelow(rawWebSocketFrame(0xc2, randomBytes(32))),
    ...WEBSOCKET,
    says: /WebSocket protocol/,
  },
]

t.test('LS drops a bank that breaks the protocol before its kx is done', async (t) => {
  const stage = await fakeBanks(t)
  for (const attack of BEFORE_KX) {
    t.test(attack.title, (t) => strikeLs(t, stage, DIALLING_FAKE, attack, false))
  }
  for (const attack of BEFORE_KX.slice(0, 2)) {
    t.test(`${attack.title}, from a bank that LS dialled`, (t) => strikeLs(t, stage, DIALLED_FAKE, attack, false))
  }
})

function sessionIdOf(initKx: Buffer): unknown {
  return decodeMap(initKx.subarray(HEADER_BYTES)).sessionId
}
