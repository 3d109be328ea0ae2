import t from 'tap'
import type { Message } from '../../lib/ipc/index.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { startServer } from './ipc-fixture.ts'
import { block, blocksOf, pack, unpack } from './raw-client.ts'

const payload = pack({ account: '0123456789' })
const request = { op: 'request', id: 1, to: '044', method: 'echo', payload, key: 'k' }

t.test('fast form: a request and its reply', async (t) => {
  const { handler, connect } = await startServer(t)
  const client = await connect()
  client.send(block(request))
  t.match(await client.messages(1), [{ id: 1, outcome: 'answered', payload, key: 'k' }])
  t.strictSame(handler.messages, [request])
  t.equal(handler.connections[0]?.form, 'fast')
})

t.test(
  'fast form: several maps in a block, several blocks in a write; replies of one tick leave together',
  async (t) => {
    const { handler, connect } = await startServer(t)
    const client = await connect()
    const requests = Array.from({ length: 6 }, (_, id) => ({ ...request, id }))
    client.send(Buffer.concat([block(...requests.slice(0, 4)), block(...requests.slice(4))]))
    await client.messages(6)
    t.same(
      blocksOf(client.received).map((messages) => messages.map(({ id }) => id)),
      [[0, 1, 2, 3, 4, 5]],
    )
    t.equal(handler.messages.length, 6)
  },
)

