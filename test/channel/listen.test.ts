import { once } from 'node:events'
import { request } from 'node:https'
import { connect as tcpConnect } from 'node:net'
import { type ConnectionOptions, TLSSocket, connect as tlsConnect } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { lsSpiffeId, secureContextOptions, type TlsMaterial, xchangeSpiffeId } from '../../lib/certs/index.ts'
import { ChannelListener } from '../../lib/channel/listen.ts'
import { RefusalLog } from '../../lib/channel/refusals.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import {
  dial,
  dialError,
  dialTarget,
  LOOPBACK,
  SocketEvents,
  startListener,
  untilClosed,
} from '../support/channel-sockets.ts'
import { createTestPki } from '../support/pki.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const pki = await createTestPki(t.testdir())
const ls = await pki.issue('lsd')
const bank = await pki.issue('xchange', '044')
const lsId = lsSpiffeId(pki.trustDomain)
const bankId = xchangeSpiffeId(pki.trustDomain, '044')

/** A bank's TLS client as bare as can be. Resolves with the socket when it is closed. */
async function tlsUntilClosed(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = tlsConnect({ host: LOOPBACK, port, checkServerIdentity: () => undefined, ...options })
  await untilClosed(socket)
  return socket
}

/** A `ws` client that obeys none of our limits; open when it is returned. */
async function openWebSocket(t: Test, port: number, options: { path?: string; protocol?: string[] } = {}) {
  const { path = '/channel', protocol = ['ls.v1'] } = options
  const webSocket = new WebSocket(`wss://${LOOPBACK}:${port}${path}`, protocol, {
    ...secureContextOptions(bank.material),
    checkServerIdentity: () => undefined,
  } as never)
  t.teardown(() => webSocket.terminate())
  const closed = new Promise<number>((resolve) => webSocket.once('close', resolve))
  await new Promise((resolve, reject) => webSocket.once('open', resolve).once('error', reject))
  webSocket.on('error', () => {})
  return { webSocket, closed }
}

t.test('LS-3 a client whose certificate is not good is refused, and the log says why and what to do', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const good = secureContextOptions(bank.material)
  const { key: _key, cert: _cert, ...anonymous } = good
  const from = (material: TlsMaterial) => ({ ...secureContextOptions(material), ca: bank.material.ca })
  const clients: [string, ConnectionOptions, RegExp][] = [
    ['no certificate', anonymous, /no certificate/],
    ['another CA', from((await pki.issue('xchange', '044', { authority: 'second' })).material), /caFile/],
    [
      'an expired one',
      from((await pki.issue('xchange', '044', { expired: true })).material),
      /expired: issue it again/,
    ],
    ['TLS 1.2', { ...good, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }, /nothing newer than TLS 1\.2/],
  ]
  for (const [name, options, hint] of clients) {
    await tlsUntilClosed(server.port, options)
    t.match(await server.refused(), { code: 'CERT_DENIED', message: hint }, name)
  }
  const socket = tcpConnect(server.port, LOOPBACK)
  socket.end('GET / HTTP/1.0\r\n\r\n')
  await untilClosed(socket)
  t.match(await server.refused(), { code: 'CERT_DENIED', message: /not speak TLS/ }, 'plain HTTP')
  t.equal(server.log.lines.length, 5, 'each once')
})

t.test('who connects and leaves, as a port scan does, is no news', async (t) => {
  const server = await startListener(t, { material: ls.material })
  for (let index = 0; index < 3; index++) {
    const socket = tcpConnect(server.port, LOOPBACK)
    await once(socket, 'connect')
    socket.destroy()
    await untilClosed(socket)
  }
  await dial(t, dialTarget({ port: server.port, material: bank.material, expectedSpiffeId: lsId }))
  await server.accepted()
  t.same(server.log.lines, [])
})

t.test('LS-9 an address that may not connect is gone before TLS', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const asked: unknown[] = []
  server.gate.permitsAddress = (address) => {
    asked.push(address)
    return false
  }
  const socket = tcpConnect(server.port, LOOPBACK)
  const received: Buffer[] = []
  socket.on('data', (bytes) => received.push(bytes))
  await untilClosed(socket)
  t.same(received, [])
  t.match(await server.refused(), { code: 'IP_DENIED', address: LOOPBACK })
  t.same(asked, [LOOPBACK])
  const error = await dialError(t, dialTarget({ port: server.port, material: bank.material, expectedSpiffeId: lsId }))
  t.match(error, { dropCause: 'tls', code: 'CHANNEL_DOWN', message: /may not allow our address/ })
})

