import fc from 'fast-check'
import t from 'tap'
import type { KeyAnswer, KeyState } from '../../lib/channel/state.ts'
import { encodeMap, FrameType, ResponseBatch, ResponseStatus } from '../../lib/frames/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { answerOk, ChannelPair, type ChannelPairOptions } from '../support/channel-pair.ts'

/** An xchange that keeps its answers until it is told. */
function slowPair(options: ChannelPairOptions = {}) {
  const answers: (() => void)[] = []
  const pair = new ChannelPair({
    ...options,
    onRequest: (request, respond) => {
      const { id, payload } = request
      answers.push(() => respond({ id, status: ResponseStatus.ok, payload: Buffer.from(payload), meta: undefined }))
    },
  })
  const answer = (count: number) => {
    for (const respond of answers.splice(0, count)) respond()
  }
  return { pair, answers, answer }
}

t.test('a request reaches the xchange as it is, with the budget that is left, and its answer comes back', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  const payload = Buffer.from('the payload')
  const meta = encodeMap({ traceparent: '00-1' })
  const request = pair.newRequest({ payload, meta, method: 'transfer', timeoutMs: 2_500 })
  await pair.clock.advance(100.5)
  t.equal(pair.ls.trySend(request), true)
  t.equal(pair.ls.inFlight, 1)
  await pair.clock.advance(50)
  t.match(pair.received, [{ id: request.channelId, key: request.key, method: 'transfer', budgetMs: 2_399, payload }])
  t.same(pair.received[0]?.meta, meta)
  t.same(pair.owner.responses.get(request.key)?.payload, payload)
  t.equal(pair.ls.inFlight, 0)
  t.match(pair.lsCounters, { requests: 1, responses: 1 })
  t.match(pair.xchangeCounters, { requests: 1, responses: 1 })
})

t.test('requests of one turn travel in one frame, and their answers too', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  const before = pair.link.frames.length
  t.equal(pair.send(20).length, 20)
  await pair.clock.advance(50)
  t.equal(pair.owner.count('answered'), 20)
  t.equal(pair.link.frames.length - before, 2)
})

t.test('nothing is taken before the kx is done, and nothing after the end', async (t) => {
  const pair = new ChannelPair()
  t.equal(pair.ls.trySend(pair.newRequest()), false)
  pair.open()
  t.equal(pair.ls.trySend(pair.newRequest()), false)
  await pair.clock.advance(50)
  t.equal(pair.ls.writable, true)
  pair.ls.drop('local', undefined)
  t.equal(pair.ls.trySend(pair.newRequest()), false)
  t.equal(pair.ls.inFlight, 0)
})

t.test('the window that the xchange offered is never passed, and room is told once', async (t) => {
  const { pair, answer } = slowPair({ offer: { windowRecords: 3 } })
  await pair.connect()
  t.equal(pair.send(10).length, 3)
  await pair.clock.advance(50)
  t.equal(pair.owner.writableCalls, 0)
  answer(1)
  await pair.clock.advance(50)
  t.equal(pair.owner.writableCalls, 1)
  t.equal(pair.send(10).length, 1)
  answer(1)
  await pair.clock.advance(50)
  answer(1)
  await pair.clock.advance(50)
  t.equal(pair.owner.writableCalls, 2, 'nobody asked in between')
})

t.test('a window that the xchange changes holds at once: down to nothing, and up again', async (t) => {
  const { pair, answer } = slowPair({ offer: { windowRecords: 4 } })
  await pair.connect()
  t.equal(pair.send(4).length, 4)
  pair.xchange.setWindow(2)
  await pair.clock.advance(50)
  answer(1)
  await pair.clock.advance(50)
  t.equal(pair.send(1).length, 0, 'three are in flight')
  answer(3)
  await pair.clock.advance(50)
  t.equal(pair.send(5).length, 2)
  pair.xchange.setWindow(0)
  answer(2)
  await pair.clock.advance(50)
  t.equal(pair.send(1).length, 0)
  const before = pair.owner.writableCalls
  pair.xchange.setWindow(65_536)
  await pair.clock.advance(50)
  t.equal(pair.owner.writableCalls, before + 1)
  t.equal(pair.send(100).length, 100)
})

