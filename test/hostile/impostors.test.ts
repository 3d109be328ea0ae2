import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { TWO_BANKS, testBed } from '../support/daemons.ts'
import { FakeListener, type FakeListenerOptions, FakeLs, FakeXchange } from '../support/fake-peers.ts'
import { openHandles, untilHandles } from '../support/open-handles.ts'
import type { TestNode } from '../support/pki.ts'

const TLS_1_2 = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
const OK_NO_UPGRADE = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
const REDIRECT = 'HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1:1/channel\r\ncontent-length: 0\r\n\r\n'
const FORBIDDEN = 'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n'

t.test('LS-3 LS-7 LS opens no channel to a server that is not the bank, and goes on with the others', async (t) => {
  const wrongs = ['101', '102', '103', '104', '105', '106', '107', '108', '109', '110', '111']
  const bed = await testBed(t, { banks: [...TWO_BANKS, ...wrongs.map((code) => ({ code, dial: 'ls' as const }))] })
  const { pki } = bed
  const handles = openHandles()
  const listeners: FakeListener[] = []
  const ports: Record<string, number> = {}
  const impostor = async (code: string, node: TestNode, options?: FakeListenerOptions) => {
    const listener = await FakeListener.listen(node, options)
    listeners.push(listener)
    ports[code] = listener.port
    return listener
  }
  await impostor('101', await pki.issue('xchange', '101', { authority: 'second' }))
  await impostor('102', await pki.issue('xchange', '102', { expired: true }))
  await impostor('103', bed.node('058'))
  await impostor('104', bed.node('104'), { tls: TLS_1_2 })
  const otherIdentity = await pki.issue('xchange', '105', { folder: '105-other-identity' })
  const identityThief = await impostor('105', otherIdentity)
  await impostor('107', bed.node('lsd'))
  await impostor('108', bed.node('108'), { answer: OK_NO_UPGRADE })
  await impostor('109', bed.node('109'), { answer: REDIRECT })
  await impostor('110', bed.node('110'))
  await impostor('111', bed.node('111'), { answer: FORBIDDEN })
  const plain = createServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1')
  await once(plain, 'listening')
  ports['106'] = (plain.address() as AddressInfo).port

  const stealing = identityThief.nextPeer().then(async (socket) => {
    const thief = new FakeXchange(socket, { node: otherIdentity, bankCode: '105', lsPin: bed.node('lsd').pin })
    socket.send(thief.answerInitKx(await socket.receive()))
    return socket.closed
  })
  await bed.startXchange('044')
  const ls = await bed.startLs({ ports, banks: { '110': { allow: ['10.0.0.0/8', '::1'] } } })
  await bed.startXchange('058')
  await Promise.all(TWO_BANKS.map(({ code }) => ls.connected(code)))

  const expected: Record<string, { code: string; cause: string; says: RegExp }> = {
    '101': { code: 'CERT_DENIED', cause: 'tls', says: /caFile/ },
    '102': { code: 'CERT_DENIED', cause: 'tls', says: /expired: issue it again/ },
    '103': {
      code: 'CERT_DENIED',
      cause: 'tls',
      says: /names spiffe:\/\/.*\/xchange\/058, not spiffe:\/\/.*\/xchange\/103/,
    },
    '104': { code: 'CERT_DENIED', cause: 'tls', says: /TLS 1\.2/ },
    '105': { code: 'IDENTITY_DENIED', cause: 'kx', says: /pinned/ },
    '106': { code: 'CERT_DENIED', cause: 'tls', says: /127\.0\.0\.1:\d+.*may not speak TLS: is it the right port/ },
    '107': { code: 'CERT_DENIED', cause: 'tls', says: /names spiffe:\/\/.*\/ls, not/ },
    '108': { code: 'REFUSED', cause: 'upgrade', says: /status 200/ },
    '109': { code: 'REFUSED', cause: 'upgrade', says: /status 302/ },
    '110': { code: 'IP_DENIED', cause: 'policy', says: /allow-list/ },
    '111': { code: 'REFUSED', cause: 'upgrade', says: /status 403; see its log/ },
  }
  for (const [bankCode, { code, cause, says }] of Object.entries(expected)) {
    const line = await ls.log.until({ bankCode, cause, to: 'idle' })
    t.equal(line.code, code, `bank ${bankCode}: ${code}`)
    t.match(line.msg, says, `bank ${bankCode}: the log says why`)
    t.match((await ls.bankStatus(bankCode)).lastFailure, { cause, code }, 'and so does the status')
    t.strictSame(ls.log.all({ bankCode, msg: 'channel connected' }), [], 'there was never a channel')
  }
  t.match((await ls.log.until({ bankCode: '105', audit: true })).code, 'IDENTITY_DENIED', 'LS-7 and it is audited')
  t.match(await stealing, { code: 4401, reason: 'KX_FAILED' }, 'the thief learns one opaque code')
  for (const { code } of TWO_BANKS)
    t.match(await ls.ask({ to: code, method: 'echo', payload: 1 }), { outcome: 'answered' })

  plain.close()
  await Promise.all(listeners.map((listener) => listener.stop()))
  await bed.stop()
  await untilHandles(handles)
  t.equal(ls.clock.pendingTimers, 0, 'the reconnect loops are stopped, and no timer is left')
})

