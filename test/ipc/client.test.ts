import { getEventListeners, once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connect, type IpcConnection, type LsClient, LsxError, type Message } from '../../lib/ipc/index.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { type Fixture, startServer, temporaryDirectory } from './ipc-fixture.ts'
import { block, blocksOf, type Fields, pack } from './raw-client.ts'

const balance = { to: '044', method: 'balance', payload: { account: '0123456789' } }

async function start(t: Test, clock?: VirtualClock): Promise<Fixture & { client: LsClient }> {
  const fixture = await startServer(t)
  const client = await connect(fixture.path, clock === undefined ? {} : { clock })
  t.teardown(() => client.close())
  return { ...fixture, client }
}

/** A daemon that answers with whatever bytes the test makes up. */
async function startScripted(t: Test, onData: (socket: Socket, chunk: Buffer) => void): Promise<LsClient> {
  const path = join(temporaryDirectory(t), 'ls.sock')
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => onData(socket, chunk))
  })
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const client = await connect(path)
  t.teardown(() => client.close())
  return client
}

async function rejection(promise: Promise<unknown>): Promise<LsxError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof LsxError) return error
    throw error
  }
  throw new Error('it did not reject')
}

t.test('a request and its reply, with a key of the client', async (t) => {
  const { client, handler } = await start(t)
  const reply = await client.request(balance)
  t.match(reply, { outcome: 'answered', payload: { account: '0123456789' }, ms: 1, code: undefined })
  t.ok(Buffer.isBuffer(reply.payloadBytes))
  t.match(reply.key, /^[0-9a-f-]{36}$/)
  t.match(handler.messages[0], { op: 'request', to: '044', method: 'balance', key: reply.key })
  t.notOk('timeoutMs' in (handler.messages[0] as Message), 'what is not given is not sent')
  const full = await client.request({ ...balance, key: 'mine', timeoutMs: 5000, durable: true })
  t.equal(full.key, 'mine')
  t.match(handler.messages[1], { key: 'mine', timeoutMs: 5000, durable: true })
  t.equal(client.openRequests, 0)
})

t.test('payload bytes travel as they are; an answer that is not msgpack is there as bytes', async (t) => {
  const { client, handler } = await start(t)
  const payloadBytes = Buffer.from([0xc1, 0x00])
  const reply = await client.request({ to: '044', method: 'balance', payloadBytes })
  t.strictSame(handler.messages[0]?.payload, payloadBytes)
  t.equal(reply.payload, undefined)
  t.strictSame(reply.payloadBytes, payloadBytes)
  handler.answer = (connection, { id }) => connection.reply({ id, outcome: 'not-sent', code: 'CHANNEL_DOWN', ms: 30 })
  t.match(await client.request(balance), {
    outcome: 'not-sent',
    code: 'CHANNEL_DOWN',
    payload: undefined,
    payloadBytes: undefined,
  })
})

t.test('requests of one tick leave in one write, and each gets its own answer in any order', async (t) => {
  const chunks: Buffer[] = []
  const client = await startScripted(t, (socket, chunk) => {
    chunks.push(chunk)
    const replies = blocksOf(chunk).flat().reverse()
    for (const { id, key, payload } of replies) socket.write(block({ id, outcome: 'answered', key, payload }))
  })
  const replies = await Promise.all(
    Array.from({ length: 40 }, (_, index) => client.request({ ...balance, payload: index })),
  )
  t.same(
    replies.map(({ payload }) => payload),
    Array.from({ length: 40 }, (_, index) => index),
  )
  t.equal(chunks.length, 1)
  t.equal(blocksOf(chunks[0] as Buffer).length, 1)
})

t.test('many thousand requests at once', async (t) => {
  const { client } = await start(t)
  const replies = await Promise.all(Array.from({ length: 20_000 }, () => client.request(balance)))
  t.ok(replies.every(({ outcome }) => outcome === 'answered'))
  t.equal(new Set(replies.map(({ key }) => key)).size, 20_000)
})

