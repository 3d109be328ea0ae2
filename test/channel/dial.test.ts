import { createHash } from 'node:crypto'
import dns from 'node:dns'
import { type AddressInfo, createServer } from 'node:net'
import { createSecureContext as createTlsContext, TLSSocket } from 'node:tls'
import t from 'tap'
import { createSecureContext, lsSpiffeId, secureContextOptions, xchangeSpiffeId } from '../../lib/certs/index.ts'
import { AllowList } from '../../lib/channel/allow-list.ts'
import { dialChannel } from '../../lib/channel/dial.ts'
import { LsxError, systemClock } from '../../lib/runtime/index.ts'
import {
  dial,
  dialError,
  dialTarget,
  LOOPBACK,
  SocketEvents,
  startListener,
  startTcpServer,
  startTlsServer,
} from '../support/channel-sockets.ts'
import { createTestPki } from '../support/pki.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const pki = await createTestPki(t.testdir())
const ls = await pki.issue('lsd')
const bank = await pki.issue('xchange', '044')
const expectedSpiffeId = xchangeSpiffeId(pki.trustDomain, '044')
const NEVER = new AbortController().signal

function fromLs(port: number) {
  return { port, material: ls.material, expectedSpiffeId }
}

t.test(
  'LS-3 BEY-1 a dial ends in an open socket over mutual TLS 1.3, with the same exporter at both ends',
  async (t) => {
    const server = await startListener(t, { material: bank.material })
    const dialled = await dial(t, dialTarget(fromLs(server.port)))
    const accepted = await server.accepted()
    t.equal(dialled.exporter.length, 32)
    t.same(dialled.exporter, accepted.exporter)
    t.equal(dialled.address, LOOPBACK)
    t.equal(accepted.peer.address, LOOPBACK)
    t.equal(accepted.peer.spiffeId, lsSpiffeId(pki.trustDomain))
    t.same(dialled.certificateNotAfter, bank.material.certificate.notAfter)
    t.same(accepted.peer.certificateNotAfter, ls.material.certificate.notAfter)

    const other = await dial(t, dialTarget(fromLs(server.port)))
    t.notSame(other.exporter, dialled.exporter, 'another connection has another exporter')

    const [here, there] = [new SocketEvents(dialled.socket), new SocketEvents(accepted.socket)]
    dialled.socket.send(Buffer.from('to the xchange'))
    accepted.socket.send(Buffer.from('to LS'))
    t.same(await there.nextFrame(), Buffer.from('to the xchange'))
    t.same(await here.nextFrame(), Buffer.from('to LS'))
  },
)

t.test('LS-3 the upgrade asks for the channel, without compression; host names decide nothing', async (t) => {
  const elsewhere = await pki.issue('xchange', '044', {
    dns: ['elsewhere.test'],
    ips: ['192.0.2.1'],
    folder: 'elsewhere',
  })
  let head = ''
  let alpn: unknown
  const port = await startTlsServer(
    t,
    elsewhere.material,
    (socket) => {
      alpn = socket.alpnProtocol
      socket.on('data', (bytes) => {
        head += bytes.toString('latin1')
        if (head.endsWith('\r\n\r\n')) socket.end('HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n')
      })
    },
    { requestCert: true, ALPNProtocols: ['http/1.1'] },
  )
  const error = await dialError(t, dialTarget(fromLs(port)))
  t.match(error, { dropCause: 'upgrade', code: 'REFUSED', message: /status 503/ })
  t.match(head, /^GET \/channel HTTP\/1\.1\r\n/)
  t.match(head, /\r\nsec-websocket-protocol: ls\.v1\r\n/i)
  t.notMatch(head, /sec-websocket-extensions/i)
  t.equal(alpn, 'http/1.1')
})

t.test('a name that does not resolve ends the dial at dns', async (t) => {
  const { lookup } = dns
  t.teardown(() => {
    dns.lookup = lookup
  })
  dns.lookup = ((...args: unknown[]) => {
    const callback = args.at(-1) as (error: Error) => void
    setImmediate(() =>
      callback(Object.assign(new Error('getaddrinfo ENOTFOUND xchange.invalid'), { code: 'ENOTFOUND' })),
    )
  }) as never
  const target = dialTarget(fromLs(1), { host: 'xchange.invalid' })
  t.match(await dialError(t, target), { dropCause: 'dns', code: 'CHANNEL_DOWN', message: /xchange\.invalid:1/ })

  dns.lookup = (() => {}) as never
  const clock = new VirtualClock()
  const dialling = dialChannel(target, clock, NEVER)
  dialling.catch(() => {})
  await clock.advance(5_000)
  await t.rejects(dialling, { dropCause: 'dns', message: /stuck at dns/ })
})