t.test('a request that gets no answer expires once; its answer is late, and the next one unknown', async (t) => {
  const { pair, answers } = slowPair({ offer: { windowRecords: 1 } })
  await pair.connect()
  const [request] = pair.send(1, { timeoutMs: 1_000 })
  t.equal(pair.send(1).length, 0)
  await pair.clock.advance(1_040)
  t.same(pair.owner.ends.get(request?.key ?? ''), ['expired'])
  t.equal(pair.owner.writableCalls, 1, 'its place in the window is free')
  const again = answers[0]
  again?.()
  await pair.clock.advance(50)
  t.same(pair.owner.late, [request?.key])
  again?.()
  await pair.clock.advance(50)
  t.match(pair.lsCounters, { responses: 0, lateResponses: 1, unknownResponses: 1 })
  t.match(pair.lsLog.lines.at(-1), { level: 'warn', message: /answers no request/ })
  t.equal(pair.ls.state.name, 'connected')
})

t.test('while nothing is in flight no timer runs for deadlines', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  const idle = pair.clock.pendingTimers
  pair.send(1)
  await pair.clock.advance(100)
  t.equal(pair.clock.pendingTimers, idle)
})

t.test('what had left when the channel ended is lost, what had not is unsent', async (t) => {
  const deferred: (() => void)[] = []
  const { pair } = slowPair({ defer: (flush) => deferred.push(flush) })
  await pair.connect()
  const flushed = pair.send(2)
  for (const flush of deferred.splice(0)) flush()
  const kept = pair.send(3)
  pair.ls.drop('policy', new LsxError('QUARANTINED', 'a test'))
  for (const flush of deferred.splice(0)) flush()
  for (const { key } of flushed) t.same(pair.owner.ends.get(key), ['lost'])
  for (const { key } of kept) t.same(pair.owner.ends.get(key), ['unsent'])
  t.match(pair.owner.losses, [{ code: 'QUARANTINED' }, { code: 'QUARANTINED' }])
  await pair.clock.advance(100)
  t.equal(pair.received.length, 2, 'what is lost may have been executed')
})

t.test('a request that only made room for itself by sending the others is unsent until it has left', async (t) => {
  const deferred: (() => void)[] = []
  const { pair } = slowPair({ terms: { maxFrameBytes: 1_024 }, defer: (flush) => deferred.push(flush) })
  await pair.connect()
  const [first] = pair.send(1, { payload: Buffer.alloc(500) })
  const [second] = pair.send(1, { payload: Buffer.alloc(600) })
  await pair.clock.advance(50)
  t.equal(pair.received.length, 1, 'the first had to go')
  pair.ls.drop('local', undefined)
  t.same(pair.owner.ends.get(first?.key ?? ''), ['lost'])
  t.same(pair.owner.ends.get(second?.key ?? ''), ['unsent'])
})

t.test('a request that fits into no frame is refused and leaves nothing behind', async (t) => {
  const pair = new ChannelPair({ terms: { maxFrameBytes: 2_048 } })
  await pair.connect()
  t.equal(pair.ls.maxBodyBytes, 2_048 - 28)
  t.throws(() => pair.ls.trySend(pair.newRequest({ payload: Buffer.alloc(2_048) })), { code: 'TOO_LARGE' })
  t.throws(() => pair.ls.trySend(pair.newRequest({ method: 'with blanks' })), { code: 'BAD_REQUEST' })
  t.equal(pair.ls.inFlight, 0)
  t.equal(pair.lsCounters.requests, 0)
  t.equal(pair.send(1, { payload: Buffer.alloc(1_900) }).length, 1)
  await pair.clock.advance(50)
  t.equal(pair.owner.count('answered'), 1)
})

t.test('a peer that does not read stops LS at the high-water mark; reading again makes room', async (t) => {
  const { pair } = slowPair({ offer: { windowRecords: 10_000 } })
  await pair.connect()
  pair.link.hold('toXchange')
  let sent = 0
  while (pair.send(1, { payload: Buffer.alloc(60_000) }).length === 1) sent++
  const { bufferedBytes } = pair.link.lsSocket
  t.ok(bufferedBytes > 1_048_576 && bufferedBytes < 1_048_576 + 65_536, `${bufferedBytes} bytes`)
  t.equal(pair.owner.writableCalls, 0)
  pair.link.release('toXchange')
  await pair.clock.advance(50)
  t.ok(pair.owner.writableCalls > 0, 'without any answer')
  t.equal(pair.received.length, sent)
  t.equal(pair.send(1).length, 1)
})

t.test('one large frame over the high-water mark is enough to hear of its writing', async (t) => {
  const { pair } = slowPair({
    maxFrameBytes: 1_048_576,
    terms: { maxFrameBytes: 1_048_576 },
    offer: { maxFrameBytes: 1_048_576 },
  })
  await pair.connect()
  pair.link.hold('toXchange')
  t.equal(pair.send(1, { payload: Buffer.alloc(400_000) }).length, 1)
  t.equal(pair.send(1, { payload: Buffer.alloc(900_000) }).length, 1)
  t.equal(pair.send(1).length, 0)
  pair.link.release('toXchange')
  await pair.clock.advance(50)
  t.equal(pair.owner.writableCalls, 1, 'though no answer came')
})

