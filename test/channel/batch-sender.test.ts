import fc from 'fast-check'
import t from 'tap'
import { BatchSender } from '../../lib/channel/batch-sender.ts'
import { decodeRequestBatch, RequestBatch, type RequestRecord } from '../../lib/frames/index.ts'

const BODY_BYTES = 65_508

/** A sender with its deferred flushes in hand, and the ids that each body carried. */
function newSender(maxBodyBytes = BODY_BYTES) {
  const bodies: number[][] = []
  const deferred: (() => void)[] = []
  const sender = new BatchSender<RequestRecord>({
    batch: new RequestBatch(maxBodyBytes),
    send: (body) => bodies.push(decodeRequestBatch(body).map(({ id }) => id)),
    defer: (flush) => deferred.push(flush),
  })
  const endTurn = () => {
    for (const flush of deferred.splice(0)) flush()
  }
  return { sender, bodies, deferred, endTurn }
}

function record(id: number, payloadBytes = 10): RequestRecord {
  return { id, key: `key-${id}`, method: 'm', budgetMs: 1, payload: Buffer.alloc(payloadBytes), meta: undefined }
}

t.test('records of one turn leave as one body at its end, with one deferred flush', async (t) => {
  const { sender, bodies, deferred, endTurn } = newSender()
  for (const id of [1, 2, 3]) sender.push(record(id))
  t.same(bodies, [])
  t.equal(deferred.length, 1)
  t.equal(sender.recordCount, 3)
  endTurn()
  t.same(bodies, [[1, 2, 3]])
  sender.push(record(4))
  t.equal(deferred.length, 1, 'the next turn asks for its own')
  endTurn()
  t.same(bodies, [[1, 2, 3], [4]])
})

t.test('a batch leaves early at 64 records or 16 KiB, so that the next stage works meanwhile', async (t) => {
  const byCount = newSender()
  for (let id = 0; id < 65; id++) byCount.sender.push(record(id))
  t.equal(byCount.bodies[0]?.length, 64)
  byCount.endTurn()
  t.same(byCount.bodies[1], [64])

  const byBytes = newSender()
  byBytes.sender.push(record(1, 16_000))
  t.same(byBytes.bodies, [])
  byBytes.sender.push(record(2, 1_000))
  t.same(byBytes.bodies, [[1, 2]])
})

t.test('a record that does not fit beside the others sends those first', async (t) => {
  const { sender, bodies, endTurn } = newSender(1_000)
  sender.push(record(1, 500))
  sender.push(record(2, 600))
  t.same(bodies, [[1]])
  endTurn()
  t.same(bodies, [[1], [2]])
})

t.test('a record that fits into no frame is refused, and what was collected stays', async (t) => {
  const { sender, bodies, endTurn } = newSender(1_000)
  sender.push(record(1))
  t.throws(() => sender.push(record(2, 1_001)), { code: 'TOO_LARGE' })
  t.throws(() => sender.push({ ...record(3), key: '' }), { code: 'BAD_REQUEST' })
  sender.push(record(4))
  endTurn()
  t.same(bodies, [[1, 4]])
})

t.test('a flush on demand leaves nothing for the deferred one', async (t) => {
  const { sender, bodies, endTurn } = newSender()
  sender.flush()
  t.same(bodies, [], 'nothing to send is no body')
  sender.push(record(1))
  sender.flush()
  endTurn()
  t.same(bodies, [[1]])
})

t.test('a stopped sender sends nothing more, not even what waits', async (t) => {
  const { sender, bodies, endTurn } = newSender()
  sender.push(record(1))
  sender.stop()
  sender.flush()
  endTurn()
  t.same(bodies, [])
})

t.test('another frame limit takes effect after what was collected has gone', async (t) => {
  const { sender, bodies, endTurn } = newSender()
  sender.push(record(1, 5_000))
  sender.replaceBatch(new RequestBatch(1_000))
  t.same(bodies, [[1]])
  t.throws(() => sender.push(record(2, 5_000)), { code: 'TOO_LARGE' })
  sender.push(record(3))
  endTurn()
  t.same(bodies, [[1], [3]])
})

t.test('whatever the sizes, every record leaves once, in order, in bodies within the limit', async (t) => {
  const pushes = fc.array(fc.record({ bytes: fc.nat({ max: 3_000 }), endsTurn: fc.boolean() }), { maxLength: 200 })
  fc.assert(
    fc.property(pushes, fc.integer({ min: 3_100, max: BODY_BYTES }), (pushes, maxBodyBytes) => {
      const sent: number[] = []
      const deferred: (() => void)[] = []
      const sender = new BatchSender<RequestRecord>({
        batch: new RequestBatch(maxBodyBytes),
        send: (body) => {
          if (body.length > maxBodyBytes) throw new Error('over the limit')
          for (const { id } of decodeRequestBatch(body)) sent.push(id)
        },
        defer: (flush) => deferred.push(flush),
      })
      for (const [id, { bytes, endsTurn }] of pushes.entries()) {
        sender.push(record(id, bytes))
        if (endsTurn) for (const flush of deferred.splice(0)) flush()
      }
      for (const flush of deferred.splice(0)) flush()
      if (sent.join() !== pushes.map((_, id) => id).join()) throw new Error(`sent ${sent.join()}`)
    }),
    { numRuns: 50 },
  )
  t.pass()
})
