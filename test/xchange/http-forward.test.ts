import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import t, { type Test } from 'tap'
import { decodeMeta, encodeMap, type ResponseRecord } from '../../lib/frames/index.ts'
import { canonicalJson, verifyFspiop } from '../../lib/message/fspiop/index.ts'
import { IlpSecret, makePair } from '../../lib/message/ilp/index.ts'
import { VerificationCache } from '../../lib/message/jws/index.ts'
import { HttpForward, type HttpForwardOptions } from '../../lib/xchange/http-forward.ts'
import { IlpReceiver } from '../../lib/xchange/ilp-receiver.ts'
import { DispatcherHarness, deferred, requestOf } from '../support/dispatcher-harness.ts'
import { newKey, verificationKey } from '../support/signing-keys.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

interface SeenRequest {
  readonly message: IncomingMessage
  readonly body: unknown
}

/** The bank's own system, as a real HTTP server, and a dispatcher that forwards to it. */
async function bankSystem(
  t: Test,
  answer: (response: ServerResponse, request: SeenRequest) => void,
  options: Partial<HttpForwardOptions> & { path?: string } = {},
) {
  const requests: SeenRequest[] = []
  const listener: RequestListener = async (message, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of message) chunks.push(chunk as Buffer)
    const request = { message, body: JSON.parse(Buffer.concat(chunks).toString()) as unknown }
    requests.push(request)
    answer(response, request)
  }
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const { path = '/', ...rest } = options
  const forward = new HttpForward({ url: `http://127.0.0.1:${port}${path}`, ...rest })
  const harness = new DispatcherHarness({ transfer: forward.route('transfer'), balance: forward.route('balance') })
  t.teardown(async () => {
    await forward.stop(AbortSignal.abort())
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { harness, forward, requests, port }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

const BUDGET_MS = 30_000

t.test('SEC-7 what the bank is sent can be signed as in the API of Mojaloop', async (t) => {
  const key = newKey('bank044', 'ES256')
  const { harness, requests } = await bankSystem(t, (response) => json(response, 200, { ok: true }), {
    path: '/transfers/{method}',
    fspiop: { key, destination: 'core' },
  })
  await harness.ask({ key: 'key-7', method: 'transfer', payload: { z: 1, a: 2.5 }, budgetMs: BUDGET_MS })
  const [request] = requests
  if (request === undefined) throw new Error('the bank was asked')
  const { headers, method, url } = request.message
  const body = Buffer.from(canonicalJson(request.body))
  const options = {
    keys: { keysOf: () => [verificationKey(key)] },
    cache: new VerificationCache({ clock: new VirtualClock() }),
    nowMs: 0,
  }
  t.match(verifyFspiop({ headers, body, method, uri: url }, options), {
    source: 'bank044',
    destination: 'core',
    body: { key: 'key-7', method: 'transfer', payload: { a: 2.5, z: 1 } },
  })
  t.throws(() => verifyFspiop({ headers, body: Buffer.from('{}'), method, uri: url }, options), {
    code: 'SIGNATURE_INVALID',
  })
})

t.test('what the bank is sent', async (t) => {
  const { harness, requests } = await bankSystem(t, (response) => json(response, 200, { balanceMinor: 5 }), {
    path: '/ls/{method}?v=1',
    headers: { 'x-api-version': '7' },
  })
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const response = await harness.ask({
    key: 'key-77',
    method: 'transfer',
    payload: { amountMinor: 12, bytes: Buffer.from('hi'), big: 2n ** 60n },
    budgetMs: BUDGET_MS,
    meta: encodeMap({ traceparent }),
  })
  t.match(response, { status: 'ok', value: { balanceMinor: 5 } })
  const [request] = requests
  t.equal(request?.message.method, 'POST')
  t.equal(request?.message.url, '/ls/transfer?v=1')
  t.same(request?.body, {
    method: 'transfer',
    key: 'key-77',
    payload: { amountMinor: 12, bytes: 'aGk=', big: '1152921504606846976' },
  })
  t.match(request?.message.headers, {
    'content-type': 'application/json',
    'idempotency-key': 'key-77',
    'x-bank-code': '044',
    'x-deadline-ms': '30000',
    'x-api-version': '7',
    traceparent,
  })
})

t.test('a key or traceparent cannot smuggle a header, and no two keys become one', async (t) => {
  const { harness, requests } = await bankSystem(t, (response) => json(response, 200, null))
  const meta = encodeMap({ traceparent: '00-x\r\nx-admin: yes' })
  for (const key of ['a b', 'a%20b', 'ключ', 'a\r\nx-admin: yes']) {
    t.match(await harness.ask({ key, method: 'transfer', meta }), { status: 'ok', value: null })
  }
  const sent = requests.map(({ message }) => message.headers['idempotency-key'])
  t.same(sent, ['a%20b', 'a%2520b', '%D0%BA%D0%BB%D1%8E%D1%87', 'a%0D%0Ax-admin%3A%20yes'])
  t.same(requests[2]?.body, { method: 'transfer', key: 'ключ', payload: {} })
  t.notOk(requests.some(({ message }) => 'x-admin' in message.headers || 'traceparent' in message.headers))
})

t.test('each answer of the bank', async (t) => {
  let answer: (response: ServerResponse) => void = () => {}
  const { harness } = await bankSystem(t, (response) => answer(response), { maxResponseBytes: 5_000 })
  const ends = async (how: (response: ServerResponse) => void) => {
    answer = how
    const id = harness.responses.length
    const { status, value, code } = await harness.ask({ id, method: 'transfer', budgetMs: BUDGET_MS })
    return { status, value, code }
  }
  const failed = (value: unknown) => ({ status: 'failed', value, code: undefined })
  const inDoubt = { status: 'inDoubt', value: undefined, code: 'IN_DOUBT' }
  const message = (status: number) => `the bank's system answered ${status}`

  t.same(await ends((response) => json(response, 200, [1, 'two'])), {
    status: 'ok',
    value: [1, 'two'],
    code: undefined,
  })
  t.same(await ends((response) => response.writeHead(204).end()), { status: 'ok', value: null, code: undefined })
  t.match(
    await ends((response) => {
      response.writeProcessing()
      json(response, 201, 'after 1xx')
    }),
    { status: 'ok', value: 'after 1xx' },
  )
  t.same(
    await ends((response) => json(response, 422, { code: 'FUNDS', message: 'too low', limitMinor: 5, httpStatus: 1 })),
    failed({ code: 'FUNDS', message: 'too low', limitMinor: 5, httpStatus: 422 }),
  )
  t.same(
    await ends((response) => json(response, 400, ['what?'])),
    failed({ code: 'HANDLER_FAILED', message: message(400), body: ['what?'], httpStatus: 400 }),
  )
  t.same(
    await ends((response) => response.writeHead(404).end('<html>not here</html>')),
    failed({ code: 'HANDLER_FAILED', message: message(404), httpStatus: 404 }),
  )
  t.same(
    await ends((response) => json(response, 500, { stack: 'at secret.java:1' })),
    failed({ code: 'HANDLER_FAILED', message: message(500), httpStatus: 500 }),
    'the inside of the bank stays inside',
  )
  t.match(await ends((response) => json(response, 503, {})), failed({ httpStatus: 503 }))
  t.match(
    await ends((response) => response.writeHead(302, { location: '/elsewhere' }).end()),
    failed({ code: 'HANDLER_FAILED', httpStatus: 302 }),
    'redirects are not followed',
  )
  t.same(await ends((response) => json(response, 504, {})), inDoubt, 'a gateway does not know')
  t.same(await ends((response) => json(response, 502, {})), inDoubt)
  t.same(await ends((response) => response.writeHead(200).end('{"cut":')), inDoubt, 'it says yes, to what is not known')
  t.match(
    await ends((response) => json(response, 200, 'x'.repeat(6_000))),
    failed({ code: 'TOO_LARGE', httpStatus: 200 }),
  )
  t.match(
    await ends((response) => {
      response.writeHead(200)
      response.write('x'.repeat(3_000))
      response.end('x'.repeat(3_000))
    }),
    failed({ code: 'TOO_LARGE' }),
    'also without a length in front',
  )
  t.same(await ends((response) => response.destroy()), inDoubt, 'dropped before the answer')
  const breakOff = (status: number) => (response: ServerResponse) => {
    response.writeHead(status, { 'content-length': '100' })
    response.write('{"part":', () => response.destroy())
  }
  t.same(await ends(breakOff(200)), inDoubt, 'dropped within the answer')
  t.match(await ends(breakOff(409)), failed({ httpStatus: 409 }), 'the status says enough')
  t.match(await ends((response) => json(response, 200, 'still there')), { status: 'ok', value: 'still there' })
})

t.test('BEY-3 a bank that hangs is given up at the end of the budget, in doubt', async (t) => {
  const arrived = deferred<ServerResponse>()
  const { harness } = await bankSystem(t, (response) => arrived.resolve(response))
  const asked = harness.ask({ method: 'transfer', budgetMs: BUDGET_MS })
  const response = await arrived.promise
  const closed = new Promise((resolve) => response.on('close', resolve))
  await harness.clock.advance(BUDGET_MS - 1)
  t.same(harness.responses, [])
  await harness.clock.advance(1)
  t.match(await asked, { status: 'inDoubt', code: 'IN_DOUBT' })
  await closed
  t.match(await harness.ask({ method: 'transfer', budgetMs: BUDGET_MS }), { status: 'inDoubt' }, 'not sent again')
})

t.test('BEY-3 a bank that hangs within its answer', async (t) => {
  const arrived = deferred<ServerResponse>()
  const { harness } = await bankSystem(t, (response) => {
    response.writeHead(200)
    response.write('{"part":', () => arrived.resolve(response))
  })
  const asked = harness.ask({ method: 'transfer', budgetMs: BUDGET_MS })
  await arrived.promise
  await harness.clock.advance(BUDGET_MS)
  t.match(await asked, { status: 'inDoubt' })
})

t.test('a bank where nothing listens: nothing was begun, and the key is free', async (t) => {
  const { harness, requests, port } = await bankSystem(t, (response) => json(response, 200, 'paid'))
  const unused = createTcpServer()
  await new Promise<void>((resolve) => unused.listen(0, '127.0.0.1', resolve))
  const unusedPort = (unused.address() as AddressInfo).port
  await new Promise((resolve) => unused.close(resolve))

  const dead = new HttpForward({ url: `http://127.0.0.1:${unusedPort}/` })
  t.teardown(() => dead.stop(AbortSignal.abort()))
  const away = new DispatcherHarness({ transfer: dead.route('transfer') })
  t.match(await away.ask({ method: 'transfer', budgetMs: BUDGET_MS }), { status: 'refused', code: 'BUSY' })
  t.match(await away.ask({ method: 'transfer', budgetMs: BUDGET_MS }), { status: 'refused', code: 'BUSY' })

  t.match(await harness.ask({ method: 'transfer', budgetMs: BUDGET_MS }), { status: 'ok', value: 'paid' })
  t.equal(requests.length, 1)
  const probe = connect(port, '127.0.0.1')
  await new Promise((resolve) => probe.on('connect', resolve))
  probe.destroy()
})

t.test('what waits for a connection was not begun', async (t) => {
  const first = deferred<ServerResponse>()
  const { harness, requests } = await bankSystem(
    t,
    (response) => {
      if (requests.length === 1) first.resolve(response)
      else json(response, 200, 'paid')
    },
    { maxConnections: 1 },
  )
  const firstAnswer = harness.ask({ id: 1, method: 'transfer', budgetMs: BUDGET_MS })
  const response = await first.promise
  const waits = harness.ask({ id: 2, method: 'transfer', budgetMs: 1_000 })
  await harness.clock.advance(1_000)
  t.match(await waits, { status: 'refused', code: 'BUSY' }, 'its budget ended while it waited')
  json(response, 200, 'first')
  t.match(await firstAnswer, { status: 'ok', value: 'first' })
  t.match(await harness.ask({ id: 3, method: 'transfer', budgetMs: BUDGET_MS }), { status: 'ok', value: 'paid' })
  t.same(
    requests.map(({ body }) => (body as { key: string }).key),
    ['key-1', 'key-3'],
    'what was given up is not sent later',
  )
})

t.test('those who wait for a connection are bounded', async (t) => {
  const first = deferred<ServerResponse>()
  const bounds = { maxConnections: 1, maxWaiting: 1 }
  const { harness, requests } = await bankSystem(t, (response) => first.resolve(response), bounds)
  harness.send({ id: 1, method: 'transfer', budgetMs: BUDGET_MS })
  await first.promise
  harness.send({ id: 2, method: 'transfer', budgetMs: BUDGET_MS })
  t.match(await harness.ask({ id: 3, method: 'transfer', budgetMs: BUDGET_MS }), { status: 'refused', code: 'BUSY' })
  t.equal(requests.length, 1)
})

t.test('stop lets requests finish, and leaves in doubt what does not', async (t) => {
  const arrived = [deferred<ServerResponse>(), deferred<ServerResponse>()]
  const { harness, forward, requests } = await bankSystem(t, (response) =>
    arrived[requests.length - 1]?.resolve(response),
  )
  const one = harness.ask({ id: 1, method: 'transfer', budgetMs: BUDGET_MS })
  const two = harness.ask({ id: 2, method: 'transfer', budgetMs: BUDGET_MS })
  const [first] = [await arrived[0]?.promise, await arrived[1]?.promise]
  const patience = new AbortController()
  const stopped = forward.stop(patience.signal)
  if (first !== undefined) json(first, 200, 'finished')
  const finished = await Promise.race([one, two])
  t.match(finished, { status: 'ok', value: 'finished' })
  patience.abort()
  await stopped
  const both = await Promise.all([one, two])
  t.same(both.map(({ status }) => status).sort(), ['inDoubt', 'ok'])
  t.match(await harness.ask({ id: 3, method: 'transfer' }), { status: 'refused', code: 'BUSY' }, 'after stop')
  await forward.stop(new AbortController().signal)
})

t.test('a URL that cannot be used is refused at the start', async (t) => {
  const refused = (url: string, message: RegExp) =>
    t.throws(() => new HttpForward({ url }).route('pay'), { code: 'REFUSED', party: 'self', message })
  refused('nonsense', /not a URL/)
  refused('ftp://127.0.0.1/', /must begin with http/)
  refused('http://user:hunter2@127.0.0.1/', /^((?!hunter2).)*must not hold a user name or a password$/)
  refused('http://{method}.bank.example/', /in the path only/)
  const forward = new HttpForward({ url: 'http://127.0.0.1:1/x/{method}' })
  t.throws(() => forward.route('..'), { code: 'REFUSED', message: /would change the path/ })
  t.equal(forward.route('a/b', { expectedMs: 30 }).expectedMs, 30)
  await forward.stop(AbortSignal.abort())
})

t.test("SEC-6 the bank's system gets the ILP packet beside the payload, and its answer is proven", async (t) => {
  const clock = new VirtualClock()
  const secret = new IlpSecret(Buffer.from('what this bank fulfils with'))
  const expiresAtMs = clock.nowMs() + 30_000
  const terms = { version: 4, amount: 700n, destination: 'g.044.a', expiresAtMs, transaction: '{}' } as const
  const { packet, condition, fulfilment } = makePair(terms, secret)
  const { requests, forward } = await bankSystem(t, (response) => response.end('{"done":true}'))
  const ilp = new IlpReceiver({ methods: new Set(), secrets: [secret], clockSkewMs: 0 }, { bankCode: '044', clock })
  const harness = new DispatcherHarness({ transfer: forward.route('transfer') }, { ilp, clock })
  const meta = encodeMap({ ilp: { packet, condition } })
  const answer = await new Promise<ResponseRecord>((resolve) => {
    harness.dispatcher.dispatch(requestOf({ method: 'transfer', meta, budgetMs: 20_000 }), resolve)
  })
  t.match(decodeMeta(answer.meta), { ilp: { fulfilment } })
  t.match(requests[0]?.body, {
    ilp: {
      version: 4,
      amount: '700',
      destination: 'g.044.a',
      expiresAt: new Date(expiresAtMs).toISOString(),
      packet: packet.toString('base64url'),
      condition: condition.toString('base64url'),
    },
  })
})
