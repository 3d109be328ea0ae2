import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import t from 'tap'
import type { ListenerPeer } from '../../lib/channel/index.ts'
import { LsGate, type Phase } from '../../lib/ls/gate.ts'
import { VirtualLink } from '../support/channel-link.ts'
import { KX_MS, SwitchHarness, testConfig } from './switch-harness.ts'

const NOT_AFTER = new Date('2031-01-01T00:00:00Z')

function peer(spiffeId: string | undefined, address = '10.1.0.7'): ListenerPeer {
  return { address, spiffeId, certificateNotAfter: NOT_AFTER }
}

const bankPeer = (code: string, address?: string) => peer(`spiffe://ls-xchange.test/xchange/${code}`, address)

class GateHarness extends SwitchHarness {
  phase: Phase = 'ready'
  readonly gate = new LsGate(this.context, this.registry, () => this.phase)
}

async function withGate(): Promise<GateHarness> {
  const harness = new GateHarness({
    config: { listen: { port: 0, allow: ['192.0.2.1', '2001:db8::/32'] } },
  })
  await harness.apply(
    harness.bank('044', { allow: ['10.1.0.0/16'] }),
    harness.bank('058', { dial: 'ls', host: '127.0.0.1', port: 1, allow: ['10.2.0.0/16'] }),
  )
  return harness
}

/** The answer to a request, without sockets. */
function ask(
  gate: LsGate,
  method: string,
  url: string,
): { status: number; body: Record<string, unknown>; headers: string } {
  const request = Object.assign(new IncomingMessage(new Socket()), { method, url })
  const response = new ServerResponse(request)
  let text = ''
  let headers: unknown
  response.writeHead = ((status: number, given: unknown) => {
    response.statusCode = status
    headers = given
    return response
  }) as typeof response.writeHead
  response.end = ((chunk?: unknown) => {
    text = String(chunk ?? '')
    return response
  }) as typeof response.end
  gate.onRequest(peer(undefined), request, response)
  return {
    status: response.statusCode,
    body: JSON.parse(text) as Record<string, unknown>,
    headers: JSON.stringify(headers),
  }
}

t.test('LS-9 an address outside every allow-list is refused before TLS, in v4 and v6', async (t) => {
  const { gate } = await withGate()
  const permitted = ['192.0.2.1', '2001:db8::1', '10.1.255.255', '::ffff:10.1.0.1', '::ffff:192.0.2.1']
  const refused = ['192.0.2.2', '2001:db9::1', '10.3.0.1', '10.2.0.1', '::1', '127.0.0.1', '', 'nonsense', undefined]
  for (const address of permitted) t.equal(gate.permitsAddress(address), true, address)
  // 10.2.0.1 is of a bank that LS dials: it has no business here.
  for (const address of refused) t.equal(gate.permitsAddress(address), false, String(address))
})

t.test('LS-9 a reload brings another list, for the listener and for the banks', async (t) => {
  const harness = await withGate()
  harness.context.config = testConfig({ listen: { port: 0, allow: ['198.51.100.9'] } })
  t.equal(harness.gate.permitsAddress('192.0.2.1'), false)
  t.equal(harness.gate.permitsAddress('198.51.100.9'), true)
  await harness.apply(harness.bank('044', { allow: ['10.9.0.0/16'] }))
  t.equal(harness.gate.permitsAddress('10.1.0.7'), false)
  t.equal(harness.gate.permitsAddress('10.9.0.7'), true)
})

t.test('LS-9 LS-14 a channel is for a bank that dials, with its own certificate, from its own addresses', async (t) => {
  const harness = await withGate()
  const { gate } = harness
  t.doesNotThrow(() => gate.admitChannel(bankPeer('044')))
  const refused: readonly (readonly [string, ListenerPeer, string])[] = [
    ['no SPIFFE id', peer(undefined), 'CERT_DENIED'],
    ['another trust domain', peer('spiffe://elsewhere.test/xchange/044'), 'CERT_DENIED'],
    ['LS itself', peer('spiffe://ls-xchange.test/ls'), 'CERT_DENIED'],
    ['a bank that is not configured', bankPeer('070'), 'CERT_DENIED'],
    ['a bank that LS dials', bankPeer('058', '10.2.0.1'), 'CERT_DENIED'],
    ['a path with more behind it', bankPeer('044/..'), 'CERT_DENIED'],
    ['a bank code of an object', bankPeer('constructor'), 'CERT_DENIED'],
    ['the right bank from an address of LS’s own list', bankPeer('044', '192.0.2.1'), 'IP_DENIED'],
    ['the right bank from the address of another', bankPeer('044', '10.2.0.1'), 'IP_DENIED'],
  ]
  for (const [what, who, code] of refused) t.throws(() => gate.admitChannel(who), { code }, what)
})

t.test('SEC-12 a bank in quarantine is refused, and so is everybody while LS drains', async (t) => {
  const harness = await withGate()
  harness.link('044').quarantine({ reason: 'ticket 17' })
  t.throws(() => harness.gate.admitChannel(bankPeer('044')), { code: 'QUARANTINED' })
  harness.link('044').resume()
  harness.phase = 'starting'
  t.doesNotThrow(() => harness.gate.admitChannel(bankPeer('044')), 'banks may come before LS is ready')
  harness.phase = 'draining'
  t.throws(() => harness.gate.admitChannel(bankPeer('044')), { code: 'SHUTTING_DOWN' })
})

t.test('LS-14 an admitted socket becomes the channel of its bank', async (t) => {
  const harness = await withGate()
  const node = harness.node('044')
  node.open(harness.clock)
  harness.gate.onChannel(bankPeer('044'), node.link.lsSocket, Buffer.alloc(32, 5))
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').state.name, 'connected')
  t.match(harness.link('044').peer, { address: '10.1.0.7', certificateNotAfter: NOT_AFTER })
})

t.test('a socket of a bank that a reload has removed meanwhile is let go', async (t) => {
  const harness = await withGate()
  const { lsSocket } = new VirtualLink(harness.clock)
  await harness.apply()
  harness.gate.onChannel(bankPeer('044'), lsSocket, Buffer.alloc(32))
  t.equal(lsSocket.closedWith, 'terminated')
})

t.test('health and readiness: what a load balancer and a person need, and no more', async (t) => {
  const harness = await withGate()
  const { gate } = harness
  for (const [phase, status] of [
    ['starting', 503],
    ['ready', 200],
    ['draining', 503],
  ] as const) {
    harness.phase = phase
    t.match(ask(gate, 'GET', '/health'), { status: 200, body: { status: 'ok', phase } })
    t.match(ask(gate, 'GET', '/ready'), { status, body: { phase } })
  }
  t.match(ask(gate, 'HEAD', '/health'), { status: 200, headers: /no-store/ })
  t.equal(ask(gate, 'GET', '/').status, 404)
  t.equal(ask(gate, 'GET', '/health?x').status, 404)
  t.equal(ask(gate, 'GET', '/channel').status, 404)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) t.equal(ask(gate, method, '/health').status, 405)
})