t.test('a channel is upgraded at its path and in its subprotocol only', async (t) => {
  const server = await startListener(t, { material: ls.material })
  for (const path of ['/', '/channel/', '/channel?x=1', '/CHANNEL', '//channel'])
    await t.rejects(openWebSocket(t, server.port, { path }), { message: /400/ }, path)
  for (const protocol of [[], ['ls.v2'], ['LS.V1'], ['xls.v1']])
    await t.rejects(openWebSocket(t, server.port, { protocol }), { message: /400/ }, protocol.join())
  for (let index = 0; index < 9; index++) t.match(await server.refused(), { code: 'BAD_REQUEST', address: LOOPBACK })
  const { webSocket } = await openWebSocket(t, server.port, { protocol: ['ls.v9', 'ls.v1'] })
  t.equal(webSocket.protocol, 'ls.v1')
  t.equal(webSocket.extensions, '', 'no compression, though the client offered it')
})

t.test('LS-3 the gate hears who the peer is; what it throws is for the log, the peer gets a status', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const seen: unknown[] = []
  server.gate.admitChannel = (peer) => {
    seen.push(peer.spiffeId)
    throw new LsxError('QUARANTINED', 'for the log only')
  }
  await t.rejects(openWebSocket(t, server.port), { message: /403/ })
  t.same(seen, [bankId])
  const line = await server.refused()
  t.match(line, { code: 'QUARANTINED', message: 'for the log only' })
  t.match(server.log.lines.at(-1)?.facts, { spiffeId: bankId, address: LOOPBACK, audit: true })
  server.gate.admitChannel = () => {
    throw new TypeError('a defect in the gate')
  }
  await t.rejects(openWebSocket(t, server.port), { message: /403/ }, 'a gate that fails lets nobody in')
})

t.test('a message that is too long, in too many parts or text ends the socket as a broken protocol', async (t) => {
  const server = await startListener(t, { material: ls.material, maxFrameBytes: 2_048 })
  const cases: Record<string, { send: (webSocket: WebSocket) => void; closeCode: number }> = {
    'a message over the frame limit': { send: (ws) => ws.send(Buffer.alloc(2_049)), closeCode: 1009 },
    'parts that together are over it': {
      send: (ws) => {
        for (let part = 0; part < 3; part++) ws.send(Buffer.alloc(1_000), { fin: part === 2 })
      },
      closeCode: 1009,
    },
    'seventeen parts': {
      send: (ws) => {
        for (let part = 0; part < 17; part++) ws.send(Buffer.of(part), { fin: part === 16 })
      },
      closeCode: 1008,
    },
    'a text message': { send: (ws) => ws.send('{"hello":"world"}'), closeCode: 1006 },
  }
  for (const [name, { send, closeCode }] of Object.entries(cases)) {
    const { webSocket, closed } = await openWebSocket(t, server.port)
    const events = new SocketEvents((await server.accepted()).socket)
    void events.failed.then(() => {
      if (closeCode === 1006) webSocket.terminate()
    })
    send(webSocket)
    t.match(await events.failed, { code: 'FRAME_INVALID', party: 'peer' }, name)
    t.equal(await closed, closeCode)
    t.same(events.frames, [], 'and nothing of it arrives')
  }
})

t.test('a message at the limit, and one in sixteen parts, arrive whole', async (t) => {
  const server = await startListener(t, { material: ls.material, maxFrameBytes: 2_048 })
  const { webSocket } = await openWebSocket(t, server.port)
  const events = new SocketEvents((await server.accepted()).socket)
  const largest = Buffer.alloc(2_048, 7)
  webSocket.send(largest)
  t.same(await events.nextFrame(), largest)
  for (let part = 0; part < 16; part++) webSocket.send(Buffer.of(part), { fin: part === 15 })
  t.same(await events.nextFrame(), Buffer.from([...Array(16).keys()]))
})

t.test('LS-3 a client that comes back with an old session must show its certificate again', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const options = {
    ...secureContextOptions(bank.material),
    host: LOOPBACK,
    port: server.port,
    checkServerIdentity: () => undefined,
  }
  const sessions: Buffer[] = []
  const first = tlsConnect(options)
  first.on('session', (session: Buffer) => sessions.push(session))
  first.end('GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n')
  await untilClosed(first)
  const session = sessions.at(-1) ?? first.getSession()
  t.ok(session !== undefined, 'the client has something to come back with')

  const { key: _key, cert: _cert, ...anonymous } = options
  await tlsUntilClosed(server.port, { ...anonymous, session: session as Buffer })
  t.match(await server.refused(), { code: 'CERT_DENIED', message: /no certificate/ })

  const again = tlsConnect({ ...options, session: session as Buffer })
  await once(again, 'secureConnect')
  t.equal(again.isSessionReused(), false)
  again.destroy()
})

t.test('LS-3 a session that was resumed all the same is refused', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const { isSessionReused } = TLSSocket.prototype
  t.teardown(() => {
    TLSSocket.prototype.isSessionReused = isSessionReused
  })
  TLSSocket.prototype.isSessionReused = () => true
  await tlsUntilClosed(server.port, secureContextOptions(bank.material))
  t.match(await server.refused(), { code: 'CERT_DENIED', message: /resumed/, address: LOOPBACK })
})

