import t from 'tap'
import { WHEEL_TICK_MS } from '../../lib/channel/index.ts'
import { HEADER_BYTES, ResponseStatus, requestRecordBytes, TAG_BYTES } from '../../lib/frames/index.ts'
import { KEY_HARD_STOP_MS } from '../../lib/kx/index.ts'
import { newIdentity } from '../support/kx-parties.ts'
import { KX_MS, metaOf, SwitchHarness, TestConnection } from './switch-harness.ts'

const U32_MAX = 0xffffffff

async function withBank(
  options: ConstructorParameters<typeof SwitchHarness>[0] = {},
  bank: Parameters<SwitchHarness['bank']>[1] = {},
  offer: Parameters<SwitchHarness['bank']>[2] = {},
): Promise<SwitchHarness> {
  const harness = new SwitchHarness(options)
  await harness.apply(harness.bank('044', bank, offer))
  return harness
}

/** The largest payload of the harness's requests that a frame of this size carries. */
function largestPayload(maxFrameBytes: number, key: string): number {
  const room = maxFrameBytes - HEADER_BYTES - TAG_BYTES
  const bytesOf = (payloadBytes: number) =>
    requestRecordBytes({
      id: U32_MAX,
      key,
      method: 'balance',
      budgetMs: U32_MAX,
      payload: Buffer.alloc(payloadBytes),
      meta: undefined,
    })
  let payloadBytes = room
  while (bytesOf(payloadBytes) > room) payloadBytes--
  return payloadBytes
}

t.test('LS-10 queue: what comes before the key is told KEY_PENDING once, waits, and goes out in order', async (t) => {
  const harness = await withBank()
  const ids = [harness.ask('044'), harness.ask('044'), harness.ask('044')]
  for (const id of ids) t.strictSame(harness.app.outcomesOf(id), ['pending'])
  t.match(harness.app.replies[0], { id: ids[0], outcome: 'pending', code: 'KEY_PENDING', key: 'key-1', ms: 0 })
  t.equal(harness.link('044').lane.queued, 3)

  await harness.clock.advance(400)
  const node = await harness.connect('044')
  await harness.clock.advance(KX_MS)
  t.strictSame(node.keys, ['key-1', 'key-2', 'key-3'])
  for (const id of ids) t.strictSame(harness.app.outcomesOf(id), ['pending', 'answered'])
  t.ok((harness.app.endOf(ids[0])?.ms as number) >= 400, 'the time it waited counts')
  t.strictSame(harness.link('044').lane.outcomes, {
    answered: 3,
    refused: 0,
    'not-sent': 0,
    'in-doubt': 0,
    'settled-late': 0,
  })
})

t.test('LS-10 reject: what comes before the key is refused at once, and nothing of it is sent later', async (t) => {
  const harness = await withBank({ config: { requests: { early: 'reject' } } })
  const id = harness.ask('044')
  t.match(harness.app.endOf(id), { outcome: 'refused', code: 'KEY_PENDING' })
  t.strictSame(harness.app.outcomesOf(id), ['refused'])
  const node = await harness.connect('044')
  await harness.clock.advance(KX_MS)
  t.strictSame(node.keys, [])
  const after = harness.ask('044')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(after), { outcome: 'answered' })
})

t.test('LS-10 a bank may have its own policy', async (t) => {
  const rejecting = await withBank({ config: { requests: { early: 'queue' } } }, { early: 'reject' })
  t.match(rejecting.app.endOf(rejecting.ask('044')), { outcome: 'refused', code: 'KEY_PENDING' })
  const queueing = await withBank({ config: { requests: { early: 'reject' } } }, { early: 'queue' })
  t.strictSame(queueing.app.outcomesOf(queueing.ask('044')), ['pending'])
})

t.test('after a drop requests wait as CHANNEL_DOWN, and go out over the next channel', async (t) => {
  const harness = await withBank()
  await harness.connect('044')
  harness.link('044').drop()
  const id = harness.ask('044')
  t.match(harness.app.replies.at(-1), { id, outcome: 'pending' })
  const other = await withBank({ config: { requests: { early: 'reject' } } })
  await other.connect('044')
  other.link('044').drop()
  t.match(other.app.endOf(other.ask('044')), { outcome: 'refused', code: 'CHANNEL_DOWN' })

  const node = await harness.reconnect('044')
  await harness.clock.advance(KX_MS)
  t.strictSame(node.keys, ['key-1'])
  t.match(harness.app.endOf(id), { outcome: 'answered' })
})