t.test('abort ends the wait with the reason of the signal; the late answer is ignored', async (t) => {
  const { client, handler } = await start(t)
  const held: [IpcConnection, Message][] = []
  handler.answer = (connection, message) => void held.push([connection, message])
  const abort = new AbortController()
  const aborted = client.request({ ...balance, signal: abort.signal })
  const alsoAborted = client.request({ ...balance, signal: abort.signal })
  const other = client.request(balance)
  t.equal(getEventListeners(abort.signal, 'abort').length, 1, 'one listener for all requests of a signal')
  await handler.until(() => held.length === 3)
  abort.abort(new Error('the user left'))
  await t.rejects(aborted, { message: 'the user left' })
  await t.rejects(alsoAborted, { message: 'the user left' })
  for (const [connection, { id }] of held) connection.reply({ id, outcome: 'answered' })
  t.match(await other, { outcome: 'answered' })
  await t.rejects(client.request({ ...balance, signal: abort.signal }), { message: 'the user left' })
  handler.answer = (connection, { id }) => connection.reply({ id, outcome: 'answered' })
  await client.request(balance)
  t.equal(handler.messages.length, 4, 'with an aborted signal nothing is sent')
})

t.test('a signal that serves again and again keeps no listener between', async (t) => {
  const { client } = await start(t)
  const { signal } = new AbortController()
  for (let turn = 0; turn < 3; turn++) await client.request({ ...balance, signal })
  t.equal(getEventListeners(signal, 'abort').length, 0)
})

t.test('LS-10 an interim KEY_PENDING calls onPending and settles nothing', async (t) => {
  const { client, handler } = await start(t)
  handler.answer = (connection, { id }) => connection.reply({ id, outcome: 'pending', code: 'KEY_PENDING' })
  const notices: unknown[] = []
  const request = client.request({ ...balance, key: 'k', onPending: (notice) => void notices.push(notice) })
  const unheard = client.request(balance)
  await handler.until(() => handler.messages.length === 2)
  while (notices.length === 0) await new Promise((resolve) => setImmediate(resolve))
  t.match(notices, [{ code: 'KEY_PENDING', key: 'k' }])
  t.equal(client.openRequests, 2)
  for (const { id } of handler.messages) handler.connections[0]?.reply({ id, outcome: 'answered' })
  t.match(await request, { outcome: 'answered' })
  t.match(await unheard, { outcome: 'answered' })
})

t.test('BEY-2 a settlement after in-doubt reaches the app that asked for it, once, and nobody else', async (t) => {
  const { client, handler } = await start(t)
  handler.answer = (connection, { id }) => connection.reply({ id, outcome: 'in-doubt', code: 'IN_DOUBT' })
  const settled: unknown[] = []
  const heard = await client.request({ ...balance, key: 'k', onSettled: (reply) => void settled.push(reply) })
  const unheard = await client.request(balance)
  t.match([heard, unheard], [{ outcome: 'in-doubt' }, { outcome: 'in-doubt' }])
  t.strictSame(
    handler.messages.map(({ late }) => late),
    [true, undefined],
  )
  for (const { id } of [...handler.messages, ...handler.messages]) {
    handler.connections[0]?.reply({ id, event: 'settled', outcome: 'answered', payload: Buffer.from([0x2a]) })
  }
  while (settled.length === 0) await new Promise((resolve) => setImmediate(resolve))
  handler.answer = (connection, { id }) => connection.reply({ id, outcome: 'answered' })
  t.match(await client.request(balance), { outcome: 'answered' })
  t.match(settled, [{ outcome: 'answered', key: 'k', payload: 42 }])
  t.equal(settled.length, 1)
})

t.test('connection lost: open requests reject with IN_DOUBT and their key, later ones with CHANNEL_DOWN', async (t) => {
  const client = await startScripted(t, (socket) => socket.destroy())
  const requests = [client.request({ ...balance, key: 'first' }), client.request(balance)]
  const call = client.call('status')
  t.match(await rejection(requests[0] as Promise<unknown>), { code: 'IN_DOUBT', facts: { idempotencyKey: 'first' } })
  t.match(await rejection(requests[1] as Promise<unknown>), { code: 'IN_DOUBT', facts: { idempotencyKey: String } })
  t.match(await rejection(call), { code: 'CHANNEL_DOWN' })
  await client.ended
  t.equal(client.closed, true)
  t.match(await rejection(client.request(balance)), { code: 'CHANNEL_DOWN' })
})

