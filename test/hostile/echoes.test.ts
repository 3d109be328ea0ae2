import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { decodeMap, FrameType, readHeader } from '../../lib/frames/index.ts'
import { withstand } from '../support/attack.ts'
import { DIALLED_FAKE, DIALLING_FAKE, fakeBanks, LONE_BANK, loneXchange } from '../support/fake-banks.ts'
import type { FakeXchange } from '../support/fake-peers.ts'

const QUICK_ECHO = { echo: { intervalMs: 200, timeoutMs: 150 }, kx: { timeoutMs: 500 } }

/** Opens what comes until LS begins a kx, and returns its INIT_KX. `onEcho` answers the echoes on the way. */
async function untilInitKx(fake: FakeXchange, onEcho: (body: Record<string, unknown>) => void): Promise<Buffer> {
  for (;;) {
    const frame = await fake.socket.receive()
    if (readHeader(frame).type === FrameType.kx) return frame
    const opened = fake.open(frame)
    if (opened.type === FrameType.echo) onEcho(decodeMap(opened.body))
  }
}

/** Behaves until the test is over: LS must not begin another kx because of unanswered echoes. */
function behave(fake: FakeXchange): void {
  fake.receive(FrameType.request).catch(() => {})
}

for (const bank of [DIALLED_FAKE, DIALLING_FAKE]) {
  t.test(
    `LS-11 wrong session ids in echoes, from a bank that ${bank === DIALLED_FAKE ? 'LS dialled' : 'dialled LS'}`,
    async (t) => {
      const stage = await fakeBanks(t, { times: QUICK_ECHO })
      const { ls } = stage
      const survive = (t: Test, attack: () => Promise<void>) =>
        withstand(t, stage, '058', attack, { keepsSession: false })

      async function rekeyed(t: Test, misbehave: (fake: FakeXchange) => Promise<Buffer>): Promise<void> {
        const fake = await stage.keyedAsBank(bank)
        const mark = ls.log.mark
        const { sessionId: before } = await ls.bankStatus(bank)
        await fake.rekey(await misbehave(fake))
        behave(fake)
        const line = await ls.log.until({ bankCode: bank, msg: 'key exchange completed', reason: 'echo' }, { mark })
        t.match(line, { epoch: 2 })
        t.notMatch(line.sessionId, before, 'a new session, on the same socket')
        t.match(
          (await ls.log.until({ bankCode: bank, missed: 2, level: 40 }, { mark })).msg,
          /missed or named another session/,
        )
        if (bank === DIALLING_FAKE) await fake.socket.close()
      }

      t.test('LS-11 two echo replies of another session in a row start a new kx', async (t) => {
        await survive(t, () =>
          rekeyed(t, (fake) =>
            untilInitKx(fake, (echo) => fake.sendSealed(FrameType.echoReply, { ...echo, sessionId: randomBytes(16) })),
          ),
        )
      })
      t.test('LS-11 two echo replies of another bank in a row start a new kx', async (t) => {
        await survive(t, () =>
          rekeyed(t, (fake) =>
            untilInitKx(fake, (echo) => fake.sendSealed(FrameType.echoReply, { ...echo, bankCode: '058' })),
          ),
        )
      })
      t.test('LS-11 two echoes that were not answered in a row start a new kx', async (t) => {
        await survive(t, () => rekeyed(t, (fake) => untilInitKx(fake, () => {})))
      })
      t.test('LS-11 two echoes of another session start a new kx, and get the right one in reply', async (t) => {
        await survive(t, () =>
          rekeyed(t, async (fake) => {
            const own = fake.session.sessionId
            fake.sendEcho(1, { sessionId: randomBytes(16) })
            const { body } = await fake.receive(FrameType.echoReply)
            t.match(decodeMap(body), { sessionId: own, bankCode: bank, n: 1 })
            fake.sendEcho(2, { sessionId: randomBytes(16) })
            return untilInitKx(fake, () => {})
          }),
        )
      })

      t.test('LS-11 LS-13 a kx that is not answered either ends the socket, cause echo', async (t) => {
        await survive(t, async () => {
          const fake = await stage.keyedAsBank(bank)
          const mark = ls.log.mark
          await untilInitKx(fake, () => {})
          const line = await ls.log.until({ bankCode: bank, from: 'connected', to: 'idle' }, { mark })
          t.match(line, { cause: 'echo', code: 'KX_FAILED', msg: /new kx \(echo\) was not finished within 500 ms/ })
          await fake.socket.closed
          if (bank === DIALLED_FAKE) behave(await stage.keyedAsBank(bank))
        })
      })
    },
  )
}

t.test('a bank cannot keep LS busy with kx after kx', async (t) => {
  const stage = await fakeBanks(t)
  const { ls } = stage
  await withstand(t, stage, '058', async () => {
    const fake = await stage.keyedAsBank(DIALLING_FAKE)
    const mark = ls.log.mark
    const twoWrongEchoes = () => {
      for (const n of [1, 2]) fake.sendEcho(n, { sessionId: randomBytes(16) })
    }
    const answer = (echo: Record<string, unknown>) => fake.sendSealed(FrameType.echoReply, echo)
    twoWrongEchoes()
    await fake.rekey(await untilInitKx(fake, answer))
    twoWrongEchoes()
    t.match(await fake.socket.closed, { code: 4408 }, 'the second time in a row is the end of the socket')
    const line = await ls.log.until({ bankCode: DIALLING_FAKE, from: 'connected', to: 'idle' }, { mark })
    t.match(line, { cause: 'echo', msg: /echoes in a row were missed or named another session/ })
    t.equal(ls.log.all({ bankCode: DIALLING_FAKE, msg: 'key exchange completed' }, mark).length, 1)
  })
})

t.test('LS-11 an xchange answers echoes of another session with its own, and lets go at the fourth', async (t) => {
  const stage = await loneXchange(t)
  const { log } = stage.xchange
  await withstand(t, stage, '058', async () => {
    const mark = log.mark
    const fake = await stage.open()
    const { sessionId } = await fake.key()
    for (const n of [1, 2, 3, 4]) {
      fake.sendEcho(n, n === 1 ? { bankCode: '058' } : { sessionId: randomBytes(16) })
      const { body } = await fake.receive(FrameType.echoReply)
      t.match(decodeMap(body), { sessionId, bankCode: LONE_BANK, n })
    }
    t.match(await fake.socket.closed, { code: 4408, reason: 'CHANNEL_DOWN' })
    const line = await log.until({ cause: 'echo', msg: /the channel to LS ended/ }, { mark })
    t.match(line.msg, /4 echoes in a row were missed or named another session/)
  })
})

t.test('what a bank sends too much of does not fill the log', async (t) => {
  const stage = await fakeBanks(t)
  const { ls } = stage
  await withstand(t, stage, '058', async () => {
    const fake = await stage.keyedAsBank(DIALLING_FAKE)
    const mark = ls.log.mark
    for (let n = 0; n < 2_000; n++) {
      fake.sendSealed(FrameType.control, { kind: `unheard-of-${n}` })
      fake.sendResponses({ id: n + 1 })
    }
    fake.sendEcho(7)
    await fake.receive(FrameType.echoReply)
    const { counters } = await ls.bankStatus(DIALLING_FAKE)
    t.equal(counters.unknownResponses, 2_000, 'all of it is counted')
    const lines = ls.log.all({ level: 40, bankCode: DIALLING_FAKE }, mark)
    t.ok(lines.length > 0 && lines.length < 40, `${lines.length} lines say so`)
    await fake.socket.close()
  })
})