t.test('LS that drains takes nothing more, waits for its answers, says goodbye and closes', async (t) => {
  const { pair, answer } = slowPair()
  await pair.connect()
  pair.send(2)
  await pair.clock.advance(20)
  pair.ls.drain(pair.clock.monotonicMs() + 10_000)
  t.equal(pair.ls.state.name, 'draining')
  t.equal(pair.send(1).length, 0)
  answer(1)
  await pair.clock.advance(3_000)
  t.equal(pair.ls.state.name, 'draining')
  answer(1)
  await pair.clock.advance(100)
  t.equal(pair.owner.count('answered'), 2)
  t.match(pair.ls.state, { name: 'closed', cause: 'local', error: undefined })
  t.match(pair.xchange.state, { name: 'closed', cause: 'peer-close', error: undefined })
  t.ok(pair.transcript.some((line) => line.endsWith('xchange peer draining')))
})

t.test('LS that drains sends first what it had taken, and ends at its deadline whatever is open', async (t) => {
  const deferred: (() => void)[] = []
  const { pair } = slowPair({ defer: (flush) => deferred.push(flush) })
  await pair.connect()
  pair.send(2)
  pair.ls.drain(pair.clock.monotonicMs() + 1_000)
  await pair.clock.advance(999)
  t.equal(pair.received.length, 2)
  t.equal(pair.ls.state.name, 'draining')
  await pair.clock.advance(1)
  t.match(pair.ls.state, { name: 'closed', cause: 'local' })
  t.equal(pair.owner.count('lost'), 2)
})

t.test('LS that drains ends when the last request it waits for expires', async (t) => {
  const { pair } = slowPair()
  await pair.connect()
  pair.send(1, { timeoutMs: 500 })
  pair.ls.drain(pair.clock.monotonicMs() + 60_000)
  await pair.clock.advance(600)
  t.equal(pair.owner.count('expired'), 1)
  t.match(pair.ls.state, { name: 'closed', cause: 'local', error: undefined })
})

t.test('an idle channel that drains is gone at once', async (t) => {
  const pair = new ChannelPair()
  await pair.connect()
  pair.ls.drain(pair.clock.monotonicMs() + 60_000)
  t.match(pair.ls.state, { name: 'closed', cause: 'local' })
})

t.test('BEY-2 LS asks what became of keys, and gets one answer for each, in their order', async (t) => {
  const pair = new ChannelPair()
  const known: Record<string, KeyState> = { a: 'done', b: 'begun' }
  const asked: string[][] = []
  pair.onResolve = (keys) => {
    asked.push([...keys])
    return { states: keys.map((key) => known[key] ?? 'never'), rememberedForMs: 60_000 }
  }
  await pair.connect()
  const heard: KeyAnswer[] = []
  pair.ls.resolve(['c', 'a', 'b'], (answer) => heard.push(answer))
  pair.ls.resolve([], (answer) => heard.push(answer))
  await pair.clock.advance(50)
  t.same(asked, [['c', 'a', 'b'], []])
  t.same(heard, [
    { states: ['never', 'done', 'begun'], rememberedForMs: 60_000 },
    { states: [], rememberedForMs: 60_000 },
  ])
})

t.test('BEY-2 answers that fit no question are ignored, those of the wrong shape end the channel', async (t) => {
  const pair = new ChannelPair()
  pair.onResolve = () => ({ states: ['done'], rememberedForMs: 1 })
  await pair.connect()
  pair.ls.resolve(['a', 'b'], () => t.fail('one answer to two keys'))
  await pair.clock.advance(50)
  t.equal(pair.ls.state.name, 'connected')
  t.match(pair.lsLog.lines.at(-1), { level: 'warn', message: /fits no question/ })

  const failing = new ChannelPair()
  failing.onResolve = () => Promise.reject(new LsxError('INTERNAL', 'the store is broken'))
  await failing.connect()
  failing.ls.resolve(['a'], () => t.fail('no answer was given'))
  await failing.clock.advance(50)
  t.equal(failing.ls.state.name, 'connected')
  t.match(failing.xchangeLog.lines.at(-1), { level: 'error' })

  const wrong = new ChannelPair()
  wrong.onResolve = () => ({ states: ['perhaps' as KeyState], rememberedForMs: 1 })
  await wrong.connect()
  wrong.ls.resolve(['a'], () => t.fail('perhaps is no state'))
  await wrong.clock.advance(50)
  t.match(wrong.ls.state, { name: 'closed', cause: 'policy', error: { code: 'FRAME_INVALID' } })
})