t.test('LS-10 what does not fit the queue is refused with BUSY, and not told pending', async (t) => {
  const harness = await withBank({ config: { requests: { maxQueued: 2 } } })
  const [first, second, third] = [harness.ask('044'), harness.ask('044'), harness.ask('044')]
  t.strictSame(harness.app.outcomesOf(third), ['refused'])
  t.match(harness.app.endOf(third), { code: 'BUSY' })
  await harness.connect('044')
  await harness.clock.advance(KX_MS)
  for (const id of [first, second]) t.match(harness.app.endOf(id), { outcome: 'answered' })

  const bytes = await withBank({ config: { requests: { maxQueuedBytes: 2_000 } } })
  bytes.ask('044', { payload: Buffer.alloc(1_000) })
  t.match(bytes.app.endOf(bytes.ask('044', { payload: Buffer.alloc(1_000) })), { outcome: 'refused', code: 'BUSY' })
})

t.test('a deadline that passes in the queue ends as not-sent, at the tick, and nothing goes out later', async (t) => {
  const harness = await withBank()
  const id = harness.ask('044', { timeoutMs: 500 })
  const longer = harness.ask('044', { timeoutMs: 60_000 })
  await harness.clock.advance(499)
  t.equal(harness.app.endOf(id), undefined)
  await harness.clock.advance(2 * WHEEL_TICK_MS)
  t.match(harness.app.endOf(id), { outcome: 'not-sent', code: 'KEY_PENDING', key: 'key-1' })
  t.ok((harness.app.endOf(id)?.ms as number) >= 500)
  const node = await harness.connect('044')
  await harness.clock.advance(KX_MS)
  t.strictSame(node.keys, ['key-2'])
  t.match(harness.app.endOf(longer), { outcome: 'answered' })
  t.equal(harness.link('044').lane.queued, 0)
})

t.test('a deadline that passes between two ticks, as the channel comes up, is not sent either', async (t) => {
  const harness = await withBank()
  const connected = harness.clock.monotonicMs() + 4
  const id = harness.ask('044', { timeoutMs: 1 })
  const node = await harness.connect('044')
  t.ok(harness.clock.monotonicMs() >= connected)
  t.strictSame(node.keys, [])
  t.match(harness.app.endOf(id), { outcome: 'not-sent', code: 'DEADLINE_EXCEEDED' })
})

t.test('the window: no more in flight than the node takes, the rest in order as answers come', async (t) => {
  const harness = await withBank({}, {}, { windowRecords: 2 })
  const node = await harness.connect('044')
  node.answer = undefined
  const ids = [1, 2, 3, 4].map(() => harness.ask('044'))
  await harness.clock.advance(KX_MS)
  t.strictSame(node.keys, ['key-1', 'key-2'])
  t.equal(harness.link('044').inFlight, 2)
  t.equal(harness.link('044').lane.queued, 2)
  t.strictSame(harness.app.replies, [], 'a full window is no lack of a key')
  node.respond('key-2')
  await harness.clock.advance(KX_MS)
  t.strictSame(node.keys, ['key-1', 'key-2', 'key-3'])
  node.respond('key-1')
  node.respond('key-3')
  await harness.clock.advance(KX_MS)
  node.respond('key-4')
  await harness.clock.advance(KX_MS)
  for (const id of ids) t.match(harness.app.endOf(id), { outcome: 'answered' })
})