t.test('LS-2 LS-7 LS-14 an xchange that dials opens no channel to a server that is not its LS', async (t) => {
  const bed = await testBed(t)
  const { pki } = bed
  const handles = openHandles()
  const otherIdentity = await pki.issue('lsd', undefined, { folder: 'lsd-other-identity' })
  const lsNode = bed.node('lsd')
  const wrongs: Record<string, { node: TestNode; options?: FakeListenerOptions; code: string; says: RegExp }> = {
    'another CA': {
      node: await pki.issue('lsd', undefined, { authority: 'second' }),
      code: 'CERT_DENIED',
      says: /certificate/,
    },
    expired: {
      node: await pki.issue('lsd', undefined, { expired: true }),
      code: 'CERT_DENIED',
      says: /issue it again/,
    },
    'a bank': { node: bed.node('044'), code: 'CERT_DENIED', says: /names spiffe:\/\/.*\/044, not spiffe:\/\/.*\/ls/ },
    'TLS 1.2': { node: lsNode, options: { tls: TLS_1_2 }, code: 'CERT_DENIED', says: /TLS 1\.2/ },
    'no upgrade': { node: lsNode, options: { answer: FORBIDDEN }, code: 'REFUSED', says: /status 403; see its log/ },
  }
  const { ls } = await bed.startAll()
  for (const [index, [title, { node, options, code, says }]] of Object.entries(wrongs).entries()) {
    const listener = await FakeListener.listen(node, options)
    const xchange = await bed.startXchange('058', { port: listener.port, name: `058-${index}` })
    const line = await xchange.log.until({ msg: /cannot reach LS at 127\.0\.0\.1:\d+; trying again/ })
    t.match(line.error, { code, message: says }, `${title}: ${code}, and the log says why`)
    await xchange.stop()
    await listener.stop()
  }

  const fenced = await bed.startXchange('058', {
    name: '058-fenced',
    port: ls.port,
    config: { ls: { allow: ['10.0.0.0/8'] } },
  })
  const denied = await fenced.log.until({ msg: /cannot reach LS/ })
  t.match(denied.error, { code: 'IP_DENIED', message: /allow-list/ }, 'LS-9 an LS at an address that is not allowed')
  await fenced.stop()

  const listener = await FakeListener.listen(otherIdentity)
  const xchange = await bed.startXchange('058', { port: listener.port, name: '058-identity' })
  const thief = new FakeLs(await listener.nextPeer(), {
    node: otherIdentity,
    bankCode: '058',
    xchangePin: bed.node('058').pin,
  })
  await t.rejects(thief.key(), { code: 'KX_FAILED' }, 'a thief of the certificate without the identity gets no session')
  t.match(
    await xchange.log.until({ audit: true, code: 'IDENTITY_DENIED' }),
    { msg: /pinned/, address: '127.0.0.1' },
    'and the log of the xchange says why',
  )
  await thief.socket.closed
  await xchange.stop()
  await listener.stop()

  t.match(await ls.ask({ to: '058', method: 'echo', payload: 1 }), { outcome: 'answered' })
  await bed.stop()
  await untilHandles(handles)
  t.equal(xchange.clock.pendingTimers, 0)
})