t.test('close ends the connection and what is open', async (t) => {
  const { client, handler } = await start(t)
  handler.answer = () => {}
  const open = rejection(client.request(balance))
  await handler.until(() => handler.messages.length === 1)
  await client.close()
  t.match(await open, { code: 'IN_DOUBT' })
  await client.close()
  await handler.until(() => handler.closed.length === 1)
})

t.test('a daemon that stops lets open requests be answered, then the client is closed', async (t) => {
  const { client, handler, server } = await start(t)
  handler.answer = () => {}
  const open = client.request(balance)
  await handler.until(() => handler.messages.length === 1)
  const stopped = server.stop(AbortSignal.timeout(10_000))
  handler.connections[0]?.reply({ id: handler.messages[0]?.id, outcome: 'answered' })
  t.match(await open, { outcome: 'answered' })
  await stopped
  await client.ended
  t.equal(client.closed, true)
})

t.test('bytes that make no sense, or a refusal of the connection, end it', async (t) => {
  const answers: [Buffer, RegExp][] = [
    [Buffer.from([0xff, 0xff, 0xff, 0xff]), /does not understand/],
    [block({ id: 1, at: new Date() }), /does not understand/],
    [block({ outcome: 'refused', code: 'TOO_LARGE', message: 'too much' }), /too much/],
  ]
  for (const [answer, message] of answers) {
    const client = await startScripted(t, (socket) => socket.write(answer))
    t.match(await rejection(client.request(balance)), { code: 'IN_DOUBT', message })
  }
  const client = await startScripted(t, (socket) => socket.write(block({ id: 1, outcome: 'lost' })))
  t.match(await rejection(client.request(balance)), { code: 'IN_DOUBT', message: /lost/ })
  t.equal(client.closed, false, 'an outcome of a newer daemon costs one request')
})

t.test('what cannot be sent is refused here', async (t) => {
  const { client, handler } = await start(t)
  t.match(await rejection(client.request({ ...balance, payload: new Date() })), { code: 'BAD_REQUEST' })
  const tooLarge = client.request({ ...balance, payload: Buffer.alloc(2 * 1024 * 1024) })
  t.match(await rejection(tooLarge), { code: 'TOO_LARGE' })
  t.match(await client.request(balance), { outcome: 'answered' })
  t.equal(handler.messages.length, 1)
  t.equal(client.openRequests, 0)
  handler.answer = () => {}
  const open = Array.from({ length: 65_536 }, () => client.request(balance).catch(() => {}))
  t.match(await rejection(client.request(balance)), { code: 'BUSY' })
  await client.close()
  await Promise.all(open)
})

t.test('a daemon that does not read fills no memory without end', async (t) => {
  const { client, handler } = await start(t)
  handler.answer = (connection) => connection.close()
  const outcomes = await Promise.allSettled(
    Array.from({ length: 50 }, () => client.request({ ...balance, payload: Buffer.alloc(2_000_000) })),
  )
  const codes = new Set(
    outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : outcome.status)),
  )
  t.same([...codes].sort(), ['BUSY', 'IN_DOUBT'])
})

t.test('a daemon that hangs: the client gives up five seconds after the deadline', async (t) => {
  const clock = new VirtualClock()
  const { client, handler } = await start(t, clock)
  handler.answer = () => {}
  const short = rejection(client.request({ ...balance, timeoutMs: 1_000 }))
  const long = rejection(client.request(balance))
  const call = rejection(client.call('status', {}, { timeoutMs: 2_000 }))
  await handler.until(() => handler.messages.length === 3)
  await clock.advance(5_900)
  t.equal(client.openRequests, 2)
  await clock.advance(1_100)
  t.match(await short, { code: 'IN_DOUBT', message: /in time/ })
  await clock.advance(1_000)
  t.match(await call, { code: 'DEADLINE_EXCEEDED' })
  t.equal(client.openRequests, 1)
  await clock.advance(30_000)
  t.match(await long, { code: 'IN_DOUBT' })
  t.equal(clock.pendingTimers, 0)
})