t.test(
  'a deadline that passes behind a full window is not-sent; in flight it is in doubt, and a late answer changes nothing',
  async (t) => {
    const harness = await withBank({}, {}, { windowRecords: 1 })
    const node = await harness.connect('044')
    node.answer = undefined
    const [sent, waiting] = [harness.ask('044', { timeoutMs: 200 }), harness.ask('044', { timeoutMs: 100 })]
    await harness.clock.advance(100 + 2 * WHEEL_TICK_MS)
    t.match(harness.app.endOf(waiting), { outcome: 'not-sent', code: 'DEADLINE_EXCEEDED' })
    await harness.clock.advance(100)
    t.match(harness.app.endOf(sent), { outcome: 'in-doubt', code: 'IN_DOUBT', key: 'key-1' })
    t.strictSame(node.keys, ['key-1'])
    node.respond('key-1')
    await harness.clock.advance(KX_MS)
    t.match(harness.app.endOf(sent), { outcome: 'in-doubt' })
    t.equal(harness.link('044').counters.lateResponses, 1)
    t.ok(harness.log.lines.some((line) => line.facts.idempotencyKey === 'key-1' && line.level === 'warn'))
  },
)

t.test('how the node answered is how the request ends', async (t) => {
  const harness = await withBank()
  const node = await harness.connect('044')
  const payload = Buffer.from([0xa2, 0x6f, 0x6b])
  const cases = [
    [
      { status: ResponseStatus.ok, payload },
      { outcome: 'answered', payload },
    ],
    [
      { status: ResponseStatus.failed, payload },
      { outcome: 'answered', code: 'HANDLER_FAILED', payload },
    ],
    [
      { status: ResponseStatus.failed, meta: metaOf({ code: 'TOO_LARGE' }) },
      { outcome: 'answered', code: 'TOO_LARGE' },
    ],
    [
      { status: ResponseStatus.refused, meta: metaOf({ code: 'BUSY' }) },
      { outcome: 'refused', code: 'BUSY' },
    ],
    [
      { status: ResponseStatus.refused, meta: metaOf({ code: 'DUPLICATE_MISMATCH' }) },
      { outcome: 'refused', code: 'DUPLICATE_MISMATCH' },
    ],
    [{ status: ResponseStatus.refused }, { outcome: 'refused', code: 'REFUSED' }],
    [
      { status: ResponseStatus.refused, meta: metaOf({ code: '<b>' }) },
      { outcome: 'refused', code: 'REFUSED' },
    ],
    [
      { status: ResponseStatus.refused, meta: metaOf({ code: 7 }) },
      { outcome: 'refused', code: 'REFUSED' },
    ],
    [{ status: ResponseStatus.inDoubt }, { outcome: 'in-doubt', code: 'IN_DOUBT' }],
  ] as const
  for (const [response, end] of cases) {
    node.answer = () => response
    const id = harness.ask('044')
    await harness.clock.advance(KX_MS)
    t.match(harness.app.endOf(id), end)
  }
  const [plain] = harness.app.replies
  t.notOk(plain && 'code' in plain, 'an answer that is ok has no code')
  t.strictSame(harness.link('044').lane.outcomes, {
    answered: 3,
    refused: 5,
    'not-sent': 0,
    'in-doubt': 1,
    'settled-late': 0,
  })
})

t.test('a code from the prototype of objects is no code of ours', async (t) => {
  const harness = await withBank()
  const node = await harness.connect('044')
  node.answer = () => ({ status: ResponseStatus.refused, meta: metaOf({ code: 'toString' }) })
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'refused', code: 'REFUSED' })
})

t.test('TOO_LARGE before anything is sent, exactly above what a frame carries', async (t) => {
  const harness = await withBank({ config: { frames: { maxFrameBytes: 4_096 } } })
  const fits = largestPayload(4_096, 'key-1')
  const early = harness.ask('044', { payload: Buffer.alloc(fits + 1, 0xc0) })
  t.match(harness.app.endOf(early), { outcome: 'refused', code: 'TOO_LARGE' }, 'also before the first kx')
  t.strictSame(harness.app.outcomesOf(early), ['refused'])

  const node = await harness.connect('044')
  const { framesSent } = harness.link('044').counters
  t.match(harness.app.endOf(harness.ask('044', { payload: Buffer.alloc(fits + 1, 0xc0) })), {
    outcome: 'refused',
    code: 'TOO_LARGE',
    message: /4069 bytes of 4068/,
  })
  t.equal(harness.link('044').counters.framesSent, framesSent)
  const id = harness.ask('044', { payload: Buffer.alloc(fits, 0xc0) })
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.equal(node.requests[0]?.payload.length, fits)
})

