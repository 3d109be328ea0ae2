import { once } from 'node:events'
import { connect as tlsConnect } from 'node:tls'
import t, { type Test } from 'tap'
import { withstand } from '../support/attack.ts'
import { testBed } from '../support/daemons.ts'
import { askHttps, type DialOptions, dialPeer, TurnedAway, tlsOptionsOf } from '../support/fake-peers.ts'
import type { LogCapture } from '../support/log-capture.ts'

t.test('LS-3 clients whose certificate is not right get no channel', async (t) => {
  const bed = await testBed(t)
  const defenders = await bed.startAll()
  const { ls, xchanges } = defenders
  const xchange = xchanges.get('044')
  if (xchange === undefined) throw new Error('044 was not started')
  const strangers = {
    otherCaLs: await bed.pki.issue('lsd', undefined, { authority: 'second' }),
    otherCaBank: await bed.pki.issue('xchange', '058', { authority: 'second' }),
    expiredLs: await bed.pki.issue('lsd', undefined, { expired: true }),
    expiredBank: await bed.pki.issue('xchange', '058', { expired: true }),
    unknownBank: await bed.pki.issue('xchange', '099'),
  }

  /** Every try is refused, and the log says once why and what to do. */
  async function refused(
    t: Test,
    log: LogCapture,
    dial: DialOptions,
    expected: { code: string; says: RegExp; status?: number },
  ): Promise<void> {
    const mark = log.mark
    const error = await dialPeer(dial).then(
      () => undefined,
      (error: unknown) => error,
    )
    t.type(error, TurnedAway, 'no channel is opened')
    t.equal((error as TurnedAway).status, expected.status, 'the peer learns no more than that')
    const line = await log.until({ code: expected.code, audit: true }, { mark })
    t.match(line.msg, expected.says, 'the log says what to do')
    t.match(line, { address: /127\.0\.0\.1/, level: 40 })
  }

  for (const { name, log, port, expired, otherCa } of [
    { name: 'LS', log: ls.log, port: ls.port, expired: strangers.expiredBank, otherCa: strangers.otherCaBank },
    {
      name: 'an xchange',
      log: xchange.log,
      port: xchange.port,
      expired: strangers.expiredLs,
      otherCa: strangers.otherCaLs,
    },
  ]) {
    const bystander = name === 'LS' ? '044' : '058'
    t.test(`SEC-1 ${name} refuses a peer without a certificate`, async (t) => {
      await withstand(t, defenders, bystander, () =>
        refused(t, log, { port }, { code: 'CERT_DENIED', says: /no certificate/ }),
      )
    })
    t.test(`SEC-1 ${name} refuses a certificate of another CA that names the right party`, async (t) => {
      await withstand(t, defenders, bystander, () =>
        refused(t, log, { port, node: otherCa }, { code: 'CERT_DENIED', says: /caFile/ }),
      )
    })
    t.test(`SEC-2 ${name} refuses an expired certificate`, async (t) => {
      await withstand(t, defenders, bystander, () =>
        refused(t, log, { port, node: expired }, { code: 'CERT_DENIED', says: /expired.*issue it again/ }),
      )
    })
    t.test(`LS-3 ${name} refuses TLS 1.2`, async (t) => {
      const node = bed.node(name === 'LS' ? '058' : 'lsd')
      const { minVersion: _min, maxVersion: _max, ...rest } = tlsOptionsOf({ port, node })
      const tls = { ...rest, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
      await withstand(t, defenders, bystander, () =>
        refused(t, log, { port, tls }, { code: 'CERT_DENIED', says: /TLS 1\.2/ }),
      )
    })
  }

  t.test('LS-3 LS refuses a certificate of a bank that is not configured, or that LS dials itself', async (t) => {
    await withstand(t, defenders, '058', async () => {
      for (const node of [strangers.unknownBank, bed.node('044'), bed.node('lsd')]) {
        await refused(t, ls.log, { port: ls.port, node }, { code: 'CERT_DENIED', says: /dial: xchange/, status: 403 })
      }
    })
  })

  t.test('LS-2 an xchange refuses a channel to a bank of the same CA', async (t) => {
    await withstand(t, defenders, '058', () =>
      refused(
        t,
        xchange.log,
        { port: xchange.port, node: bed.node('058') },
        { code: 'NOT_LS', says: /not LS.*spiffe:\/\/ls-xchange\.test\/ls/, status: 403 },
      ),
    )
  })

  t.test('LS-3 a TLS session cannot be resumed without the certificate', async (t) => {
    await withstand(t, defenders, '044', async () => {
      // A session as the real bank would get it: the server may hand out tickets after the first bytes of an answer.
      const socket = tlsConnect(tlsOptionsOf({ port: ls.port, node: bed.node('058') }))
      const sessions: Buffer[] = []
      socket.on('session', (session: Buffer) => sessions.push(session))
      await once(socket, 'secureConnect')
      socket.end('GET /health HTTP/1.1\r\nhost: ls\r\nconnection: close\r\n\r\n')
      socket.resume()
      await once(socket, 'close')
      const session = sessions.at(-1) ?? socket.getSession()
      if (session === undefined) throw new Error('there is no session to resume')

      const { key: _key, cert: _cert, ...noCertificate } = tlsOptionsOf({ port: ls.port, node: bed.node('058') })
      await refused(
        t,
        ls.log,
        { port: ls.port, tls: { ...noCertificate, session } },
        { code: 'CERT_DENIED', says: /no certificate/ },
      )
      const resumed = tlsConnect({ ...tlsOptionsOf({ port: ls.port, node: bed.node('058') }), session })
      resumed.on('error', () => {})
      await once(resumed, 'secureConnect')
      t.equal(resumed.isSessionReused(), false, 'with the certificate it is a full handshake')
      resumed.destroy()
      await once(resumed, 'close')
    })
  })

  t.test('LS-2 a bank of the same CA learns from an xchange that it lives, and nothing of its session', async (t) => {
    const { port } = xchange
    await withstand(t, defenders, '058', async () => {
      const asBank = { port, node: bed.node('058') }
      t.strictSame(JSON.parse((await askHttps(asBank)).body), { status: 'ok' })
      const { sessionId } = await ls.bankStatus('044')
      t.match(JSON.parse((await askHttps({ port, node: bed.node('lsd') })).body), { bankCode: '044', sessionId })
      t.equal((await askHttps({ ...asBank, path: '/channel' })).status, 404)
      t.equal((await askHttps({ ...asBank, method: 'POST', path: '/request', body: '{"method":"echo"}' })).status, 405)
    })
  })
})
