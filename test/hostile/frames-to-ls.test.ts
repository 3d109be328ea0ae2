import { randomBytes } from 'node:crypto'
import t from 'tap'
import { FrameType, ResponseStatus } from '../../lib/frames/index.ts'
import { withstand } from '../support/attack.ts'
import { DIALLED_FAKE, DIALLING_FAKE, fakeBanks } from '../support/fake-banks.ts'
import { type FakeXchange, requestBody, responseBody } from '../support/fake-peers.ts'
import { type BankAttack, POLICY, strikeLs, WEBSOCKET } from './bank-attack.ts'
import { flipped, header } from './hostile-frames.ts'

/** What a keyed xchange may send. */
const AFTER_KX: readonly BankAttack[] = [
  { title: 'random bytes', send: ({ socket }) => socket.send(randomBytes(200)), ...POLICY, says: /version|type/ },
  {
    title: 'an unknown frame type',
    send: ({ socket }) => socket.send(header(9, 1, 1)),
    ...POLICY,
    says: /unknown type/,
  },
  {
    title: 'a frame twice',
    send: (fake) => {
      const frame = fake.seal(FrameType.control, { kind: 'window', windowRecords: 10 })
      fake.socket.send(frame)
      fake.socket.send(frame)
    },
    ...POLICY,
    says: /not the next one of its epoch/,
  },
  {
    title: 'two frames in the wrong order',
    send: (fake) => {
      const frames = [1, 2].map((n) => fake.seal(FrameType.control, { kind: 'window', windowRecords: n }))
      for (const frame of frames.reverse()) fake.socket.send(frame)
    },
    ...POLICY,
    says: /not the next one of its epoch/,
  },
  {
    title: 'a frame left out',
    send: (fake) => {
      fake.seal(FrameType.control, { kind: 'window', windowRecords: 1 })
      fake.sendSealed(FrameType.control, { kind: 'window', windowRecords: 2 })
    },
    ...POLICY,
    says: /not the next one of its epoch/,
  },
  {
    title: 'a flipped bit in the body',
    send: (fake) => fake.socket.send(flipped(fake.seal(FrameType.response, responseBody({ id: 1 })), 13)),
    ...POLICY,
    says: /does not verify/,
  },
  {
    title: 'a flipped bit in the tag',
    send: (fake) => fake.socket.send(flipped(fake.seal(FrameType.response, responseBody({ id: 1 })), -1)),
    ...POLICY,
    says: /does not verify/,
  },
  {
    title: 'a response that claims to be an echo',
    send: (fake) => fake.socket.send(retyped(fake.seal(FrameType.response, responseBody({ id: 1 })), FrameType.echo)),
    ...POLICY,
    says: /does not verify/,
  },
  {
    title: 'a truncated frame',
    send: (fake) => fake.socket.send(fake.seal(FrameType.response, responseBody({ id: 1 })).subarray(0, 30)),
    ...POLICY,
    says: /verify|not possible/,
  },
  {
    title: 'a sealed frame without room for its tag',
    send: ({ socket }) => socket.send(Buffer.concat([header(3, 1, 1), Buffer.alloc(8)])),
    ...POLICY,
    says: /not possible/,
  },
  {
    title: 'an epoch that is not in force',
    send: ({ socket }) => socket.send(Buffer.concat([header(3, 2, 0), randomBytes(40)])),
    ...POLICY,
    says: /epoch that is not in force/,
  },
  {
    title: 'a frame over the agreed limit',
    send: (fake) => fake.socket.send(Buffer.concat([header(3, 1, 1), Buffer.alloc(65_536)])),
    ...WEBSOCKET,
    says: /Max payload size exceeded/,
  },
  {
    title: 'a batch with no record',
    send: (fake) => fake.sendSealed(FrameType.response, Buffer.alloc(0)),
    ...POLICY,
    says: /batch is empty/,
  },
  {
    title: 'a batch of garbage',
    send: (fake) => fake.sendSealed(FrameType.response, randomBytes(100)),
    ...POLICY,
    says: /record/,
  },
  {
    title: 'a request record for a response',
    send: (fake) => fake.sendSealed(FrameType.response, requestBody({ id: 1, method: 'm' })),
    ...POLICY,
    says: /record/,
  },
  {
    title: 'an echo of another shape',
    send: (fake) => fake.sendSealed(FrameType.echo, { n: 'one' }),
    ...POLICY,
    says: /echo of the wrong shape/,
  },
  {
    title: 'an echo reply of another shape',
    send: (fake) => fake.sendSealed(FrameType.echoReply, { n: 1 }),
    ...POLICY,
    says: /echo reply of the wrong shape/,
  },
  {
    title: 'an echo that is no map',
    send: (fake) => fake.sendSealed(FrameType.echo, Buffer.from([0x93, 1, 2, 3])),
    ...POLICY,
    says: /map was expected/,
  },
  {
    title: 'a map with the same key twice',
    send: (fake) => fake.sendSealed(FrameType.control, Buffer.from('82a46b696e64a161a46b696e64a162', 'hex')),
    ...POLICY,
    says: /same key twice/,
  },
  {
    title: 'a msgpack extension',
    send: (fake) => fake.sendSealed(FrameType.control, Buffer.from('81a46b696e64d40072', 'hex')),
    ...POLICY,
    says: /extension/,
  },
  {
    title: 'a window that is no number',
    send: (fake) => fake.sendSealed(FrameType.control, { kind: 'window', windowRecords: -1 }),
    ...POLICY,
    says: /window of the wrong shape/,
  },
  {
    title: 'a kx frame that nobody asked for',
    send: ({ socket }) => socket.send(Buffer.concat([header(1, 0, 1), randomBytes(100)])),
    ...POLICY,
    says: /LS began no kx/,
  },
  { title: 'a text message', send: ({ socket }) => socket.send('hello'), ...WEBSOCKET, says: /text message/ },
]