t.test('a batch of answers that cannot be read ends the channel, and its requests are lost', async (t) => {
  const { pair } = slowPair()
  await pair.connect()
  pair.send(2)
  await pair.clock.advance(20)
  const batch = new ResponseBatch(1_000)
  batch.append({ id: 1, status: ResponseStatus.ok, payload: Buffer.alloc(3), meta: undefined })
  const body = Buffer.concat([batch.take(), Buffer.of(0xc1)])
  const frame = pair.xchange.session?.seal.seal(FrameType.response, body, pair.clock.monotonicMs())
  pair.link.lsSocket.inject(frame ?? Buffer.alloc(0))
  t.match(pair.ls.state, { name: 'closed', cause: 'policy', error: { code: 'FRAME_INVALID' } })
  t.equal(pair.owner.count('lost'), 2, 'none of a bad batch counts')
})

t.test('BEY-2 whatever happens, every request that was taken has exactly one end', async (t) => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ send: fc.integer({ min: 1, max: 12 }), timeoutMs: fc.integer({ min: 1, max: 400 }) }),
    },
    { weight: 6, arbitrary: fc.record({ waitMs: fc.integer({ min: 0, max: 60 }) }) },
    { weight: 3, arbitrary: fc.record({ answer: fc.nat({ max: 8 }) }) },
    { weight: 1, arbitrary: fc.record({ window: fc.nat({ max: 20 }) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        act: fc.constantFrom(
          'rekey',
          'hold',
          'release',
          'drain ls',
          'drain xchange',
          'drop ls',
          'drop xchange',
          'kill',
          'cut',
        ),
      }),
    },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.boolean(), async (steps, small) => {
      const { pair, answers } = slowPair({ offer: { windowRecords: 16 }, terms: small ? { maxFrameBytes: 1_024 } : {} })
      await pair.connect()
      const taken: string[] = []
      for (const step of steps) {
        if ('send' in step) {
          const payload = Buffer.alloc(small ? 400 : 40)
          taken.push(...pair.send(step.send, { timeoutMs: step.timeoutMs, payload }).map(({ key }) => key))
        } else if ('waitMs' in step) await pair.clock.advance(step.waitMs)
        else if ('answer' in step) for (const respond of answers.splice(0, step.answer)) respond()
        else if ('window' in step) pair.xchange.setWindow(step.window)
        else {
          const deadlineMs = pair.clock.monotonicMs() + 200
          if (step.act === 'rekey') pair.ls.rekey('operator')
          else if (step.act === 'hold') pair.link.hold('toXchange')
          else if (step.act === 'release') pair.link.release('toXchange')
          else if (step.act === 'drain ls') pair.ls.drain(deadlineMs)
          else if (step.act === 'drain xchange') pair.xchange.drain(deadlineMs)
          else if (step.act === 'drop ls') pair.ls.drop('local', undefined)
          else if (step.act === 'drop xchange') pair.xchange.drop('local', undefined)
          else if (step.act === 'kill') pair.link.xchangeSocket.terminate()
          else pair.link.cut('toLs')
        }
      }
      pair.ls.drop('local', undefined)
      pair.xchange.drop('local', undefined)
      await pair.clock.advance(3_000)
      for (const key of taken) {
        const ends = pair.owner.ends.get(key)
        if (ends?.length !== 1) throw new Error(`${key} ended as ${ends?.join() ?? 'nothing'}`)
        if (ends[0] === 'unsent' && pair.received.some((request) => request.key === key))
          throw new Error('unsent, and yet received')
      }
      if (pair.owner.ends.size !== taken.length) throw new Error('an end without a request')
      if (pair.clock.pendingTimers > 0) throw new Error('a timer is left')
    }),
    { numRuns: 60 },
  )
  t.pass()
})

t.test('requests go on without a break while the handler answers at once', async (t) => {
  const pair = new ChannelPair({ onRequest: answerOk, offer: { windowRecords: 8 } })
  await pair.connect()
  let left = 1_000
  const sendMore = () => {
    while (left > 0 && pair.ls.trySend(pair.newRequest())) left--
  }
  pair.owner.whenWritable = sendMore
  sendMore()
  await pair.clock.advance(3_000)
  t.equal(left, 0)
  t.equal(pair.owner.count('answered'), 1_000)
})