t.test('both forms: delivery byte by byte', async (t) => {
  const { connect } = await startServer(t)
  for (const [form, bytes] of [
    ['fast', block(request, { ...request, id: 2 })],
    ['human', Buffer.from('{"op":"request","id":1,"payload":{"ü":1}}\n{"op":"request","id":2,"payload":{"ü":1}}\n')],
  ] as const) {
    const client = await connect()
    client.socket.setNoDelay(true)
    for (const byte of bytes) {
      client.send(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    const replies = form === 'fast' ? await client.messages(2) : await client.lines(2)
    t.match(
      replies,
      [
        { id: 1, outcome: 'answered' },
        { id: 2, outcome: 'answered' },
      ],
      form,
    )
  }
})

t.test('large replies and requests arrive whole, each in a block of its own', async (t) => {
  const { connect } = await startServer(t)
  const client = await connect()
  const large = Buffer.alloc(1_000_000, 5)
  client.send(block(request, { ...request, id: 2, payload: large }))
  const [, reply] = (await client.messages(2)) as [unknown, { payload: Buffer }]
  t.ok(reply.payload.equals(large))
  t.equal(blocksOf(client.received).length, 2)
})

t.test('human form: one JSON object a line, payload any JSON value', async (t) => {
  const { handler, connect } = await startServer(t)
  const client = await connect()
  client.send('{"op":"request","id":"a","to":"044","method":"balance","payload":{"account":"0123456789"}}\n\r\n')
  client.send('{"op":"request","id":2,"to":"044","method":"balance","payload":[1,2]}\n')
  t.match(await client.lines(2), [
    { id: 'a', outcome: 'answered', payload: { account: '0123456789' } },
    { id: 2, payload: [1, 2] },
  ])
  t.strictSame(unpack(handler.messages[0]?.payload as Buffer), { account: '0123456789' })
  t.equal(handler.connections[0]?.form, 'human')
})

t.test('human form: a client that ends its side without a newline gets its answers, then the end', async (t) => {
  const { handler, connect } = await startServer(t)
  handler.answer = () => {}
  const client = await connect()
  client.socket.end('{"op":"request","id":1,"payload":{}}\n{"op":"request","id":2,"payload":{}}')
  await handler.until(() => handler.messages.length === 2)
  for (const message of handler.messages) handler.connections[0]?.reply({ id: message.id, outcome: 'answered' })
  await client.ended()
  t.match(await client.lines(2), [{ id: 1 }, { id: 2 }])
  await handler.until(() => handler.closed.length === 1)
})

t.test('fast form: a pending notice and an event do not end a half-closed connection, the answer does', async (t) => {
  const { handler, connect } = await startServer(t)
  handler.answer = () => {}
  const client = await connect()
  client.socket.end(block(request))
  await handler.until(() => handler.messages.length === 1)
  const [connection] = handler.connections
  connection?.reply({ id: 1, outcome: 'pending', code: 'KEY_PENDING' })
  connection?.reply({ id: 1, event: 'progress', data: 1 })
  await client.messages(2)
  t.equal(connection?.closed, false)
  connection?.reply({ id: 1, outcome: 'answered' })
  await client.ended()
  t.equal((await client.messages(3)).length, 3)
})

t.test('human form: a bad line is refused and the next one served', async (t) => {
  const { connect } = await startServer(t)
  const client = await connect()
  client.send('{"op":"request",,}\n[]\n{"op":"request","id":-1}\n{"id":3}\n{"op":"request","id":4,"payload":1}\n')
  t.match(await client.lines(5), [
    { outcome: 'refused', code: 'BAD_REQUEST', message: /JSON/ },
    { outcome: 'refused', code: 'BAD_REQUEST' },
    { outcome: 'refused', code: 'BAD_REQUEST', message: /^id/ },
    { id: 3, outcome: 'refused', code: 'BAD_REQUEST', message: /^op/ },
    { id: 4, outcome: 'answered', payload: 1 },
  ])
})

t.test('human form: a bad line does not cost a half-closed client the answers still due', async (t) => {
  const { handler, connect } = await startServer(t)
  handler.answer = () => {}
  const client = await connect()
  client.socket.end('{"op":"request","id":1}\nnot json\n')
  t.match(await client.lines(1), [{ outcome: 'refused' }])
  handler.connections[0]?.reply({ id: 1, outcome: 'answered' })
  t.match(await client.lines(2), [{}, { id: 1, outcome: 'answered' }])
  await client.ended()
})

t.test('another protocol is answered in words and ended', async (t) => {
  const { handler, connect } = await startServer(t)
  const client = await connect()
  client.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await client.ended()
  t.match(await client.lines(1), [{ outcome: 'refused', code: 'BAD_REQUEST', message: /JSON/ }])
  client.socket.end()
  await handler.until(() => handler.closed.length === 1)
})

t.test('fast form: bytes that are no messages are refused and ended', async (t) => {
  const { handler, connect, logLines } = await startServer(t)
  const garbage: [string, Buffer, string][] = [
    ['a length of 4 GiB', Buffer.from([0xff, 0xff, 0xff, 0xff]), 'TOO_LARGE'],
    ['a length over the limit', Buffer.from([0x00, 0x20, 0x00, 0x01]), 'TOO_LARGE'],
    ['an empty block', Buffer.alloc(4), 'BAD_REQUEST'],
    ['no map', Buffer.from([0, 0, 0, 1, 5]), 'BAD_REQUEST'],
    ['an extension', block({ op: 'request', id: 1, at: new Date() }), 'BAD_REQUEST'],
    ['a map cut short', Buffer.from([0, 0, 0, 1, 0x81]), 'BAD_REQUEST'],
  ]
  for (const [what, bytes, code] of garbage) {
    const client = await connect()
    client.send(Buffer.concat([bytes, block(request)]))
    await client.ended()
    t.match(await client.messages(1), [{ outcome: 'refused', code }], what)
    client.socket.end()
  }
  await handler.until(() => handler.closed.length === garbage.length)
  t.equal(handler.messages.length, 0)
  t.equal(logLines.filter((line) => line.includes('broke the protocol')).length, garbage.length)
})

t.test('human form: a line over the limit is refused and ended', async (t) => {
  const { connect } = await startServer(t, { limits: { maxMessageBytes: 1024 } })
  const client = await connect()
  client.send(`{"op":"${'x'.repeat(2000)}`)
  await client.ended()
  t.match(await client.lines(1), [{ outcome: 'refused', code: 'TOO_LARGE' }])
})

t.test('a client that goes on writing reads why it was ended', async (t) => {
  const { handler, connect } = await startServer(t)
  const client = await connect()
  client.send(Buffer.from([0xff, 0xff, 0xff, 0xff]))
  const chunk = Buffer.alloc(100_000)
  for (let sent = 0; sent < 20; sent++) client.send(chunk)
  await client.ended()
  t.match(await client.messages(1), [{ code: 'TOO_LARGE' }])
  client.socket.end()
  await handler.until(() => handler.closed.length === 1)
})

t.test('a client that is told to go and does not is cut off after two seconds', async (t) => {
  const clock = new VirtualClock()
  const { handler, connect } = await startServer(t, { clock })
  const client = await connect()
  client.send(Buffer.from([0xff, 0xff, 0xff, 0xff]))
  await client.ended()
  await clock.advance(1_900)
  t.equal(handler.closed.length, 0)
  await clock.advance(200)
  await handler.until(() => handler.closed.length === 1)
  t.equal(clock.pendingTimers, 0)
})

t.test('a client that sends nothing but broken messages is ended', async (t) => {
  const { connect } = await startServer(t)
  const fast = await connect()
  fast.send(block(...new Array(5000).fill({})))
  await fast.ended()
  t.ok((await fast.messages(64)).length < 70)
  const human = await connect()
  human.send('{}\n'.repeat(5000))
  await human.ended()
  t.ok((await human.lines(64)).length < 70)
})

t.test('a client that goes away with requests in flight', async (t) => {
  const { server, handler, connect, logLines } = await startServer(t)
  handler.answer = () => {}
  const client = await connect()
  client.send(block(request, { ...request, id: 2 }))
  await handler.until(() => handler.messages.length === 2)
  client.socket.destroy()
  await handler.until(() => handler.closed.length === 1)
  const [connection] = handler.connections
  t.equal(connection?.closed, true)
  connection?.reply({ id: 1, outcome: 'answered' })
  connection?.reply({ id: 2, outcome: 'answered' })
  t.equal(server.connectionCount, 0)
  t.equal(logLines.filter((line) => line.includes('"level":50')).length, 0, 'and no error is logged')
})

t.test('a client that does not read its answers is cut off, and not read from before that', async (t) => {
  const { handler, connect, logLines } = await startServer(t, { limits: { maxBufferedBytes: 1_000_000 } })
  handler.answer = (connection, message) => connection.reply({ id: message.id, payload: Buffer.alloc(100_000) })
  const slow = await connect()
  slow.socket.pause()
  for (let id = 0; id < 200; id++) slow.send(block({ ...request, id, payload: Buffer.alloc(50_000) }))
  await handler.until(() => handler.messages.length >= 6)
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  const taken = handler.messages.length
  t.ok(taken < 30, `${taken} of 200 requests were taken`)
  t.equal(handler.closed.length, 0, 'it may still catch up')
  const [connection] = handler.connections
  for (let reply = 0; reply < 10; reply++) connection?.reply({ id: 1, event: 'tick', data: Buffer.alloc(100_000) })
  await handler.until(() => handler.closed.length === 1)
  t.match(logLines.join(''), /does not read its answers/)
  t.equal(logLines.filter((line) => line.includes('does not read')).length, 1)
})

t.test('a client that reads late gets everything', async (t) => {
  const { handler, connect } = await startServer(t, { limits: { maxBufferedBytes: 1_000_000 } })
  handler.answer = (connection, message) => connection.reply({ id: message.id, payload: Buffer.alloc(100_000) })
  const client = await connect()
  client.socket.pause()
  for (let id = 0; id < 50; id++) client.send(block({ ...request, id, payload: Buffer.alloc(50_000) }))
  await handler.until(() => handler.messages.length >= 6)
  client.socket.resume()
  t.equal((await client.messages(50)).length, 50)
})

t.test('unanswered messages over the limit are refused with BUSY', async (t) => {
  const { handler, connect } = await startServer(t, { limits: { maxPendingPerConnection: 2 } })
  handler.answer = () => {}
  const client = await connect()
  client.send(block(request, { ...request, id: 2 }, { ...request, id: 3 }, { op: 'status', id: 4 }))
  t.match(await client.messages(2), [
    { id: 3, outcome: 'refused', code: 'BUSY' },
    { id: 4, ok: false, code: 'BUSY' },
  ])
  handler.connections[0]?.reply({ id: 1, outcome: 'answered' })
  client.send(block({ ...request, id: 5 }))
  await handler.until(() => handler.messages.length === 3)
  t.equal(handler.messages[2]?.id, 5)
})

t.test('a message that does not arrive whole in thirty seconds ends its connection; silence does not', async (t) => {
  const clock = new VirtualClock()
  const { handler, connect } = await startServer(t, { clock })
  const silent = await connect()
  const partial = await connect()
  const whole = block(request)
  partial.send(Buffer.concat([whole, whole.subarray(0, 10)]))
  await partial.messages(1)
  await clock.advance(20_000)
  partial.send(Buffer.concat([whole.subarray(10), whole.subarray(0, 10)]))
  await partial.messages(2)
  await clock.advance(20_000)
  partial.send(whole.subarray(10, 12))
  silent.send(block(request))
  await silent.messages(1)
  t.equal(handler.closed.length, 0, 'each message has its own thirty seconds')
  await clock.advance(11_000)
  await partial.ended()
  t.match((await partial.messages(3))[2], { outcome: 'refused', code: 'BAD_REQUEST', message: /in time/ })
  await clock.advance(10_000)
  await handler.until(() => handler.closed.length === 1)
  await clock.advance(3_600_000)
  silent.send(block(request))
  t.equal((await silent.messages(2)).length, 2)
})

t.test('a handler that throws: an LsxError is the refusal, anything else stays in the log', async (t) => {
  const { handler, connect, logLines } = await startServer(t)
  const failures = new Map<unknown, () => void>([
    [1, () => void JSON.parse('{')],
    [2, () => void handler.connections[0]?.reply({ id: 2, ok: true, result: new Date() })],
  ])
  handler.answer = (_connection, message: Message) => failures.get(message.id)?.()
  const client = await connect()
  client.send(block(request))
  t.match(await client.messages(1), [{ id: 1, outcome: 'refused', code: 'INTERNAL', message: /log/ }])
  t.match(logLines.join(''), /SyntaxError/)
  client.send(block({ op: 'status', id: 2 }))
  t.match((await client.messages(2))[1], { id: 2, ok: false, code: 'INTERNAL' }, 'so does an answer with no encoding')
})

t.test('an answer over the limit is replaced by the reason', async (t) => {
  const { handler, connect } = await startServer(t, { limits: { maxMessageBytes: 10_000 } })
  handler.answer = (connection, { id }) => {
    const large = Buffer.alloc(20_000)
    if (id === 1) connection.reply({ id, outcome: 'answered', key: 'k', ms: 1, payload: large })
    if (id === 2) connection.reply({ id, ok: true, result: { large } })
    if (id === 3) connection.reply({ id, event: 'list', data: large })
  }
  const client = await connect()
  client.send(block(request, { op: 'status', id: 2 }, { op: 'status', id: 3 }))
  t.match(await client.messages(3), [
    { id: 1, outcome: 'answered', key: 'k', code: 'TOO_LARGE' },
    { id: 2, ok: false, code: 'TOO_LARGE' },
    { id: 3, event: 'list', code: 'TOO_LARGE' },
  ])
})

t.test('fast form: a payload that is not bytes is refused', async (t) => {
  const { handler, connect } = await startServer(t)
  const client = await connect()
  client.send(block({ ...request, payload: { account: 1 } }, { ...request, id: 2 }))
  t.match(await client.messages(2), [
    { id: 1, code: 'BAD_REQUEST', message: /^payload/ },
    { id: 2, outcome: 'answered' },
  ])
  t.equal(handler.messages.length, 1)
})

t.test('the handler can end a connection; what was sent before still arrives', async (t) => {
  const { handler, connect } = await startServer(t)
  handler.answer = (connection, message) => {
    connection.reply({ id: message.id, outcome: 'answered' })
    connection.close()
    connection.close()
  }
  const client = await connect()
  client.send(block(request, { ...request, id: 2 }))
  await client.ended()
  t.match(await client.messages(1), [{ id: 1 }])
  t.equal(handler.messages.length, 1, 'nothing after that is handed on')
})
