import { connect as tcpConnect } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import t from 'tap'
import { secureContextOptions } from '../../lib/certs/index.ts'
import { LOOPBACK, startListener, untilClosed } from '../support/channel-sockets.ts'
import { createTestPki } from '../support/pki.ts'

// Real waiting, since node's own timers do it: its defaults are 120 s for the handshake and 60 s for the headers.
t.test('who does not finish the TLS handshake, or its request, within seconds is let go', async (t) => {
  const pki = await createTestPki(t.testdir())
  const { material } = await pki.issue('lsd')
  const bank = await pki.issue('xchange', '044')
  const server = await startListener(t, { material })
  const open = () => {
    return tlsConnect({
      host: LOOPBACK,
      port: server.port,
      ...secureContextOptions(bank.material),
      checkServerIdentity: () => undefined,
    })
  }
  const silent = tcpConnect(server.port, LOOPBACK)
  const idle = open()
  const slow = open()
  slow.write('GET /channel HTTP/1.1\r\nhost: x\r\n')
  const startedMs = performance.now()
  await Promise.all([silent, idle, slow].map(untilClosed))
  t.ok(performance.now() - startedMs < 20_000, 'all three are gone long before the defaults')
  const refusals = [await server.refused(), await server.refused(), await server.refused()]
  t.same(refusals.map(({ code }) => code).sort(), ['BAD_REQUEST', 'BAD_REQUEST', 'CERT_DENIED'])
  t.ok(refusals.every(({ address }) => address === LOOPBACK))
})
