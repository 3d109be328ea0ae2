import t from 'tap'
import { CloseCode } from '../../lib/channel/state.ts'
import { decodeMeta, ResponseStatus } from '../../lib/frames/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { ChannelPair, type ChannelPairOptions } from '../support/channel-pair.ts'

/** An xchange that keeps its answers until it is told. */
function slowPair(options: ChannelPairOptions = {}) {
  const answers: (() => void)[] = []
  const pair = new ChannelPair({
    ...options,
    onRequest: ({ id }, respond) => {
      answers.push(() => respond({ id, status: ResponseStatus.ok, payload: Buffer.from('ok'), meta: undefined }))
    },
  })
  const answer = () => {
    for (const respond of answers.splice(0)) respond()
  }
  return { pair, answer }
}

t.test('answers that are ready together leave in one frame', async (t) => {
  const { pair, answer } = slowPair()
  await pair.connect()
  pair.send(10)
  await pair.clock.advance(20)
  t.equal(pair.xchange.unanswered, 10)
  const before = pair.link.frames.length
  answer()
  t.equal(pair.xchange.unanswered, 0)
  await pair.clock.advance(20)
  t.equal(pair.link.frames.length, before + 1)
  t.equal(pair.owner.count('answered'), 10)
})

t.test('an answer that fits into no frame becomes TOO_LARGE, and the others are not held up', async (t) => {
  const pair = new ChannelPair({ terms: { maxFrameBytes: 2_048 } })
  pair.onRequest = ({ id }, respond) => {
    respond({ id, status: ResponseStatus.ok, payload: Buffer.alloc(id === 1 ? 10_000 : 10), meta: undefined })
  }
  await pair.connect()
  const [large, small] = pair.send(2)
  await pair.clock.advance(50)
  const response = pair.owner.responses.get(large?.key ?? '')
  t.equal(response?.status, ResponseStatus.failed)
  t.same(decodeMeta(response?.meta), { code: 'TOO_LARGE' })
  t.equal(pair.owner.responses.get(small?.key ?? '')?.status, ResponseStatus.ok)
  t.match(pair.xchangeLog.lines.at(-1), { level: 'error', message: /over the frame limit/ })
})

t.test('an LS that does not read its answers is let go beyond a bound', async (t) => {
  const pair = new ChannelPair({ maxBufferedBytes: 500_000 })
  pair.onRequest = ({ id }, respond) => {
    respond({ id, status: ResponseStatus.ok, payload: Buffer.alloc(50_000), meta: undefined })
  }
  await pair.connect()
  pair.link.hold('toLs')
  pair.send(9)
  await pair.clock.advance(50)
  t.equal(pair.xchange.state.name, 'connected')
  pair.send(20)
  await pair.clock.advance(50)
  t.match(pair.xchange.state, { name: 'closed', cause: 'policy', error: { code: 'BUSY' } })
  t.ok(pair.link.xchangeSocket.bufferedBytes < 600_000, 'and nothing more is queued')
  await pair.clock.advance(3_000)
  t.equal(pair.link.xchangeSocket.isClosed, true, 'though its close frame is not read either')
})

t.test('an answer after the end of the channel goes nowhere', async (t) => {
  const { pair, answer } = slowPair()
  await pair.connect()
  pair.send(2)
  await pair.clock.advance(20)
  pair.xchange.drop('local', undefined)
  const before = pair.link.frames.length
  t.doesNotThrow(answer)
  t.equal(pair.xchange.unanswered, 0)
  await pair.clock.advance(3_000)
  t.equal(pair.link.frames.length, before)
  t.equal(pair.owner.count('lost'), 2)
})

t.test('an answer over a new session answers a request that came over the old one', async (t) => {
  const { pair, answer } = slowPair()
  await pair.connect()
  pair.send(3)
  await pair.clock.advance(20)
  pair.ls.rekey('operator')
  await pair.clock.advance(50)
  t.equal(pair.xchange.session?.epoch, 2)
  answer()
  await pair.clock.advance(20)
  t.equal(pair.owner.count('answered'), 3)
})