t.test('TOO_LARGE for what waited, where the node takes smaller frames than LS', async (t) => {
  const harness = await withBank({}, {}, { maxFrameBytes: 2_048 })
  const ids = [1_000, 3_000, 500].map((bytes) => harness.ask('044', { payload: Buffer.alloc(bytes, 0xc0) }))
  for (const id of ids) t.strictSame(harness.app.outcomesOf(id), ['pending'])
  const node = await harness.connect('044')
  await harness.clock.advance(KX_MS)
  t.strictSame(
    ids.map((id) => harness.app.endOf(id)?.outcome),
    ['answered', 'refused', 'answered'],
  )
  t.match(harness.app.endOf(ids[1]), { code: 'TOO_LARGE' })
  t.strictSame(node.keys, ['key-1', 'key-3'])
})

t.test('an app that has left: what still waits of it is never sent', async (t) => {
  const harness = await withBank()
  const app = new TestConnection(2)
  harness.ask('044', {}, app)
  const other = harness.ask('044')
  app.close()
  const node = await harness.connect('044')
  await harness.clock.advance(KX_MS)
  t.strictSame(node.keys, ['key-2'])
  t.match(harness.app.endOf(other), { outcome: 'answered' })
  t.equal(harness.link('044').lane.outcomes['not-sent'], 1)
  t.strictSame(app.outcomesOf(1), ['pending'])
})

t.test('a channel that ends: what was sent is asked about, what had not left goes out over the next', async (t) => {
  const flushes: (() => void)[] = []
  const harness = await withBank()
  await harness.connect('044')
  const node = harness.node('044')
  node.answer = undefined
  const sent = harness.ask('044')
  await harness.clock.advance(KX_MS)
  Object.assign(harness.context, { defer: (flush: () => void) => flushes.push(flush) })
  const next = await harness.reconnect('044')
  await harness.clock.advance(KX_MS)
  for (const flush of flushes.splice(0)) flush()
  await harness.clock.advance(KX_MS)
  t.strictSame(next.keys, ['key-1'], 'the node has begun it: asked again with the same key')
  t.equal(harness.app.endOf(sent), undefined)
  next.respond('key-1')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(sent), { outcome: 'answered' })

  const collected = harness.ask('044')
  t.equal(flushes.length, 1, 'collected, and not sent yet')
  harness.link('044').drop()
  for (const flush of flushes) flush()
  await harness.clock.advance(KX_MS)
  t.strictSame(next.keys, ['key-1'])
  t.equal(harness.app.endOf(collected), undefined)
  t.match(harness.app.replies.at(-1), { id: collected, outcome: 'pending' })

  Object.assign(harness.context, { defer: queueMicrotask })
  const last = harness.node('044').again(harness.clock)
  last.answer = (request) => ({ payload: request.payload })
  await harness.connect('044', last)
  await harness.clock.advance(KX_MS)
  t.strictSame(last.keys, ['key-2'])
  t.match(harness.app.endOf(collected), { outcome: 'answered' })
})

t.test('after an orderly end of the channel what was sent and not answered is in doubt at its deadline', async (t) => {
  const harness = await withBank({ config: { drain: { timeoutMs: 100 } } })
  const node = await harness.connect('044')
  node.answer = undefined
  const id = harness.ask('044', { timeoutMs: 300 })
  await harness.clock.advance(KX_MS)
  node.channel?.drain(harness.clock.monotonicMs() + 50)
  await harness.clock.advance(KX_MS)
  const waiting = harness.ask('044')
  t.match(harness.app.replies.at(-1), { id: waiting, outcome: 'pending' }, 'a node that drains takes no more')
  await harness.clock.advance(100)
  t.equal(harness.app.endOf(id), undefined)
  await harness.clock.advance(200)
  t.match(harness.app.endOf(id), { outcome: 'in-doubt', code: 'IN_DOUBT' })
  t.equal(harness.app.endOf(waiting), undefined)
})

