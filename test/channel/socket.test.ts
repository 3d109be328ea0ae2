import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { WebSocketChannelSocket, webSocketLimits } from '../../lib/channel/socket.ts'
import { CloseCode } from '../../lib/channel/state.ts'
import { LOOPBACK, SocketEvents } from '../support/channel-sockets.ts'

/** One end as a channel has it, the other as a bare `ws` socket; no TLS, which is not the matter here. */
async function openPair(t: Test): Promise<{ channel: WebSocketChannelSocket; inner: WebSocket; peer: WebSocket }> {
  const server = new WebSocketServer({ host: LOOPBACK, port: 0, ...webSocketLimits(65_536) })
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const peer = new WebSocket(`ws://${LOOPBACK}:${(server.address() as AddressInfo).port}`, webSocketLimits(1_048_576))
  peer.on('error', () => {})
  await once(peer, 'open')
  const [inner] = (await accepted) as [WebSocket]
  t.teardown(() => {
    peer.terminate()
    inner.terminate()
    server.close()
  })
  return { channel: new WebSocketChannelSocket(inner), inner, peer }
}

t.test(
  'the limits are ours and not those of ws, which allow 100 MiB, 16,384 parts, deflate and 30 s to close',
  async (t) => {
    t.same(webSocketLimits(1_234), {
      maxPayload: 1_234,
      maxFragments: 16,
      perMessageDeflate: false,
      closeTimeout: 2_000,
      autoPong: false,
    })
  },
)

t.test('what arrives before anybody listens is held back, in order', async (t) => {
  const { channel, peer } = await openPair(t)
  const written = new Promise((resolve) => {
    peer.send(Buffer.from('first'))
    peer.send(Buffer.from('second'), resolve)
  })
  await written
  await new Promise((resolve) => setImmediate(resolve))
  const events = new SocketEvents(channel)
  t.same([await events.nextFrame(), await events.nextFrame()], [Buffer.from('first'), Buffer.from('second')])
})

t.test('a socket that ended or broke before anybody listened is told to the listener', async (t) => {
  const killed = await openPair(t)
  killed.peer.terminate()
  await once(killed.inner, 'close')
  t.same(await new SocketEvents(killed.channel).closed, { closeCode: 1006, reason: '' })

  const closing = await openPair(t)
  closing.peer.close(4_403, 'REFUSED')
  await new Promise((resolve) => setImmediate(resolve))
  t.same(await new SocketEvents(closing.channel).closed, { closeCode: 4_403, reason: 'REFUSED' })
})

t.test('every close code of the protocol is one that ws takes, and arrives with its reason', async (t) => {
  const { inner } = await openPair(t)
  t.throws(() => inner.close(1006), 'ws throws at codes that only mean something locally')
  for (const [name, closeCode] of Object.entries(CloseCode)) {
    const { channel, peer } = await openPair(t)
    const closed = once(peer, 'close')
    const own = new SocketEvents(channel).closed
    channel.close(closeCode, 'KX_FAILED')
    const [seen, reason] = (await closed) as [number, Buffer]
    t.same([seen, reason.toString()], [closeCode, 'KX_FAILED'], name)
    t.equal((await own).closeCode, closeCode)
  }
})

t.test("a peer's close reason comes without control characters", async (t) => {
  const { channel, peer } = await openPair(t)
  const events = new SocketEvents(channel)
  peer.close(4_999, 'line\nbreak\u001b[31m \u20ac')
  t.same(await events.closed, { closeCode: 4_999, reason: 'line?break?[31m ???' })
})

t.test('a text message and a broken frame are failures of the peer', async (t) => {
  const text = await openPair(t)
  const textEvents = new SocketEvents(text.channel)
  text.peer.send('text')
  t.match(await textEvents.failed, { code: 'FRAME_INVALID', message: /text message/ })

  const broken = await openPair(t)
  const brokenEvents = new SocketEvents(broken.channel)
  const raw = Reflect.get(broken.peer, '_socket') as { write(bytes: Buffer): void }
  raw.write(Buffer.from('f2800000000000', 'hex'))
  t.match(await brokenEvents.failed, { code: 'FRAME_INVALID', message: /broke the WebSocket protocol/ })
  t.match(await brokenEvents.closed, { closeCode: 1006 })
})

t.test('a frame that was written is told, and what is unwritten is counted', async (t) => {
  const { channel, peer } = await openPair(t)
  const events = new SocketEvents(channel)
  await new Promise<void>((resolve) => channel.send(Buffer.from('x'), resolve))
  t.equal(channel.bufferedBytes, 0)

  // ws itself never pushes back: all of this is taken, and lies in memory.
  peer.pause()
  let written = 0
  for (let frame = 0; frame < 400; frame++) channel.send(Buffer.alloc(65_536), () => written++)
  t.ok(channel.bufferedBytes > 10_000_000, `${channel.bufferedBytes} bytes are seen to be unwritten`)
  channel.terminate()
  t.match(await events.closed, { closeCode: 1006 })
  t.ok(written < 400, 'what was not written is not told as written')
})

t.test('a frame after the end goes nowhere, and throws nothing', async (t) => {
  const { channel } = await openPair(t)
  const events = new SocketEvents(channel)
  channel.terminate()
  await events.closed
  t.doesNotThrow(() => channel.send(Buffer.from('x'), () => t.fail('it was not written')))
  t.doesNotThrow(() => channel.close(4_000, ''))
  t.doesNotThrow(() => channel.terminate())
  await new Promise((resolve) => setImmediate(resolve))
})

t.test('a peer that does not answer the close is gone after two seconds, not thirty', async (t) => {
  const { channel, peer } = await openPair(t)
  const raw = Reflect.get(peer, '_socket') as { pause(): void }
  raw.pause()
  const events = new SocketEvents(channel)
  const startedMs = performance.now()
  channel.close(CloseCode.goodbye, 'goodbye')
  t.match(await events.closed, { closeCode: 1006 })
  t.ok(performance.now() - startedMs < 15_000)
})
