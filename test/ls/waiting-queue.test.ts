import fc from 'fast-check'
import t from 'tap'
import { ChannelRequest, WHEEL_TICK_MS } from '../../lib/channel/index.ts'
import { WaitingQueue } from '../../lib/ls/waiting-queue.ts'

let requests = 0

function newRequest(payloadBytes = 0, deadlineMs = 1_000): ChannelRequest {
  return new ChannelRequest({ key: `key-${requests++}`, method: 'm', payload: Buffer.alloc(payloadBytes) }, deadlineMs)
}

function newQueue(bounds: { maxQueued?: number; maxQueuedBytes?: number } = {}): WaitingQueue<ChannelRequest> {
  return new WaitingQueue({ maxQueued: 10, maxQueuedBytes: 1_000_000, ...bounds }, 0)
}

t.test('first in, first out; what is taken from the middle leaves the order of the rest', async (t) => {
  const queue = newQueue()
  const [first, second, third] = [newRequest(), newRequest(), newRequest()]
  for (const request of [first, second, third]) t.ok(queue.push(request))
  t.equal(queue.peek(), first)
  t.equal(queue.size, 3, 'peeking takes nothing out')
  queue.remove(second)
  queue.remove(second)
  t.equal(queue.size, 2, 'twice removed counts once')
  t.strictSame(queue.takeAll(), [first, third])
  t.equal(queue.peek(), undefined)
  t.equal(queue.bytes, 0)
})

t.test('bounded in number', async (t) => {
  const queue = newQueue({ maxQueued: 2 })
  const first = newRequest()
  t.ok(queue.push(first))
  t.ok(queue.push(newRequest()))
  t.notOk(queue.push(newRequest()))
  t.equal(queue.size, 2)
  queue.remove(first)
  t.ok(queue.push(newRequest()), 'room again')
  t.notOk(newQueue({ maxQueued: 0 }).push(newRequest()), 'no queue at all')
})

t.test('bounded in bytes, what a request costs beside its payload included', async (t) => {
  const queue = newQueue({ maxQueuedBytes: 4_000 })
  t.ok(queue.push(newRequest(1_000)))
  t.ok(queue.bytes > 1_000)
  const { bytes } = queue
  t.ok(queue.push(newRequest(1_000)))
  t.equal(queue.bytes, 2 * bytes)
  t.notOk(queue.push(newRequest(1_000)))
  t.equal(queue.bytes, 2 * bytes, 'what was refused is not counted')
  t.ok(queue.push(newRequest(0)), 'a smaller one still fits')
  t.notOk(newQueue({ maxQueuedBytes: 0 }).push(newRequest(0)))
})

t.test('what is past its deadline leaves, and nothing before it is', async (t) => {
  const queue = newQueue()
  const [early, late, never] = [newRequest(0, 100), newRequest(0, 200), newRequest(0, 600_000)]
  for (const request of [late, never, early]) queue.push(request)
  t.strictSame(queue.expire(99), [])
  t.strictSame(queue.expire(100 + WHEEL_TICK_MS), [early])
  t.strictSame(queue.expire(100 + WHEEL_TICK_MS), [])
  t.strictSame(queue.expire(500_000), [late])
  t.equal(queue.peek(), never)
  t.strictSame(queue.expire(600_000 + WHEEL_TICK_MS), [never])
  t.equal(queue.size, 0)
  t.equal(queue.bytes, 0)
})

t.test('whatever happens, size and bytes are those of what is inside, in the order in which it came', async (t) => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('push' as const), bytes: fc.nat(400), livesMs: fc.nat(30_000) }),
    fc.record({ do: fc.constant('remove' as const), index: fc.nat(20) }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.nat(20_000) }),
    fc.record({ do: fc.constant('takeAll' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const bounds = { maxQueued: 6, maxQueuedBytes: 5_000 }
      const queue = newQueue(bounds)
      const model: ChannelRequest[] = []
      let nowMs = 0
      const forget = (request: ChannelRequest) => {
        const index = model.indexOf(request)
        if (index < 0) throw new Error('out of the queue that never was in it')
        model.splice(index, 1)
      }
      for (const one of steps) {
        if (one.do === 'push') {
          const request = newRequest(one.bytes, nowMs + one.livesMs)
          if (queue.push(request)) model.push(request)
          else if (model.length === 0) throw new Error('an empty queue was full')
        } else if (one.do === 'remove') {
          const request = model[one.index]
          if (request === undefined) continue
          queue.remove(request)
          forget(request)
        } else if (one.do === 'pass') {
          nowMs += one.ms
          for (const request of queue.expire(nowMs)) {
            if (request.deadlineMs > nowMs) throw new Error('expired before its time')
            forget(request)
          }
          const overdue = model.find((request) => request.deadlineMs <= nowMs - WHEEL_TICK_MS)
          if (overdue !== undefined) throw new Error('left in the queue past its time')
        } else {
          for (const request of queue.takeAll()) forget(request)
          if (model.length > 0) throw new Error('not all was taken')
        }
        if (queue.size !== model.length || queue.peek() !== model[0]) throw new Error('another order or size')
        if (queue.size > bounds.maxQueued || queue.bytes > bounds.maxQueuedBytes) throw new Error('over the bounds')
        if (model.length === 0 && queue.bytes !== 0) throw new Error('bytes of nothing')
      }
    }),
    { numRuns: 300 },
  )
  t.pass('300 runs')
})
