import t from 'tap'
import { withstand } from '../support/attack.ts'
import { testBed } from '../support/daemons.ts'
import { fakeBanks } from '../support/fake-banks.ts'
import { FakeListener, FakeLs } from '../support/fake-peers.ts'

t.test('BEY-8 an LS of an older generation is refused, and the channel that serves is not disturbed', async (t) => {
  const stage = await fakeBanks(t)
  const { ls, xchange } = stage
  const { sessionId } = await ls.bankStatus('044')
  const { generation } = ((await ls.admin('status')) as { daemon: { generation: number } }).daemon
  await withstand(t, stage, '058', async () => {
    for (const stale of [generation - 1, 1, 0]) {
      const mark = xchange.log.mark
      const older = stage.asLs(await stage.openAsLs(), { generation: stale })
      await t.rejects(older.key(), { code: 'KX_FAILED', message: /refused the key exchange/ }, `generation ${stale}`)
      t.match(await older.socket.closed, { code: 4401, reason: 'KX_FAILED' }, 'the peer learns one opaque code')
      const line = await xchange.log.until({ code: 'STALE_GENERATION', audit: true, level: 50 }, { mark })
      t.match(line.msg, /older than one that was accepted before/)
      t.match(line.error, { generation: stale, highestGeneration: generation }, 'the log has both generations')
    }
  })
  t.equal((await ls.bankStatus('044')).sessionId, sessionId, 'the session of 044 is the same as before')
  t.match(await ls.ask({ to: '044', method: 'echo', payload: 7 }), { outcome: 'answered', payload: 7 })
})

t.test('BEY-8 a second LS of a higher generation takes over, and the first is refused from then on', async (t) => {
  const bed = await testBed(t)
  const { ls: first, xchanges } = await bed.startAll()
  const xchange = xchanges.get('044')
  if (xchange === undefined) throw new Error('044 was not started')
  const mark = first.log.mark

  const second = await bed.startLs({ name: 'ls-second' })
  await second.connected('044')
  const dropped = await first.log.until({ bankCode: '044', from: 'connected', to: 'idle' }, { mark })
  t.match(dropped, { cause: 'peer-close', error: { closeCode: 4409 } }, 'the first LS learns that it was superseded')
  t.match(
    await first.log.until({ bankCode: '044', cause: 'kx', to: 'idle' }, { mark }),
    { code: 'KX_FAILED', msg: /the xchange refused the key exchange; see its log/ },
    'and is told where the reason is',
  )
  await xchange.log.until({ code: 'STALE_GENERATION', audit: true })

  t.match(await second.ask({ to: '044', method: 'echo', payload: 2 }), { outcome: 'answered', payload: 2 })
  t.match(
    await first.ask({ to: '044', method: 'echo', payload: 1, timeoutMs: 100 }),
    { outcome: 'not-sent', code: 'CHANNEL_DOWN' },
    'nothing of the first LS reaches the xchange',
  )
  t.match(
    await first.ask({ to: '058', method: 'echo', payload: 1 }),
    { outcome: 'answered' },
    '058 still has the first',
  )
  t.strictSame(first.log.all({ bankCode: '044', msg: 'channel connected' }, mark), [])

  t.test('LS-13 also after the xchange was restarted', async (t) => {
    const restartMark = { first: first.log.mark, second: second.log.mark }
    await xchange.stop()
    const again = await bed.startXchange('044', { port: xchange.port })
    await second.connected('044', restartMark.second)
    await again.log.until({ code: 'STALE_GENERATION', audit: true })
    t.match(await second.ask({ to: '044', method: 'echo', payload: 3 }), { outcome: 'answered', payload: 3 })
    t.strictSame(first.log.all({ bankCode: '044', msg: 'channel connected' }, restartMark.first), [])
  })

  t.test('LS-13 the first LS, restarted, is the newer one', async (t) => {
    const mark = second.log.mark
    await first.stop()
    const restarted = await bed.startLs()
    await restarted.connected('044')
    t.match(await restarted.ask({ to: '044', method: 'echo', payload: 4 }), { outcome: 'answered', payload: 4 })
    await second.log.until({ bankCode: '044', from: 'connected', to: 'idle', cause: 'peer-close' }, { mark })
  })
})

t.test('BEY-8 LS-14 an xchange that dials refuses an older LS too', async (t) => {
  const bed = await testBed(t)
  const { ls, xchanges } = await bed.startAll()
  await xchanges.get('058')?.stop()
  const impostor = await FakeListener.listen(bed.node('lsd'))
  t.teardown(() => impostor.stop())
  const xchange = await bed.startXchange('058', { port: impostor.port })
  const older = new FakeLs(await impostor.nextPeer(), {
    node: bed.node('lsd'),
    bankCode: '058',
    xchangePin: bed.node('058').pin,
    generation: 5,
  })
  await t.rejects(older.key(), { code: 'KX_FAILED' })
  t.match(await xchange.log.until({ code: 'STALE_GENERATION', audit: true }), { error: { generation: 5 } })
  await xchange.stop()
  const mark = ls.log.mark
  await bed.startXchange('058')
  await ls.connected('058', mark)
  t.match(
    await ls.ask({ to: '058', method: 'echo', payload: 1 }),
    { outcome: 'answered' },
    'LS itself is welcome again',
  )
})
