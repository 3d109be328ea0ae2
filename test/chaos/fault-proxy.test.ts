import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { FaultProxy } from '../../chaos/fault-proxy.ts'
import { Prng } from '../../chaos/prng.ts'

/** A server behind a proxy, and one connection through it. */
async function connected(t: Test) {
  const accepted: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    accepted.push(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = await FaultProxy.listen(new Prng('proxy'))
  proxy.targetPort = (server.address() as AddressInfo).port
  const [client, [peer]] = await Promise.all([open(proxy), once(server, 'connection') as Promise<[Socket]>])
  t.teardown(async () => {
    client.destroy()
    for (const socket of accepted) socket.destroy()
    await proxy.stop()
    server.close()
  })
  return { proxy, client, peer }
}

async function open(proxy: FaultProxy): Promise<Socket> {
  const client = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
  client.on('error', () => {})
  await once(client, 'connect')
  return client
}

/** Collects what arrives until it is `text`. */
async function arrives(socket: Socket, text: string): Promise<string> {
  let received = ''
  for await (const [chunk] of on(socket)) {
    received += chunk
    if (received.length >= text.length) break
  }
  return received
}

async function* on(socket: Socket): AsyncGenerator<[Buffer]> {
  for (;;) yield (await once(socket, 'data')) as [Buffer]
}

for (const mode of ['clear', 'latency', 'trickle', 'slow'] as const) {
  t.test(`${mode} passes every byte in order, both ways`, async (t) => {
    const { proxy, client, peer } = await connected(t)
    proxy.mode = mode
    const text = 'abcdefghij'.repeat(30)
    const arrived = [arrives(peer, text), arrives(client, text)]
    client.write(text.slice(0, 100))
    client.write(text.slice(100))
    peer.write(text)
    t.same(await Promise.all(arrived), [text, text])
  })
}

t.test('latency is felt, and what waits goes on its way when the weather clears', async (t) => {
  const { proxy, client, peer } = await connected(t)
  proxy.mode = 'latency'
  const startMs = performance.now()
  const arrived = arrives(peer, 'x')
  client.write('x')
  await arrived
  t.ok(performance.now() - startMs >= 20)
  proxy.mode = 'trickle'
  const rest = arrives(peer, 'y'.repeat(60_000))
  client.write('y'.repeat(60_000))
  await once(peer, 'data')
  proxy.mode = 'clear'
  t.ok((await rest).length > 0)
})

t.test('a black hole swallows what is sent, keeps the sockets open, and stays one for its connections', async (t) => {
  const { proxy, client, peer } = await connected(t)
  proxy.mode = 'black-hole'
  let received = 0
  peer.on('data', () => received++)
  client.write('lost')
  proxy.mode = 'clear'
  client.write('lost too')
  // A connection that is made now is well, and later than what was written above.
  const fresh = await open(proxy)
  const answered = once(fresh, 'close')
  fresh.end()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(received, 0)
  t.notOk(client.closed || peer.closed)
  fresh.destroy()
  await answered
})

t.test('a cut is a FIN for both ends', async (t) => {
  const { proxy, client, peer } = await connected(t)
  for (const socket of [client, peer]) socket.resume()
  const ends = Promise.all([once(client, 'end'), once(peer, 'end')])
  proxy.cut()
  t.resolves(ends)
  await ends
})

t.test('a reset is an error for both ends', async (t) => {
  const { proxy, client, peer } = await connected(t)
  const errors = Promise.all([once(client, 'error'), once(peer, 'error')])
  for (const socket of [client, peer]) socket.resume()
  proxy.reset()
  t.match(await errors, [[{ code: 'ECONNRESET' }], [{ code: 'ECONNRESET' }]])
})

t.test('nobody behind it', async (t) => {
  const proxy = await FaultProxy.listen(new Prng('proxy'))
  t.teardown(() => proxy.stop())
  const client = connect({ port: proxy.port, host: '127.0.0.1' })
  client.resume()
  const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException]
  t.equal(error.code, 'ECONNRESET')
})

t.test('what is on its way arrives although its sender is gone', async (t) => {
  const { proxy, client, peer } = await connected(t)
  proxy.mode = 'trickle'
  const text = 'z'.repeat(200)
  const arrived = arrives(peer, text)
  client.write(text, () => client.destroy())
  t.equal(await arrived, text)
})