t.test('new keys and certificates hold for new connections; open channels stay, and no rule is loosened', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const target = dialTarget({ port: server.port, material: bank.material, expectedSpiffeId: lsId })
  const before = await dial(t, target)
  const [here, there] = [new SocketEvents(before.socket), new SocketEvents((await server.accepted()).socket)]
  const renewed = await pki.issue('lsd', undefined, { folder: 'renewed', days: 30 })
  server.listener.renewMaterial(renewed.material)

  const after = await dial(t, target)
  t.same(after.certificateNotAfter, renewed.material.certificate.notAfter)
  t.notSame(after.certificateNotAfter, before.certificateNotAfter)
  before.socket.send(Buffer.from('still here'))
  t.same(await there.nextFrame(), Buffer.from('still here'))
  t.equal(here.frames.length, 0)

  const good = secureContextOptions(bank.material)
  const { key: _key, cert: _cert, ...anonymous } = good
  for (const options of [anonymous, { ...good, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const]) {
    await tlsUntilClosed(server.port, options)
    t.match(await server.refused(), { code: 'CERT_DENIED' })
  }
  // A CA that is exchanged, too: the old bank no longer chains to it.
  const second = await pki.issue('lsd', undefined, { authority: 'second' })
  server.listener.renewMaterial(second.material)
  await tlsUntilClosed(server.port, { ...good, rejectUnauthorized: false })
  t.match(await server.refused(), { code: 'CERT_DENIED', message: /caFile/ })
})

t.test('an https request that is no channel gets its answer, one a connection', async (t) => {
  const server = await startListener(t, { material: ls.material })
  server.gate.onRequest = (peer, asked, response) => response.end(`${peer.spiffeId} ${asked.url}`)
  const response = await new Promise<{ body: string; connection: string | undefined }>((resolve, reject) => {
    const asked = request(
      {
        host: LOOPBACK,
        port: server.port,
        path: '/health',
        agent: false,
        ...secureContextOptions(bank.material),
        checkServerIdentity: () => undefined,
      },
      (response) => {
        let body = ''
        response.on('data', (chunk) => {
          body += chunk
        })
        response.on('end', () => resolve({ body, connection: response.headers.connection }))
      },
    )
    asked.on('error', reject).end()
  })
  t.same(response, { body: `${bankId} /health`, connection: 'close' })
})

t.test('what is no HTTP inside TLS is refused once', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const socket = tlsConnect({
    host: LOOPBACK,
    port: server.port,
    ...secureContextOptions(bank.material),
    checkServerIdentity: () => undefined,
  })
  const closed = untilClosed(socket)
  await once(socket, 'secureConnect')
  socket.write(Buffer.from('00000010a1', 'hex'))
  await closed
  t.match(await server.refused(), { code: 'BAD_REQUEST', address: LOOPBACK })
  t.equal(server.log.lines.length, 1)
})

t.test('more connections than allowed are turned away, and those that are open are not disturbed', async (t) => {
  const server = await startListener(t, { material: ls.material, maxConnections: 1 })
  const target = dialTarget({ port: server.port, material: bank.material, expectedSpiffeId: lsId })
  const { socket } = await dial(t, target)
  const accepted = await server.accepted()
  t.equal(server.listener.connections, 1)
  t.match(await dialError(t, target), { code: 'CHANNEL_DOWN' })
  const there = new SocketEvents(accepted.socket)
  socket.send(Buffer.from('x'))
  t.same(await there.nextFrame(), Buffer.from('x'))
})

t.test('a listener that stops ends what is open and frees its port; a port in use is named', async (t) => {
  const server = await startListener(t, { material: ls.material })
  const { socket } = await dial(t, dialTarget({ port: server.port, material: bank.material, expectedSpiffeId: lsId }))
  const events = new SocketEvents(socket)
  const rival = new ChannelListener({
    host: LOOPBACK,
    port: server.port,
    material: ls.material,
    maxFrameBytes: 65_536,
    maxConnections: 10,
    gate: { permitsAddress: () => false, admitChannel: () => {}, onChannel: () => {}, onRequest: () => {} },
    refusals: new RefusalLog(server.log, new VirtualClock()),
    logger: server.log,
  })
  await t.rejects(rival.start(), { code: 'INTERNAL', message: new RegExp(`${LOOPBACK}:${server.port}`) })
  await t.resolves(rival.stop(), 'what never listened can be stopped')
  await server.listener.stop()
  t.match(await events.closed, { closeCode: 1006 })
  t.equal(server.listener.connections, 0)
  await t.resolves(server.listener.stop(), 'twice is once')
})