t.test('a port where nobody listens ends the dial at tcp', async (t) => {
  const port = await new Promise<number>((resolve) => {
    const server = createServer().listen(0, LOOPBACK, () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
  const error = await dialError(t, dialTarget(fromLs(port)))
  t.match(error, { dropCause: 'tcp', code: 'CHANNEL_DOWN', party: 'network' })
  t.match(error.facts, { dropCause: 'tcp' })
})

t.test('LS-9 a host at an address that the allow-list lacks is left before TLS', async (t) => {
  const allowList = new AllowList(['192.0.2.0/24'])
  for (const host of [LOOPBACK, 'localhost']) {
    const received: Buffer[] = []
    let closed: () => void = () => {}
    const isClosed = new Promise<void>((resolve) => {
      closed = resolve
    })
    const port = await startTcpServer(t, (socket) => {
      socket.on('data', (bytes) => received.push(bytes)).on('close', closed)
    })
    const error = await dialError(t, dialTarget(fromLs(port), { host, allowList }))
    t.match(error, { dropCause: 'policy', code: 'IP_DENIED', message: /is at 127\.0\.0\.1, which/ }, host)
    await isClosed
    t.same(received, [], 'not even a ClientHello')
  }
})

t.test('LS-3 a peer that shows another certificate than the one expected is refused', async (t) => {
  const cases = {
    'another bank of our CA': await pki.issue('xchange', '058'),
    'LS in the place of a bank': await pki.issue('lsd', undefined, { folder: 'other-ls' }),
    'the right name of another CA': await pki.issue('xchange', '044', { authority: 'second' }),
    'an expired certificate': await pki.issue('xchange', '044', { expired: true }),
  }
  for (const [name, { material }] of Object.entries(cases)) {
    const port = await startTlsServer(t, material, () => {}, { requestCert: true })
    const error = await dialError(t, dialTarget(fromLs(port)))
    t.match(error, { dropCause: 'tls', code: 'CERT_DENIED' }, name)
  }
  const port = await startTlsServer(t, cases['another bank of our CA'].material, () => {}, { requestCert: true })
  t.match((await dialError(t, dialTarget(fromLs(port)))).message, /xchange\/058, not spiffe:.*xchange\/044/)
})

t.test('LS-3 a peer that offers nothing newer than TLS 1.2 is refused', async (t) => {
  const port = await startTlsServer(t, bank.material, () => {}, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })
  t.match(await dialError(t, dialTarget(fromLs(port))), { dropCause: 'tls', code: 'CERT_DENIED' })
})

t.test('a peer that speaks no TLS, or hangs up during it, ends the dial at tls', async (t) => {
  const talker = await startTcpServer(t, (socket) => socket.write('220 mail.example ESMTP\r\n'))
  t.match(await dialError(t, dialTarget(fromLs(talker))), { dropCause: 'tls', code: 'CERT_DENIED' })
  const closer = await startTcpServer(t, (socket) => socket.resume().once('data', () => socket.destroy()))
  t.match(await dialError(t, dialTarget(fromLs(closer))), { dropCause: 'tls', code: 'CHANNEL_DOWN' })
})

t.test(
  'LS-3 the client sees secureConnect before the server has judged its certificate: that is no success',
  async (t) => {
    const server = await startListener(t, { material: bank.material })
    const strangers = [
      await pki.issue('lsd', undefined, { authority: 'second', folder: 'second-ls' }),
      await pki.issue('lsd', undefined, { expired: true, folder: 'expired-ls' }),
    ]
    for (const { material } of strangers) {
      // The stranger trusts our CA, so that only the listener has something to object to.
      const secureContext = createSecureContext({ ...material, ca: ls.material.ca })
      const error = await dialError(t, dialTarget(fromLs(server.port), { secureContext }))
      t.ok(['tls', 'upgrade'].includes(error.dropCause), error.dropCause)
      t.ok(['CERT_DENIED', 'CHANNEL_DOWN'].includes(error.code), error.code)
      t.match(await server.refused(), { code: 'CERT_DENIED' })
    }
    const { key: _key, cert: _cert, ...anonymous } = secureContextOptions(ls.material)
    await dialError(t, dialTarget(fromLs(server.port), { secureContext: createTlsContext(anonymous) }))
    t.match(await server.refused(), { code: 'CERT_DENIED', message: /no certificate/ })
  },
)

t.test('each refusal of the upgrade ends the dial there, with the status and no more', async (t) => {
  const server = await startListener(t, { material: bank.material })
  for (const { code, status } of [
    { code: 'NOT_LS', status: 403 },
    { code: 'QUARANTINED', status: 403 },
    { code: 'SHUTTING_DOWN', status: 503 },
    { code: 'INTERNAL', status: 403 },
  ] as const) {
    server.gate.admitChannel = () => {
      throw new LsxError(code, 'for the log only')
    }
    const error = await dialError(t, dialTarget(fromLs(server.port)))
    t.match(error, { dropCause: 'upgrade', code: 'REFUSED', message: new RegExp(`HTTP status ${status}`) })
    t.notMatch(error.message, /for the log only/)
    t.match(await server.refused(), { code, message: 'for the log only', address: LOOPBACK })
  }
})

t.test(
  'a web server that is no daemon of ours, and one that answers nonsense, end the dial at the upgrade',
  async (t) => {
    const answers: Record<string, string> = {
      'a page': 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi',
      'a redirect, which is not followed':
        'HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1:1/channel\r\ncontent-length: 0\r\n\r\n',
      'no HTTP': 'SSH-2.0-OpenSSH_9.6\r\n\r\n',
      'an upgrade with the wrong key':
        'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: AAAA\r\n\r\n',
      'an end': '',
    }
    for (const [name, answer] of Object.entries(answers)) {
      const port = await startTlsServer(t, bank.material, (socket) => socket.once('data', () => socket.end(answer)), {
        requestCert: true,
      })
      t.match(await dialError(t, dialTarget(fromLs(port))), { dropCause: 'upgrade' }, name)
    }
  },
)

t.test('an upgrade to another subprotocol, or to none, is no channel', async (t) => {
  for (const protocol of ['', 'sec-websocket-protocol: ls.v2\r\n']) {
    const port = await startTlsServer(
      t,
      bank.material,
      (socket) => {
        socket.once('data', (bytes) => {
          const key = /sec-websocket-key: (.*)\r\n/i.exec(bytes.toString('latin1'))?.[1] ?? ''
          const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
          socket.write(
            `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n${protocol}\r\n`,
          )
        })
      },
      { requestCert: true },
    )
    t.match(await dialError(t, dialTarget(fromLs(port))), { dropCause: 'upgrade', message: /subprotocol/ })
  }
})

t.test('a listener that accepts and says nothing does not hold the dial longer than its time-out', async (t) => {
  const stages = [
    { stage: 'tls', port: (opened: () => void) => startTcpServer(t, opened) },
    {
      stage: 'upgrade',
      port: (opened: () => void) => {
        return startTlsServer(t, bank.material, (socket) => socket.once('data', opened), { requestCert: true })
      },
    },
  ]
  for (const { stage, port } of stages) {
    const clock = new VirtualClock()
    let opened: () => void = () => {}
    const isOpen = new Promise<void>((resolve) => {
      opened = resolve
    })
    const dialling = dialChannel(dialTarget(fromLs(await port(opened)), { timeoutMs: 3_000 }), clock, NEVER)
    dialling.catch(() => {})
    await isOpen
    await clock.advance(2_999)
    t.equal(clock.pendingTimers, 1)
    await clock.advance(1)
    await t.rejects(dialling, { dropCause: stage, code: 'CHANNEL_DOWN', message: new RegExp(`stuck at ${stage}`) })
  }
})

t.test('a dial that is given up rejects with the reason and closes its socket', async (t) => {
  const reason = new LsxError('SHUTTING_DOWN', 'a test is over')
  await t.rejects(dialChannel(dialTarget(fromLs(1)), systemClock, AbortSignal.abort(reason)), reason)
  let closed: () => void = () => {}
  const isClosed = new Promise<void>((resolve) => {
    closed = resolve
  })
  const abort = new AbortController()
  const port = await startTcpServer(t, (socket) => {
    socket.resume().once('close', closed)
    abort.abort(reason)
  })
  await t.rejects(dial(t, dialTarget(fromLs(port)), abort.signal), reason)
  await isClosed
  t.pass('the other end saw it go')
})

t.test('a TLS session that was resumed is no channel', async (t) => {
  const server = await startListener(t, { material: bank.material })
  const { isSessionReused } = TLSSocket.prototype
  t.teardown(() => {
    TLSSocket.prototype.isSessionReused = isSessionReused
  })
  // Neither end resumes by itself; this is what either would see if one day it did.
  TLSSocket.prototype.isSessionReused = function (this: TLSSocket & { _tlsOptions?: { isServer?: boolean } }) {
    return this._tlsOptions?.isServer !== true
  }
  const error = await dialError(t, dialTarget(fromLs(server.port)))
  t.match(error, { dropCause: 'tls', code: 'CERT_DENIED', message: /resumed/ })
  const { closed } = new SocketEvents((await server.accepted()).socket)
  t.equal((await closed).closeCode, 1006)
})
