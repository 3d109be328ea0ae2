import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import t from 'tap'
import { withstand } from '../support/attack.ts'
import { TWO_BANKS, testBed } from '../support/daemons.ts'
import { DIALLING_FAKE, fakeBanks } from '../support/fake-banks.ts'
import { FakeListener, FakeXchange, tlsOptionsOf } from '../support/fake-peers.ts'
import { openHandles, untilHandles } from '../support/open-handles.ts'

const IMPATIENT = { kx: { timeoutMs: 300 }, reconnect: { dialTimeoutMs: 300, maxDelayMs: 50 } }

t.test('LS-13 banks that LS dials and that never speak keep no other bank waiting', async (t) => {
  const silent = ['101', '102', '103', '104']
  const bed = await testBed(t, {
    banks: [...TWO_BANKS, ...silent.map((code) => ({ code, dial: 'ls' as const }))],
    times: IMPATIENT,
  })
  const handles = openHandles()
  const sockets = new Set<Socket>()
  const tcpOnly = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    socket.once('close', () => sockets.delete(socket)).resume()
  }).listen(0, '127.0.0.1')
  await once(tcpOnly, 'listening')
  const tlsOnly = await FakeListener.listen(bed.node('102'), { silent: true })
  const wsOnly = await FakeListener.listen(bed.node('103'))
  const halfKx = await FakeListener.listen(bed.node('104'))
  const answering = halfKx.nextPeer().then(async (socket) => {
    const fake = new FakeXchange(socket, { node: bed.node('104'), bankCode: '104', lsPin: bed.node('lsd').pin })
    socket.send(fake.answerInitKx(await socket.receive()))
    return socket.closed
  })

  await bed.startXchange('044')
  const ports = {
    '101': (tcpOnly.address() as AddressInfo).port,
    '102': tlsOnly.port,
    '103': wsOnly.port,
    '104': halfKx.port,
  }
  const ls = await bed.startLs({ ports })
  await bed.startXchange('058')
  await Promise.all(TWO_BANKS.map(({ code }) => ls.connected(code)))
  const expected: Record<string, { cause: string; code: string; says: RegExp }> = {
    '101': { cause: 'tls', code: 'CHANNEL_DOWN', says: /no channel within 300 ms; stuck at tls/ },
    '102': { cause: 'upgrade', code: 'CHANNEL_DOWN', says: /no channel within 300 ms; stuck at upgrade/ },
    '103': { cause: 'kx', code: 'KX_FAILED', says: /the kx was not finished within 300 ms/ },
    '104': { cause: 'kx', code: 'KX_FAILED', says: /the kx was not finished within 300 ms/ },
  }
  for (const [bankCode, { cause, code, says }] of Object.entries(expected)) {
    // Twice: LS goes on trying.
    const [first] = await ls.log.untilCount(2, { bankCode, cause, code, to: 'idle' })
    t.match(first?.msg, says, `bank ${bankCode}: the log says where it hangs`)
    for (const { code: other } of TWO_BANKS)
      t.match(await ls.ask({ to: other, method: 'echo', payload: 1 }), { outcome: 'answered' }, `${other} answers`)
  }
  t.match(await answering, { code: 4401, reason: 'KX_FAILED' })
  t.match(
    await ls.ask({ to: '103', method: 'echo', payload: 1, timeoutMs: 50 }),
    { outcome: 'not-sent', code: 'KEY_PENDING' },
    'a request to a silent bank was never sent',
  )
  await ls.stop()
  tcpOnly.close()
  await Promise.all([tlsOnly, wsOnly, halfKx].map((listener) => listener.stop()))
  await bed.stop()
  await untilHandles(handles)
  t.equal(ls.clock.pendingTimers, 0)
})

t.test('clients that connect and never speak are let go, and the log says how far they got', async (t) => {
  const stage = await fakeBanks(t, { times: IMPATIENT })
  const { ls, xchange, bed } = stage
  await withstand(t, stage, '058', async () => {
    const mark = { ls: ls.log.mark, xchange: xchange.log.mark }
    const gone: Promise<unknown>[] = []
    for (const { port, node } of [
      { port: ls.port, node: bed.node(DIALLING_FAKE) },
      { port: xchange.port, node: bed.node('lsd') },
    ]) {
      const tcp = connect(port, '127.0.0.1')
        .on('error', () => {})
        .resume()
      const tls = tlsConnect(tlsOptionsOf({ port, node }))
        .on('error', () => {})
        .resume()
      const slow = tlsConnect(tlsOptionsOf({ port, node }))
        .on('error', () => {})
        .resume()
      slow.write('GET /health HTTP/1.1\r\nhost: ls\r\nx-never-ends: ')
      const garbage = tlsConnect(tlsOptionsOf({ port, node }))
        .on('error', () => {})
        .resume()
      garbage.write('\x16\x03\x01 this is no request\r\n\r\n')
      gone.push(...[tcp, tls, slow, garbage].map((socket) => once(socket, 'close')))
    }

    const wsToLs = await stage.openAsBank(DIALLING_FAKE)
    t.match(await wsToLs.closed, { code: 4401, reason: 'KX_FAILED' }, 'a bank that answers no INIT_KX')
    const wsToXchange = await stage.openAsLs()
    t.match(await wsToXchange.closed, { code: 4401, reason: 'KX_FAILED' }, 'an LS that sends no INIT_KX')
    const halfway = stage.asLs(await stage.openAsLs())
    halfway.socket.send(halfway.initKx())
    t.match(await halfway.socket.closed, { code: 4401, reason: 'KX_FAILED' }, 'an LS that sends no FIN_KX')
    await xchange.log.untilCount(
      2,
      { msg: /key exchange failed: the kx was not finished within 300 ms/ },
      { mark: mark.xchange },
    )

    await Promise.all(gone)
    for (const [log, from] of [
      [ls.log, mark.ls],
      [xchange.log, mark.xchange],
    ] as const) {
      const handshake = await log.until({ code: 'CERT_DENIED', audit: true }, { mark: from })
      t.match(handshake, { address: '127.0.0.1', msg: /the peer connected and did not finish the handshake/ })
      const requests = await log.untilCount(3, { code: 'BAD_REQUEST', audit: true }, { mark: from })
      t.strictSame(requests.map(({ msg }) => (/no whole request came within/.test(msg) ? 'late' : msg)).sort(), [
        'late',
        'late',
        'what came is no HTTP request (HPE_INVALID_METHOD); is the peer a daemon of ours?',
      ])
    }
  })
})
