import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { ChannelSocket, ListenerPeer } from '../../lib/channel/index.ts'
import { loadXchangeConfig, type XchangeConfig } from '../../lib/xchange/config.ts'
import { XchangeGate } from '../../lib/xchange/gate.ts'
import type { LsLink } from '../../lib/xchange/ls-link.ts'
import { VirtualLink } from '../support/channel-link.ts'
import { projectRoot } from '../support/project.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const SESSION_ID = Buffer.alloc(16, 0xab)
const LS = 'spiffe://ls-xchange.test/ls'

function peer(spiffeId: string | undefined, address = '127.0.0.1'): ListenerPeer {
  return { address, spiffeId, certificateNotAfter: new Date('2031-01-01T00:00:00Z') }
}

interface Accepted {
  readonly socket: ChannelSocket
  readonly exporter: Buffer
  readonly address: string
}

class GateUnderTest {
  readonly accepted: Accepted[] = []
  session: { sessionId: Buffer } | undefined
  isDraining = false
  readonly gate: XchangeGate

  constructor(overrides: Partial<XchangeConfig> = {}) {
    const config = { ...loadXchangeConfig(join(projectRoot, 'config/xchange.yaml'), {}), ...overrides }
    const link = {
      accept: (socket: ChannelSocket, exporter: Buffer, address: string) =>
        this.accepted.push({ socket, exporter, address }),
    }
    Object.defineProperty(link, 'session', { get: () => this.session })
    this.gate = new XchangeGate({
      config,
      link: link as unknown as LsLink,
      isDraining: () => this.isDraining,
    })
  }

  ask(who: ListenerPeer, method: string, url: string): { status: number; body: unknown; headers: unknown } {
    const request = Object.assign(new IncomingMessage(new Socket()), { method, url })
    const response = new ServerResponse(request)
    const answer = { status: 0, body: undefined as unknown, headers: undefined as unknown }
    response.writeHead = ((status: number, headers: unknown) => {
      Object.assign(answer, { status, headers })
      return response
    }) as typeof response.writeHead
    response.end = ((text: string) => {
      answer.body = JSON.parse(text)
      return response
    }) as typeof response.end
    this.gate.onRequest(who, request, response)
    return answer
  }
}

t.test('LS-9 an address outside the allow-list is refused before TLS, in v4 and v6', async (t) => {
  const base = loadXchangeConfig(join(projectRoot, 'config/xchange.yaml'), {})
  const { gate } = new GateUnderTest({ ls: { ...base.ls, allow: ['192.0.2.0/24', '2001:db8::1'] } })
  for (const address of ['192.0.2.1', '192.0.2.255', '::ffff:192.0.2.1', '2001:db8::1']) {
    t.equal(gate.permitsAddress(address), true, address)
  }
  for (const address of ['192.0.3.1', '127.0.0.1', '2001:db8::2', '', 'nonsense', undefined]) {
    t.equal(gate.permitsAddress(address), false, String(address))
  }
  const { gate: closed } = new GateUnderTest({ ls: { ...base.ls, allow: [] } })
  t.equal(closed.permitsAddress('127.0.0.1'), false, 'an empty list permits nobody')
})

t.test('LS-2 a channel is for LS alone: whoever else has a certificate of the CA is told NOT_LS', async (t) => {
  const { gate } = new GateUnderTest()
  t.doesNotThrow(() => gate.admitChannel(peer(LS)))
  const others = [
    'spiffe://ls-xchange.test/xchange/044',
    'spiffe://ls-xchange.test/xchange/058',
    'spiffe://elsewhere.test/ls',
    'spiffe://ls-xchange.test/ls/',
    'spiffe://ls-xchange.test/LS',
    'spiffe://ls-xchange.test/ls/extra',
    'https://ls-xchange.test/ls',
    '',
    undefined,
  ]
  for (const spiffeId of others) t.throws(() => gate.admitChannel(peer(spiffeId)), { code: 'NOT_LS' }, String(spiffeId))
})

t.test('LS-14 a node that dials LS itself accepts no channel, and a node that drains none either', async (t) => {
  const base = loadXchangeConfig(join(projectRoot, 'config/xchange.yaml'), {})
  const dialling = new GateUnderTest({ dial: 'xchange', ls: { ...base.ls, host: '127.0.0.1', port: 1 } })
  t.throws(() => dialling.gate.admitChannel(peer(LS)), { code: 'REFUSED' })
  const draining = new GateUnderTest()
  draining.isDraining = true
  t.throws(() => draining.gate.admitChannel(peer(LS)), { code: 'SHUTTING_DOWN' })
})

t.test('an admitted socket goes to the link, with the exporter of its own TLS connection', async (t) => {
  const under = new GateUnderTest()
  const { xchangeSocket } = new VirtualLink(new VirtualClock())
  const exporter = Buffer.alloc(32, 9)
  under.gate.onChannel(peer(LS, '127.0.0.9'), xchangeSocket, exporter)
  t.equal(under.accepted.length, 1)
  t.equal(under.accepted[0]?.socket, xchangeSocket)
  t.match(under.accepted[0], { exporter, address: '127.0.0.9' })
})

t.test('LS-12 LS is told the session id; anybody else only that the process lives', async (t) => {
  const under = new GateUnderTest()
  t.match(under.ask(peer(LS), 'GET', '/health'), {
    status: 200,
    body: { status: 'ok', bankCode: '044', connected: 0, sessionId: null },
    headers: { 'cache-control': 'no-store', 'content-type': 'application/json' },
  })
  under.session = { sessionId: SESSION_ID }
  t.strictSame(under.ask(peer(LS), 'GET', '/health').body, {
    status: 'ok',
    bankCode: '044',
    connected: 1,
    sessionId: SESSION_ID.toString('hex'),
  })
  for (const spiffeId of ['spiffe://ls-xchange.test/xchange/044', 'spiffe://elsewhere.test/ls', undefined]) {
    t.strictSame(under.ask(peer(spiffeId), 'GET', '/health').body, { status: 'ok' })
  }
  under.isDraining = true
  t.equal(under.ask(peer(LS), 'HEAD', '/health').status, 200)
})

t.test('nothing else is served here', async (t) => {
  const under = new GateUnderTest()
  for (const url of ['/', '/ready', '/channel', '/health?x=1', '/health/']) {
    t.match(under.ask(peer(LS), 'GET', url), { status: 404, body: { error: 'path' } })
  }
  for (const method of ['POST', 'PUT', 'DELETE']) t.equal(under.ask(peer(LS), method, '/health').status, 405)
})
