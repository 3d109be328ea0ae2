import t from 'tap'
import { withstand } from '../support/attack.ts'
import { testBed } from '../support/daemons.ts'
import { openHandles, untilHandles } from '../support/open-handles.ts'
import { TlsProxy } from '../support/relay.ts'

/** A proxy in the middle that holds valid certificates of both sides, as a stolen CA key or a careless bank would give it. */
t.test('BEY-1 a proxy between LS and a bank that ends TLS with valid certificates is detected', async (t) => {
  const bed = await testBed(t)
  const handles = openHandles()
  const { ls, xchanges } = await bed.startAll()
  const xchange = xchanges.get('044')
  if (xchange === undefined) throw new Error('044 was not started')
  const proxy = await TlsProxy.listen({
    serverNode: await bed.pki.issue('xchange', '044', { folder: '044-in-the-middle' }),
    clientNode: await bed.pki.issue('lsd', undefined, { folder: 'lsd-in-the-middle' }),
    toPort: () => xchange.port,
  })
  const second = await bed.startLs({ name: 'ls-behind-proxy', ports: { '044': proxy.port } })
  t.teardown(() => proxy.stop())

  await withstand(t, { ls, xchanges }, '058', async () => {
    const mark = { ls: second.log.mark, xchange: xchange.log.mark }
    const atLs = await second.log.until(
      { bankCode: '044', code: 'KX_FAILED', audit: true, level: 50 },
      { mark: mark.ls },
    )
    t.match(atLs.msg, /handshake message does not verify: .*proxy/, 'the log of LS names a proxy as a possible cause')
    await second.log.until({ bankCode: '044', cause: 'kx', to: 'idle' }, { mark: mark.ls })
    const atXchange = await xchange.log.until({ code: 'KX_FAILED', audit: true }, { mark: mark.xchange })
    t.match(atXchange.msg, /closed the socket during the kx; its log has the reason/)
    t.match(atXchange.error, { closeCode: 4401, reason: 'KX_FAILED' })
    t.ok(proxy.passed > 0, 'TLS alone would have let the proxy in')
    t.strictSame(second.log.all({ bankCode: '044', msg: 'channel connected' }), [])
    t.match(
      await second.ask({ to: '044', method: 'echo', payload: 'secret', timeoutMs: 100 }),
      { outcome: 'not-sent', code: 'KEY_PENDING' },
      'no request is handed to it',
    )
    await second.stop()
    await proxy.stop()
  })
  t.match(
    await ls.ask({ to: '044', method: 'echo', payload: 1 }),
    { outcome: 'answered' },
    'the direct channel is as before',
  )
  await bed.stop()
  await untilHandles(handles)
})

t.test('BEY-1 LS-14 a proxy between a bank that dials and LS is detected too', async (t) => {
  const bed = await testBed(t)
  const { ls, xchanges } = await bed.startAll()
  const proxy = await TlsProxy.listen({
    serverNode: await bed.pki.issue('lsd', undefined, { folder: 'lsd-in-the-middle' }),
    clientNode: await bed.pki.issue('xchange', '058', { folder: '058-in-the-middle' }),
    toPort: () => ls.port,
  })
  t.teardown(() => proxy.stop())
  await xchanges.get('058')?.stop()
  await withstand(t, { ls, xchanges }, '044', async () => {
    const mark = ls.log.mark
    const behind = await bed.startXchange('058', { port: proxy.port, name: '058-behind-proxy' })
    const atLs = await ls.log.until({ bankCode: '058', code: 'KX_FAILED', audit: true }, { mark })
    t.match(atLs.msg, /handshake message does not verify: .*proxy/)
    await behind.log.until({ code: 'KX_FAILED', audit: true })
    t.ok(proxy.passed > 0)
    await behind.stop()
    await proxy.stop()
  })
})

t.test('the proxy of these tests does its work: without channel binding nobody notices it', async (t) => {
  const bed = await testBed(t)
  const config = { kx: { channelBinding: false }, security: { mode: 'permissive' } }
  const xchange = await bed.startXchange('044', { config, permissive: true })
  const proxy = await TlsProxy.listen({
    serverNode: bed.node('044'),
    clientNode: bed.node('lsd'),
    toPort: () => xchange.port,
  })
  t.teardown(() => proxy.stop())
  const ls = await bed.startLs({ config, permissive: true, ports: { '044': proxy.port } })
  await ls.connected('044')
  t.match(await ls.ask({ to: '044', method: 'echo', payload: 1 }), { outcome: 'answered', payload: 1 })

  const strict = await bed.startLs({ name: 'ls-strict' })
  t.match(
    await strict.log.until({ bankCode: '044', code: 'KX_FAILED', audit: true }),
    { msg: /handshake message does not verify/ },
    'and one side alone cannot leave it out',
  )
  await strict.stop()
  await ls.stop()
  await proxy.stop()
})