t.test('quarantine: what waits is not-sent, what comes is refused, and after resume it works again', async (t) => {
  const harness = await withBank()
  const waiting = harness.ask('044')
  harness.link('044').quarantine({ reason: 'ticket 17' })
  t.match(harness.app.endOf(waiting), { outcome: 'not-sent', code: 'QUARANTINED' })
  t.match(harness.app.endOf(harness.ask('044')), { outcome: 'refused', code: 'QUARANTINED', message: /ticket 17/ })
  harness.link('044').resume()
  const id = harness.ask('044')
  await harness.connect('044')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'answered' })
})

t.test('quarantine over a live channel: sent is in doubt, collected and waiting is not-sent', async (t) => {
  const flushes: (() => void)[] = []
  const harness = await withBank({}, {}, { windowRecords: 2 })
  Object.assign(harness.context, { defer: (flush: () => void) => flushes.push(flush) })
  const node = await harness.connect('044')
  node.answer = undefined
  const sent = harness.ask('044')
  for (const flush of flushes.splice(0)) flush()
  const [collected, waiting] = [harness.ask('044'), harness.ask('044')]
  harness.link('044').quarantine({ reason: 'evidence' })
  t.match(harness.app.endOf(sent), { outcome: 'in-doubt', code: 'IN_DOUBT' })
  t.match(harness.app.endOf(collected), { outcome: 'not-sent', code: 'QUARANTINED' })
  t.match(harness.app.endOf(waiting), { outcome: 'not-sent', code: 'QUARANTINED' })
})

t.test('a lane that stops settles what waits, refuses what comes, and leaves no timer', async (t) => {
  const harness = await withBank()
  const id = harness.ask('044')
  t.ok(harness.clock.pendingTimers > 0)
  harness.link('044').lane.stop()
  t.match(harness.app.endOf(id), { outcome: 'not-sent', code: 'SHUTTING_DOWN' })
  t.match(harness.app.endOf(harness.ask('044')), { outcome: 'refused', code: 'SHUTTING_DOWN' })
  t.equal(harness.clock.pendingTimers, 0)
})

t.test('an idle lane has no timer: one runs only while something waits', async (t) => {
  const harness = await withBank()
  t.equal(harness.clock.pendingTimers, 0)
  harness.ask('044', { timeoutMs: 100 })
  t.equal(harness.clock.pendingTimers, 1)
  await harness.clock.advance(200)
  t.equal(harness.clock.pendingTimers, 0)
})

t.test(
  'a key at its hard stop ends the channel and not the switch; what it could not seal goes over the next',
  async (t) => {
    // The xchange refuses every new kx until the key is at its end, and no echo happens to find that out first.
    const harness = await withBank({ config: { echo: { intervalMs: 3_500_000 }, rekey: { afterMs: 7_000_000 } } })
    await harness.connect('044')
    Object.assign(harness.context, { identity: newIdentity() })
    await harness.clock.advance(KEY_HARD_STOP_MS + 100)
    t.equal(harness.link('044').state.name, 'connected')
    t.ok(harness.link('044').counters.kxFailed > 1)
    const id = harness.ask('044')
    await harness.clock.advance(KX_MS)
    t.equal(harness.link('044').state.name, 'idle')
    t.strictSame(harness.app.outcomesOf(id), ['pending'])
    Object.assign(harness.context, { identity: harness.identity })
    const next = await harness.reconnect('044')
    await harness.clock.advance(KX_MS)
    t.strictSame(next.keys, ['key-1'])
    t.match(harness.app.endOf(id), { outcome: 'answered' })
  },
)

t.test('a newer socket takes over: what had not left over the older goes out over the newer at once', async (t) => {
  for (const early of ['reject', 'queue']) {
    const flushes: (() => void)[] = []
    const harness = await withBank({ config: { requests: { early } } })
    Object.assign(harness.context, { defer: (flush: () => void) => flushes.push(flush) })
    const first = await harness.connect('044')
    const second = first.again(harness.clock)
    harness.dial('044', second)
    const id = harness.ask('044')
    Object.assign(harness.context, { defer: queueMicrotask })
    await harness.clock.advance(KX_MS)
    for (const flush of flushes) flush()
    await harness.clock.advance(KX_MS)
    t.strictSame(first.keys, [])
    t.strictSame(second.keys, ['key-1'])
    t.strictSame(harness.app.outcomesOf(id), ['answered'], early)
  }
})