t.test('LS-8 LS drops a keyed bank that breaks the protocol', async (t) => {
  const stage = await fakeBanks(t)
  for (const attack of AFTER_KX) {
    t.test(attack.title, (t) => strikeLs(t, stage, DIALLING_FAKE, attack, true))
  }
  for (const attack of AFTER_KX.slice(0, 2)) {
    t.test(`${attack.title}, from a bank that LS dialled`, (t) => strikeLs(t, stage, DIALLED_FAKE, attack, true))
  }
})

t.test('LS-8 a frame of an earlier session opens in no later one', async (t) => {
  const stage = await fakeBanks(t)
  const first = await stage.keyedAsBank(DIALLING_FAKE)
  const old = first.seal(FrameType.control, { kind: 'window', windowRecords: 1 })
  const second = await stage.keyedAsBank(DIALLING_FAKE)
  t.match(await first.socket.closed, { code: 4409 }, 'the newer socket of the bank took over')
  const mark = stage.ls.log.mark
  second.socket.send(old)
  t.match(await second.socket.closed, { code: 4400, reason: 'FRAME_INVALID' })
  t.match(await stage.ls.log.until({ bankCode: DIALLING_FAKE, code: 'FRAME_INVALID', audit: true }, { mark }), {
    msg: /does not verify/,
  })
})

t.test('BEY-2 whatever a bank answers, its requests have one outcome each', async (t) => {
  const stage = await fakeBanks(t)
  const { ls } = stage
  /** msgpack {code: text}, where the text is one that the map decoder refuses and the batch decoder does not look into. */
  const markedText = Buffer.concat([Buffer.from('81a4636f6465d946efbbbf', 'hex'), Buffer.alloc(67, 0x61)])
  const answers: Record<string, (fake: FakeXchange, id: number) => void> = {
    'garbage in a sealed frame': (fake) => fake.sendSealed(FrameType.response, randomBytes(50)),
    'an answer that cannot be understood': (fake, id) =>
      fake.sendResponses({ id, status: ResponseStatus.refused, meta: markedText }),
    'the same answer twice in one frame, then garbage': (fake, id) => {
      fake.sendResponses({ id: id + 1 }, { id: id + 1 })
      fake.sendSealed(FrameType.response, randomBytes(50))
    },
    'nothing but a goodbye': (fake) => fake.sendSealed(FrameType.control, { kind: 'goodbye' }),
    'nothing but the end of the socket': (fake) => fake.socket.webSocket.terminate(),
  }
  for (const [title, answer] of Object.entries(answers)) {
    const fake = await stage.keyedAsBank(DIALLING_FAKE)
    await withstand(t, stage, '058', async () => {
      const asked = ls.ask({ to: DIALLING_FAKE, method: 'echo', payload: title, timeoutMs: 300 })
      const [request] = await fake.receiveRequests()
      answer(fake, request?.id ?? 0)
      await fake.socket.closed
      t.match(await asked, { outcome: 'in-doubt', code: 'IN_DOUBT' }, title)
      t.equal((await ls.bankStatus(DIALLING_FAKE)).inFlight, 0)
    })
  }
})

function retyped(frame: Buffer, type: FrameType): Buffer {
  const copy = Buffer.from(frame)
  copy[1] = type
  return copy
}