t.test('an xchange that drains has LS send no more, answers what came and closes', async (t) => {
  const { pair, answer } = slowPair()
  await pair.connect()
  pair.send(3)
  await pair.clock.advance(20)
  pair.xchange.drain(pair.clock.monotonicMs() + 10_000)
  await pair.clock.advance(20)
  t.match(pair.ls.state, { name: 'connected', peerDraining: true })
  t.equal(pair.ls.writable, false)
  t.equal(pair.send(1).length, 0)
  await pair.clock.advance(3_000)
  t.equal(pair.xchange.state.name, 'draining')
  answer()
  await pair.clock.advance(50)
  t.equal(pair.owner.count('answered'), 3)
  t.match(pair.xchange.state, { name: 'closed', cause: 'local', error: undefined })
  t.match(pair.ls.state, { name: 'closed', cause: 'peer-close', error: undefined })
})

t.test('an xchange that drains loses no request that was on its way to it', async (t) => {
  const pair = new ChannelPair({ latencyMs: 50 })
  await pair.connect()
  pair.send(3)
  pair.xchange.drain(pair.clock.monotonicMs() + 10_000)
  await pair.clock.advance(49)
  pair.send(2)
  await pair.clock.advance(500)
  t.equal(pair.received.length, 5)
  t.equal(pair.owner.count('answered'), 5)
  t.equal(pair.owner.count('lost'), 0)
  t.match(pair.xchange.state, { name: 'closed', cause: 'local', error: undefined })
})

t.test('an xchange that drains loses no request that LS had taken and not sent', async (t) => {
  const deferred: (() => void)[] = []
  const pair = new ChannelPair({ defer: (flush) => deferred.push(flush) })
  await pair.connect()
  pair.xchange.drain(pair.clock.monotonicMs() + 10_000)
  pair.send(2)
  await pair.clock.advance(200)
  for (const flush of deferred.splice(0)) flush()
  await pair.clock.advance(200)
  t.equal(pair.owner.count('answered'), 2)
})

t.test('an idle xchange that drains is gone after one round trip, and at its deadline if LS is silent', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  pair.xchange.drain(pair.clock.monotonicMs() + 10_000)
  await pair.clock.advance(10)
  t.match(pair.xchange.state, { name: 'closed', cause: 'local', error: undefined })

  const silent = new ChannelPair()
  await silent.connect()
  silent.link.cut('toXchange', 'toLs')
  silent.xchange.drain(silent.clock.monotonicMs() + 1_000)
  await silent.clock.advance(999)
  t.equal(silent.xchange.state.name, 'draining')
  await silent.clock.advance(1)
  t.match(silent.xchange.state, { name: 'closed', cause: 'local' })
})

t.test('both ends may drain at the same time', async (t) => {
  const { pair, answer } = slowPair()
  await pair.connect()
  pair.send(3)
  await pair.clock.advance(20)
  const deadlineMs = pair.clock.monotonicMs() + 10_000
  pair.ls.drain(deadlineMs)
  pair.xchange.drain(deadlineMs)
  await pair.clock.advance(100)
  t.equal(pair.ls.state.name, 'draining')
  t.equal(pair.xchange.state.name, 'draining')
  answer()
  await pair.clock.advance(100)
  t.equal(pair.owner.count('answered'), 3)
  t.match(pair.ls.state, { name: 'closed', error: undefined })
  t.match(pair.xchange.state, { name: 'closed', error: undefined })
  t.same(
    pair.transcript.filter((line) => line.includes('draining')),
    [],
  )
})

t.test('what an xchange does not know how to say to LS ends the channel, not the daemon', async (t) => {
  const pair = new ChannelPair({
    onRequest: () => {
      throw new TypeError('a defect in a dispatcher')
    },
  })
  await pair.connect()
  pair.send(1)
  t.resolves(pair.clock.advance(50))
  await pair.clock.advance(50)
  t.match(pair.xchange.state, { name: 'closed', cause: 'local', error: { code: 'INTERNAL' } })
  t.match(pair.link.xchangeSocket.closedWith, { closeCode: CloseCode.frameInvalid, reason: 'INTERNAL' })
  t.equal(pair.owner.count('lost'), 1)
  t.ok(pair.owner.losses[0] instanceof LsxError)
})
