import t from 'tap'
import { xchangeSpiffeId } from '../../lib/certs/index.ts'
import { AllowList } from '../../lib/channel/allow-list.ts'
import { askHealth } from '../../lib/channel/ask-health.ts'
import { dialTarget, startListener, startTcpServer } from '../support/channel-sockets.ts'
import { createTestPki } from '../support/pki.ts'

const pki = await createTestPki(t.testdir())
const ls = await pki.issue('lsd')
const bank = await pki.issue('xchange', '044')
const NEVER = new AbortController().signal

function targetOf(port: number, bankCode = '044') {
  return dialTarget({ port, material: ls.material, expectedSpiffeId: xchangeSpiffeId(pki.trustDomain, bankCode) })
}

t.test('LS-12 the health of a peer is asked over mutual TLS, and its connection is not kept', async (t) => {
  const server = await startListener(t, { material: bank.material })
  server.gate.onRequest = (peer, request, response) => {
    response.end(JSON.stringify({ status: 'ok', asked: request.url, by: peer.spiffeId }))
  }
  t.match(await askHealth(targetOf(server.port), NEVER), { status: 'ok', asked: '/health', by: /\/ls$/ })
  await t.resolves(askHealth(targetOf(server.port), NEVER))
})

t.test('LS-12 a peer of another name, at another address, or with an answer that is none, is no health', async (t) => {
  const server = await startListener(t, { material: bank.material })
  server.gate.onRequest = (_peer, _request, response) => response.end('{}')
  await t.rejects(askHealth(targetOf(server.port, '058'), NEVER), { code: 'CERT_DENIED' })
  const elsewhere = { ...targetOf(server.port), allowList: new AllowList(['192.0.2.1']) }
  await t.rejects(askHealth(elsewhere, NEVER), { code: 'IP_DENIED' })
  for (const body of ['', 'no JSON', '{"a":', '[1]', 'null', '7', '"text"', `"${'x'.repeat(5_000)}"`]) {
    server.gate.onRequest = (_peer, _request, response) => response.end(body)
    await t.rejects(
      askHealth(targetOf(server.port), NEVER),
      { code: 'CHANNEL_DOWN' },
      JSON.stringify(body.slice(0, 10)),
    )
  }
  server.gate.onRequest = (_peer, _request, response) => response.writeHead(503).end('{"status":"ok"}')
  await t.rejects(askHealth(targetOf(server.port), NEVER), { code: 'CHANNEL_DOWN' }, 'status 503')
  server.gate.onRequest = (_peer, _request, response) => {
    response.write('{')
    response.destroy()
  }
  await t.rejects(askHealth(targetOf(server.port), NEVER), { code: 'CHANNEL_DOWN' }, 'half an answer')
})

t.test('LS-12 a question that is given up rejects and closes its connection', async (t) => {
  const abort = new AbortController()
  let closed: () => void = () => {}
  const isClosed = new Promise<void>((resolve) => {
    closed = resolve
  })
  const port = await startTcpServer(t, (socket) => {
    socket.resume().once('close', closed)
    abort.abort()
  })
  await t.rejects(askHealth(targetOf(port), abort.signal), { code: 'CHANNEL_DOWN' })
  await isClosed
  t.pass('the other end saw it go')
})
