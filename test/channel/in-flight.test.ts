import t from 'tap'
import { WHEEL_TICK_MS } from '../../lib/channel/deadline-wheel.ts'
import { ChannelRequest, InFlightTable } from '../../lib/channel/in-flight.ts'

const MAX_LATE = 4_096

function newRequest(deadlineMs = 1_000): ChannelRequest {
  return new ChannelRequest({ key: 'k', method: 'balance', payload: Buffer.alloc(0) }, deadlineMs)
}

t.test('a request is taken out once, by its own id', async (t) => {
  const table = new InFlightTable(0)
  const [first, second] = [newRequest(), newRequest()]
  table.add(first)
  table.add(second)
  t.not(first.channelId, second.channelId)
  t.equal(table.size, 2)
  t.same(table.take(first.channelId), { request: first, late: false })
  t.equal(table.take(first.channelId), undefined, 'an answer that comes twice answers nothing')
  t.equal(table.take(77), undefined)
  t.equal(table.size, 1)
  t.same(table.expire(10_000), [second], 'what was taken out no longer falls due')
})

t.test('ids wrap after 32 bits, and an answer to an id on either side finds its request', async (t) => {
  const table = new InFlightTable(0, 0xfffffffd)
  const requests = [newRequest(), newRequest(), newRequest(), newRequest()]
  for (const request of requests) table.add(request)
  t.same(
    requests.map(({ channelId }) => channelId),
    [0xfffffffe, 0xffffffff, 0, 1],
  )
  for (const request of requests) t.equal(table.take(request.channelId)?.request, request)
})

t.test('an answer after the deadline is late, as long as the request is remembered', async (t) => {
  const table = new InFlightTable(0)
  const oldest = newRequest(10)
  const requests = Array.from({ length: MAX_LATE }, () => newRequest(50))
  for (const request of [oldest, ...requests]) table.add(request)
  t.same(table.expire(10 + WHEEL_TICK_MS), [oldest])
  t.equal(table.expire(50 + WHEEL_TICK_MS).length, MAX_LATE)
  t.equal(table.size, 0)
  t.equal(table.take(oldest.channelId), undefined, 'the memory is bounded: the oldest is forgotten')
  const answers = requests.map(({ channelId }) => table.take(channelId))
  t.ok(answers.every((answer, index) => answer?.late === true && answer.request === requests[index]))
  t.equal(table.take(requests[0]?.channelId ?? 0), undefined, 'late is told once')
})

t.test('of a request that is sent anew only the answer to its new id counts', async (t) => {
  const table = new InFlightTable(0)
  const request = newRequest(10)
  table.add(request)
  const firstId = request.channelId
  t.same(table.expire(10 + WHEEL_TICK_MS), [request])
  request.deadlineMs = 1_000
  table.add(request)
  t.equal(table.find(firstId), undefined, 'what was signed then is not the message of now')
  t.equal(table.take(firstId), undefined)
  t.same(table.take(request.channelId), { request, late: false })
})

t.test('the end of the channel takes out everything, and leaves nothing to fall due', async (t) => {
  const table = new InFlightTable(0)
  const requests = [newRequest(), newRequest(), newRequest(10)]
  for (const request of requests) table.add(request)
  table.expire(10 + WHEEL_TICK_MS)
  t.same(table.takeAll(), requests.slice(0, 2))
  t.equal(table.size, 0)
  t.same(table.expire(100_000), [])
  for (const { channelId } of requests) t.equal(table.take(channelId), undefined)
  t.same(table.takeAll(), [])
})
