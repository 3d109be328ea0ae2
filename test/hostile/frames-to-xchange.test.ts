import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { FrameType } from '../../lib/frames/index.ts'
import { withstand } from '../support/attack.ts'
import { LONE_BANK, type LoneXchange, loneXchange } from '../support/fake-banks.ts'
import { type FakeLs, type FakeLsOptions, requestBody, responseBody } from '../support/fake-peers.ts'
import { flipped, header, rawWebSocketFrame } from './hostile-frames.ts'

interface Attack {
  readonly title: string
  readonly send: (fake: FakeLs) => void | Promise<void>
  readonly code: 'FRAME_INVALID' | 'KX_FAILED'
  /** 1006: the xchange ended it without a close frame, because the WebSocket itself was broken. */
  readonly closeCodes: readonly number[]
  readonly says: RegExp
}

const POLICY = { code: 'FRAME_INVALID', closeCodes: [4400] } as const
const KX = { code: 'KX_FAILED', closeCodes: [4401] } as const
const WEBSOCKET = { code: 'FRAME_INVALID', closeCodes: [1002, 1006, 1008, 1009] } as const

const BEFORE_KX: readonly Attack[] = [
  { title: 'random bytes', send: ({ socket }) => socket.send(randomBytes(200)), ...POLICY, says: /version|type/ },
  { title: 'an empty message', send: ({ socket }) => socket.send(Buffer.alloc(0)), ...POLICY, says: /shorter/ },
  { title: 'an unknown type', send: ({ socket }) => socket.send(header(0, 0, 0)), ...POLICY, says: /unknown type/ },
  {
    title: 'a sealed request before the kx',
    send: ({ socket }) => socket.send(Buffer.concat([header(2, 1, 0), randomBytes(64)])),
    ...POLICY,
    says: /before the kx was finished/,
  },
  {
    title: 'an INIT_KX of garbage',
    send: ({ socket }) => socket.send(Buffer.concat([header(1, 0, 0), randomBytes(100)])),
    ...KX,
    says: /INIT_KX is malformed/,
  },
  {
    title: 'a truncated INIT_KX',
    send: (fake) => fake.socket.send(fake.initKx().subarray(0, -5)),
    ...KX,
    says: /INIT_KX is malformed/,
  },
  {
    title: 'INIT_KX twice',
    send: (fake) => {
      const initKx = fake.initKx()
      fake.socket.send(initKx)
      fake.socket.send(initKx)
    },
    ...POLICY,
    says: /a second INIT_KX before the first was finished/,
  },
  {
    title: 'FIN_KX before INIT_KX',
    send: ({ socket }) => socket.send(Buffer.concat([header(1, 0, 2), randomBytes(100)])),
    ...KX,
    says: /INIT_KX is malformed/,
  },
  {
    title: 'a FIN_KX with a flipped bit',
    send: async (fake) => {
      fake.socket.send(fake.initKx())
      fake.socket.send(flipped(fake.finKx(await fake.socket.receive()), -30))
    },
    ...KX,
    says: /handshake message does not verify/,
  },
  {
    title: 'a FIN_KX of another handshake',
    send: async (fake) => {
      fake.socket.send(fake.initKx())
      const answer = await fake.socket.receive()
      const finKx = fake.finKx(answer)
      finKx.set(randomBytes(16), finKx.length - 16)
      fake.socket.send(finKx)
    },
    ...KX,
    says: /handshake message does not verify/,
  },
  {
    title: 'a text message',
    send: ({ socket }) => socket.send('{"command":"INIT_KX"}'),
    ...WEBSOCKET,
    says: /text message/,
  },
  {
    title: 'a message over the frame limit',
    send: ({ socket }) => socket.send(Buffer.alloc(70_000)),
    ...WEBSOCKET,
    says: /Max payload size exceeded/,
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

const AFTER_KX: readonly Attack[] = [
  { title: 'random bytes', send: ({ socket }) => socket.send(randomBytes(200)), ...POLICY, says: /version|type/ },
  {
    title: 'a request twice',
    send: (fake) => {
      const frame = fake.seal(FrameType.request, requestBody({ id: 1, method: 'echo' }))
      fake.socket.send(frame)
      fake.socket.send(frame)
    },
    ...POLICY,
    says: /not the next one of its epoch/,
  },
  {
    title: 'two requests in the wrong order',
    send: (fake) => {
      const frames = [1, 2].map((id) => fake.seal(FrameType.request, requestBody({ id, method: 'echo' })))
      for (const frame of frames.reverse()) fake.socket.send(frame)
    },
    ...POLICY,
    says: /not the next one of its epoch/,
  },
  {
    title: 'a flipped bit',
    send: (fake) => fake.socket.send(flipped(fake.seal(FrameType.request, requestBody({ id: 1, method: 'echo' })), 20)),
    ...POLICY,
    says: /does not verify/,
  },
  {
    title: 'a truncated request',
    send: (fake) =>
      fake.socket.send(fake.seal(FrameType.request, requestBody({ id: 1, method: 'echo' })).subarray(0, -1)),
    ...POLICY,
    says: /does not verify/,
  },
  {
    title: 'an epoch that is not in force',
    send: ({ socket }) => socket.send(Buffer.concat([header(2, 7, 0), randomBytes(64)])),
    ...POLICY,
    says: /epoch that is not in force/,
  },
  {
    title: 'a batch of garbage',
    send: (fake) => fake.sendSealed(FrameType.request, randomBytes(100)),
    ...POLICY,
    says: /record/,
  },
  {
    title: 'a response record for a request',
    send: (fake) => fake.sendSealed(FrameType.request, responseBody({ id: 1 })),
    ...POLICY,
    says: /record/,
  },
  {
    title: 'an echo of another shape',
    send: (fake) => fake.sendSealed(FrameType.echo, { sessionId: 'x', bankCode: LONE_BANK, n: 0 }),
    ...POLICY,
    says: /echo of the wrong shape/,
  },
]

async function strike(t: Test, stage: LoneXchange, attack: Attack, isKeyed: boolean): Promise<void> {
  const { log } = stage.xchange
  await withstand(t, stage, '058', async () => {
    const fake = await stage.open()
    const mark = log.mark
    if (isKeyed) await fake.key()
    await attack.send(fake)
    const { code } = await fake.socket.closed
    t.ok(attack.closeCodes.includes(code), `the xchange ended the socket with ${code}`)
    const line = await log.until({ code: attack.code, msg: /the channel to LS ended/ }, { mark })
    t.match(line.msg, attack.says, 'and the log says why')
    t.match(line, { address: '127.0.0.1', wasActive: isKeyed })
  })
}

t.test('an xchange drops an LS that breaks the protocol before its kx is done', async (t) => {
  const stage = await loneXchange(t)
  for (const attack of BEFORE_KX) t.test(attack.title, (t) => strike(t, stage, attack, false))
})

t.test('LS-8 an xchange drops a keyed LS that breaks the protocol', async (t) => {
  const stage = await loneXchange(t)
  for (const attack of AFTER_KX) t.test(attack.title, (t) => strike(t, stage, attack, true))

  t.test('a kx that fails over a live session leaves that session alone', async (t) => {
    const { log } = stage.xchange
    const fake = await stage.open()
    await fake.key()
    await withstand(t, stage, '058', async () => {
      const mark = log.mark
      fake.socket.send(Buffer.concat([header(1, 0, 2), randomBytes(100)]))
      t.match(await log.until({ code: 'KX_FAILED', audit: true }, { mark }), { msg: /INIT_KX is malformed/ })
      // The refusal, and then answers as before.
      t.equal((await fake.nextKxFrame())[1], FrameType.kx)
      fake.sendRequest({ id: 9, method: 'echo', payload: Buffer.from([0x07]) })
      t.match(await fake.receiveResponses(), [{ id: 9, payload: Buffer.from([0x07]) }])
    })
    await fake.socket.close()
  })
})

t.test('KX_FAILED: a kx for another bank, or bound to another TLS connection', async (t) => {
  const stage = await loneXchange(t)
  const wrongs: Record<string, { over: Partial<FakeLsOptions>; says: RegExp }> = {
    'for another bank': { over: { bankCode: '058' }, says: /INIT_KX is for another bank code/ },
    'BEY-1 with the exporter of another TLS connection': {
      over: { exporter: randomBytes(32) },
      says: /closed the socket during the kx/,
    },
    'BEY-1 without channel binding': { over: { exporter: Buffer.alloc(0) }, says: /closed the socket during the kx/ },
  }
  for (const [title, { over, says }] of Object.entries(wrongs)) {
    await withstand(t, stage, '058', async () => {
      const fake = await stage.open(over)
      const { log } = stage.xchange
      const mark = log.mark
      await t.rejects(fake.key(), { code: 'KX_FAILED' }, title)
      await fake.socket.close()
      t.match(await log.until({ code: 'KX_FAILED', audit: true }, { mark }), { msg: says })
    })
  }
})