t.test('operations: a result, or an error of the code that the daemon gave', async (t) => {
  const { client, handler } = await start(t)
  handler.answer = (connection, { id, op, bank }) => {
    if (op === 'status') connection.reply({ id, ok: true, result: { bank, list: new Array(10_000).fill('up') } })
    else if (op === 'odd') connection.reply({ id, ok: false, code: 'FROM_THE_FUTURE', message: 'x' })
    else if (op === 'drop') connection.reply({ id, ok: false, code: 'UNKNOWN_BANK', message: 'no bank 999' })
  }
  t.match(await client.call('status', { bank: '044' }), { bank: '044', list: { length: 10_000 } })
  t.match(await rejection(client.call('drop')), { code: 'UNKNOWN_BANK', message: 'no bank 999', facts: { op: 'drop' } })
  t.match(await rejection(client.call('odd')), { code: 'INTERNAL', facts: { daemonCode: 'FROM_THE_FUTURE' } })
  const abort = new AbortController()
  const aborted = client.call('never', {}, { signal: abort.signal })
  abort.abort(new Error('enough'))
  await t.rejects(aborted, { message: 'enough' })
})

t.test('subscribe: events come until the subscription is cancelled', async (t) => {
  const { client, handler } = await start(t)
  handler.answer = (connection, { id, op }) => {
    if (op === 'follow') connection.reply({ id, event: 'first', data: 0 })
    connection.reply({ id, ok: true, result: 'following' })
  }
  const events: unknown[] = []
  let heard = (): void => {}
  const subscription = await client.subscribe('follow', { bank: '044' }, (event, data) => {
    events.push([event, data])
    heard()
  })
  t.equal(subscription.result, 'following')
  const second = new Promise<void>((resolve) => {
    heard = resolve
  })
  const [followed] = handler.messages as [Fields]
  handler.connections[0]?.reply({ id: followed.id, event: 'drop', data: { cause: 'tls' } })
  await second
  t.strictSame(events, [
    ['first', 0],
    ['drop', { cause: 'tls' }],
  ])
  subscription.cancel()
  subscription.cancel()
  await subscription.ended
  await handler.until(() => handler.messages.length === 2)
  t.match(handler.messages[1], { op: 'unsubscribe', subscription: followed.id })
  handler.connections[0]?.reply({ id: followed.id, event: 'drop', data: 1 })
  await client.call('status')
  t.equal(events.length, 2)
})

t.test('subscribe: ends with the connection, and fails as an operation does', async (t) => {
  const { client, handler } = await start(t)
  handler.answer = (connection, { id, op }) =>
    connection.reply(op === 'follow' ? { id, ok: true } : { id, ok: false, code: 'REFUSED', message: 'no' })
  const refused = client.subscribe('other', {}, () => {})
  t.match(await rejection(refused), { code: 'REFUSED' })
  const { ended } = await client.subscribe('follow', {}, () => {})
  handler.connections[0]?.close()
  await ended
  t.equal(handler.messages.length, 2)
})

t.test('connect: nobody there, a dead socket, an aborted signal', async (t) => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'ls.sock')
  t.match(await rejection(connect(path)), { code: 'CHANNEL_DOWN', facts: { path, errno: 'ENOENT' } })
  const long = `${path}${'x'.repeat(108)}`
  t.match(await rejection(connect(long)), { code: 'CHANNEL_DOWN', facts: { path: long, errno: 'ENAMETOOLONG' } })
  await t.rejects(connect(path, { signal: AbortSignal.abort(new Error('no')) }), { message: 'no' })
  const { server, path: live } = await startServer(t)
  const abort = new AbortController()
  const connecting = connect(live, { signal: abort.signal })
  abort.abort(new Error('changed my mind'))
  await t.rejects(connecting, { message: 'changed my mind' })
  await server.stop(AbortSignal.abort())
  t.match(await rejection(connect(live)), { code: 'CHANNEL_DOWN' })
})

t.test('an answer of the daemon cannot be mistaken for bytes of another', async (t) => {
  const client = await startScripted(t, (socket, chunk) => {
    for (const { id } of blocksOf(chunk).flat()) {
      const reply = block({ id, outcome: 'answered', payload: pack({ id }) })
      for (const byte of reply) socket.write(Buffer.from([byte]))
    }
  })
  const replies = await Promise.all([client.request(balance), client.request(balance)])
  t.match(replies, [{ payload: { id: 1 } }, { payload: { id: 2 } }])
})
