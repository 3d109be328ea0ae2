import t from 'tap'
import { FrameType } from '../../lib/frames/index.ts'
import { withstand } from '../support/attack.ts'
import { DIALLED_FAKE, DIALLING_FAKE, fakeBanks, loneXchange } from '../support/fake-banks.ts'
import { requestBody, responseBody } from '../support/fake-peers.ts'

t.test('LS-2 requests go one way', async (t) => {
  const stage = await fakeBanks(t)
  const { ls } = stage

  for (const bank of [DIALLED_FAKE, DIALLING_FAKE]) {
    t.test(
      `LS-2 LS-14 LS refuses a request from an xchange that ${bank === DIALLED_FAKE ? 'it dialled' : 'dialled it'}`,
      async (t) => {
        const fake = await stage.keyedAsBank(bank)
        await withstand(t, stage, '058', async () => {
          const mark = ls.log.mark
          const asked = ls.ask({ to: bank, method: 'echo', payload: 1, key: `in-flight-${bank}`, timeoutMs: 300 })
          const [request] = await fake.receiveRequests()
          t.equal(request?.key, `in-flight-${bank}`)
          fake.sendSealed(FrameType.request, requestBody({ id: 1, method: 'transfer' }))
          t.match(await fake.socket.closed, { code: 4403, reason: 'REFUSED' })
          const line = await ls.log.until({ audit: true, code: 'REFUSED', bankCode: bank }, { mark })
          t.match(line.msg, /the xchange sent a request: requests go from LS to xchange only/)
          t.match(await asked, { outcome: 'in-doubt', code: 'IN_DOUBT' }, 'what was in flight has one outcome')
          if (bank === DIALLED_FAKE) await stage.keyedAsBank(bank)
        })
      },
    )
  }
})

t.test('LS-2 an xchange refuses responses, which only it may send', async (t) => {
  const stage = await loneXchange(t)
  const { log } = stage.xchange
  await withstand(t, stage, '058', async () => {
    const mark = log.mark
    const fake = await stage.open()
    await fake.key()
    fake.sendSealed(FrameType.response, responseBody({ id: 1 }))
    t.match(await fake.socket.closed, { code: 4400, reason: 'NOT_LS' })
    const line = await log.until({ audit: true, code: 'NOT_LS' }, { mark })
    t.match(line.msg, /responses go from xchange to LS only/)
  })
})

t.test('LS-2 LS-7 who has the certificate of LS and not its identity gets no request through', async (t) => {
  const stage = await fakeBanks(t)
  const { ls, xchange, bed } = stage
  const thief = await bed.pki.issue('lsd', undefined, { folder: 'lsd-thief' })
  const { sessionId } = await ls.bankStatus('044')

  await withstand(t, stage, '058', async () => {
    const mark = xchange.log.mark
    const fake = stage.asLs(await stage.openAsLs(), { node: thief, generation: Date.now() + 60_000 })
    await t.rejects(fake.key(), { code: 'KX_FAILED', message: /refused the key exchange/ })
    t.match(await fake.socket.closed, { code: 4401, reason: 'KX_FAILED' }, 'the peer learns one opaque code')
    const line = await xchange.log.until({ audit: true, code: 'IDENTITY_DENIED' }, { mark })
    t.match(line, { address: '127.0.0.1', msg: /key exchange failed: .*pinned/ })
  })

  await withstand(t, stage, '058', async () => {
    const mark = xchange.log.mark
    const socket = await stage.openAsLs()
    // A frame that looks like a sealed request, without any kx.
    const frame = Buffer.concat([
      Buffer.from('010200010000000000000000', 'hex'),
      requestBody({ id: 1, method: 'echo' }),
    ])
    socket.send(frame)
    t.match(await socket.closed, { code: 4400, reason: 'FRAME_INVALID' })
    const line = await xchange.log.until({ code: 'FRAME_INVALID', audit: true }, { mark })
    t.match(line.msg, /a sealed frame before the kx was finished/)
  })

  t.equal((await ls.bankStatus('044')).sessionId, sessionId, 'the session of the real LS was not disturbed')
  const { generation } = ((await ls.admin('status')) as { daemon: { generation: number } }).daemon
  t.ok(generation < Date.now() + 60_000)
  const mark = ls.log.mark
  await ls.admin('drop', { bank: '044' })
  await ls.connected('044', mark)
  t.pass('the generation that the thief claimed was not written down: LS is still accepted')
})

t.test('LS-7 LS-14 a bank that dials with its own certificate and another identity gets no session', async (t) => {
  const stage = await fakeBanks(t)
  const { ls, bed } = stage
  await withstand(t, stage, '058', async () => {
    // Another bank's identity is as wrong as an unknown one.
    for (const node of [await bed.pki.issue('xchange', '077', { folder: '077-other' }), bed.node('058')]) {
      const mark = ls.log.mark
      const fake = stage.asBank(DIALLING_FAKE, await stage.openAsBank(DIALLING_FAKE), { node })
      fake.socket.send(fake.answerInitKx(await fake.socket.receive()))
      t.match(await fake.socket.closed, { code: 4401, reason: 'KX_FAILED' }, 'the peer learns one opaque code')
      const line = await ls.log.until({ bankCode: DIALLING_FAKE, code: 'IDENTITY_DENIED', audit: true }, { mark })
      t.match(line.msg, /pinned/)
    }
  })
})

t.test('LS-5 only LS starts a kx', async (t) => {
  const stage = await fakeBanks(t)
  const { ls } = stage
  for (const bank of [DIALLED_FAKE, DIALLING_FAKE]) {
    const fake = await stage.keyedAsBank(bank)
    await withstand(t, stage, '058', async () => {
      const mark = ls.log.mark
      fake.socket.send(stage.asLs(fake.socket, { bankCode: bank }).initKx())
      t.match(await fake.socket.closed, { code: 4400, reason: 'FRAME_INVALID' })
      const line = await ls.log.until({ bankCode: bank, code: 'FRAME_INVALID', audit: true }, { mark })
      t.match(line.msg, /a kx frame came though LS began no kx/)
      if (bank === DIALLED_FAKE) await stage.keyedAsBank(bank)
    })
  }
})
