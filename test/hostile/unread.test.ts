import t from 'tap'
import { encodePayload, type Reply } from '../../lib/ipc/index.ts'
import { withstand } from '../support/attack.ts'
import { DIALLED_FAKE, DIALLING_FAKE, fakeBanks, loneXchange } from '../support/fake-banks.ts'
import type { FakeXchange } from '../support/fake-peers.ts'

/** More than the kernel's buffers and LS's own bound hold together. */
const MANY_REQUESTS = 300
const PAYLOAD = Buffer.alloc(60_000, 0x61)

t.test('a bank that stops reading costs LS a bounded memory, and each request ends', async (t) => {
  const stage = await fakeBanks(t, {
    times: { echo: { intervalMs: 200, timeoutMs: 150 }, kx: { timeoutMs: 500 } },
  })
  const { ls } = stage
  await withstand(
    t,
    stage,
    '058',
    async () => {
      const fake = await stage.keyedAsBank(DIALLED_FAKE)
      const app = await ls.connectApp()
      const mark = ls.log.mark
      fake.socket.stopReading()
      const asked = Array.from({ length: MANY_REQUESTS }, () =>
        app.request({ to: DIALLED_FAKE, method: 'echo', payloadBytes: PAYLOAD, timeoutMs: 5_000 }),
      )
      const dropped = await ls.log.until({ bankCode: DIALLED_FAKE, from: 'connected', to: 'idle' }, { mark })
      t.match(dropped, { cause: 'echo' }, 'the echoes found out')
      const replacement = await stage.keyedAsBank(DIALLED_FAKE)
      const answering = answerAll(replacement)
      const outcomes = new Map<string, number>()
      for (const { outcome } of (await Promise.all(asked)) as Reply[])
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      t.comment(Object.fromEntries(outcomes))
      t.ok((outcomes.get('answered') ?? 0) > 0, 'what was not sent waits for the next socket')
      t.equal(
        [...outcomes.values()].reduce((sum, count) => sum + count),
        MANY_REQUESTS,
      )
      await fake.socket.terminate()
      await app.close()
      answering.stop()
    },
    { keepsSession: false },
  )
})

t.test('a bank that asks for echoes and reads none of the replies is dropped', async (t) => {
  const stage = await fakeBanks(t, { times: { echo: { intervalMs: 60_000 } } })
  const { ls } = stage
  await withstand(t, stage, '058', async () => {
    const fake = await stage.keyedAsBank(DIALLING_FAKE)
    const app = await ls.connectApp()
    const mark = ls.log.mark
    fake.socket.stopReading()
    // Fills what the kernel holds, and LS up to the mark at which it sends no more requests.
    for (let index = 0; index < 80; index++) {
      app.request({ to: DIALLING_FAKE, method: 'echo', payloadBytes: PAYLOAD, timeoutMs: 2_000 }).catch(() => {})
    }
    let isDropped = false
    const dropped = ls.log
      .until({ bankCode: DIALLING_FAKE, from: 'connected', to: 'idle' }, { mark, withinMs: 25_000 })
      .finally(() => {
        isDropped = true
      })
    for (let n = 0; !isDropped; n++) {
      fake.sendEcho(n)
      if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    t.match(await dropped, {
      cause: 'policy',
      code: 'BUSY',
      msg: /the peer does not read: over 4194304 bytes lie unsent/,
    })
    t.equal(ls.log.all({ audit: true, code: 'BUSY', bankCode: DIALLING_FAKE }, mark).length, 1)
    await fake.socket.terminate()
    await app.close()
  })
})

t.test('an LS that reads no answers is dropped', async (t) => {
  const stage = await loneXchange(t, { requests: { maxUnreadBytes: 262_144 } })
  const { log } = stage.xchange
  await withstand(t, stage, '058', async () => {
    const mark = log.mark
    const fake = await stage.open()
    await fake.key()
    fake.socket.stopReading()
    const payload = encodePayload({ bytes: 60_000 })
    for (let id = 1; id <= 200; id++) fake.sendRequest({ id, method: 'blob', payload })
    const line = await log.until({ cause: 'policy', code: 'BUSY' }, { mark, withinMs: 20_000 })
    t.match(line.msg, /the peer does not read: over 262144 bytes lie unsent/)
    await fake.socket.terminate()
  })
})

/** Answers every request until stopped. */
function answerAll(fake: FakeXchange): { stop: () => void } {
  let isStopped = false
  const run = async (): Promise<void> => {
    while (!isStopped) {
      const requests = await fake.receiveRequests()
      fake.sendResponses(...requests.map(({ id }) => ({ id })))
    }
  }
  run().catch(() => {})
  return {
    stop: () => {
      isStopped = true
    },
  }
}
