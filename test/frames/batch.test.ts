import fc from 'fast-check'
import t from 'tap'
import {
  DEFAULT_MAX_FRAME_BYTES,
  decodeRequestBatch,
  decodeResponseBatch,
  encodeMap,
  HEADER_BYTES,
  MAX_META_BYTES,
  MAX_RECORDS_PER_FRAME,
  RequestBatch,
  type RequestRecord,
  ResponseBatch,
  ResponseStatus,
  requestRecordBytes,
  responseRecordBytes,
  TAG_BYTES,
} from '../../lib/frames/index.ts'
import { requestRecord, responseRecord } from '../support/frame-arbitraries.ts'

const record: RequestRecord = {
  id: 1,
  key: 'k',
  method: 'balance',
  budgetMs: 1_000,
  payload: Buffer.alloc(100, 1),
  meta: undefined,
}

t.test('a batch counts what it holds and is empty after take', async (t) => {
  const batch = new RequestBatch(10_000)
  t.equal(batch.recordCount, 0)
  t.equal(batch.byteLength, 0)
  t.ok(batch.append(record))
  t.ok(batch.append({ ...record, id: 2 }))
  t.equal(batch.recordCount, 2)
  t.equal(batch.byteLength, 2 * requestRecordBytes(record))
  const body = batch.take()
  t.equal(body.length, 2 * requestRecordBytes(record))
  t.equal(batch.recordCount, 0)
  t.equal(batch.byteLength, 0)
  t.strictSame(
    decodeRequestBatch(body).map((record) => record.id),
    [1, 2],
  )
  t.throws(() => batch.take(), { code: 'INTERNAL' }, 'an empty body is no frame')
})

t.test('a batch fills to the last byte', async (t) => {
  const bytes = requestRecordBytes(record)
  const exact = new RequestBatch(3 * bytes)
  t.ok(exact.append(record) && exact.append(record) && exact.append(record))
  t.equal(exact.byteLength, 3 * bytes)
  t.notOk(exact.append(record))
  t.equal(exact.recordCount, 3, 'the record that did not fit left no trace')
  t.equal(decodeRequestBatch(exact.take()).length, 3)
  t.ok(exact.append(record), 'there is room again')

  const oneLess = new RequestBatch(3 * bytes - 1)
  t.ok(oneLess.append(record) && oneLess.append(record))
  t.notOk(oneLess.append(record))
})

t.test('a record that fits into no frame is TOO_LARGE, one of exactly the size is not', async (t) => {
  const maxBodyBytes = DEFAULT_MAX_FRAME_BYTES - HEADER_BYTES - TAG_BYTES
  const requests = new RequestBatch(maxBodyBytes)
  const overhead = requestRecordBytes({ ...record, payload: Buffer.alloc(60_000) }) - 60_000
  const largest = { ...record, payload: Buffer.alloc(maxBodyBytes - overhead, 3) }
  t.ok(requests.append(largest))
  t.equal(requests.byteLength, maxBodyBytes)
  t.strictSame(decodeRequestBatch(requests.take()), [largest])
  t.throws(() => requests.append({ ...record, payload: Buffer.alloc(maxBodyBytes - overhead + 1) }), {
    code: 'TOO_LARGE',
    party: 'caller',
    facts: { recordBytes: maxBodyBytes + 1, maxBodyBytes },
  })

  const responses = new ResponseBatch(maxBodyBytes)
  const response = { id: 1, status: ResponseStatus.ok, payload: Buffer.alloc(0), meta: undefined }
  t.ok(responses.append(response))
  t.throws(() => responses.append({ ...response, payload: Buffer.alloc(maxBodyBytes) }), { code: 'TOO_LARGE' })
  t.strictSame(decodeResponseBatch(responses.take()), [response], 'the others are still there')
})

t.test('a record that breaks the rules is refused and leaves no trace', async (t) => {
  const batch = new RequestBatch(100_000)
  t.ok(batch.append(record))
  const meta = encodeMap({ a: Buffer.alloc(MAX_META_BYTES - 5) })
  const refused: [string, RequestRecord, string][] = [
    ['an empty key', { ...record, key: '' }, 'BAD_REQUEST'],
    ['a key of 65 characters', { ...record, key: 'k'.repeat(65) }, 'BAD_REQUEST'],
    ['a key of 66 bytes', { ...record, key: 'é'.repeat(33) }, 'BAD_REQUEST'],
    ['a lone surrogate', { ...record, key: 'k\ud800' }, 'BAD_REQUEST'],
    ['an empty method', { ...record, method: '' }, 'BAD_REQUEST'],
    ['a long method', { ...record, method: 'm'.repeat(65) }, 'BAD_REQUEST'],
    ['a method with a space', { ...record, method: 'a b' }, 'BAD_REQUEST'],
    ['a method whose low byte alone is allowed', { ...record, method: '\u0161' }, 'BAD_REQUEST'],
    ['meta over 16 KiB', { ...record, meta }, 'TOO_LARGE'],
    ['meta that is no map', { ...record, meta: Buffer.from([0xc0]) }, 'INTERNAL'],
    ['empty meta', { ...record, meta: Buffer.alloc(0) }, 'INTERNAL'],
    ['an id of 33 bits', { ...record, id: 2 ** 32 }, 'INTERNAL'],
    ['a negative id', { ...record, id: -1 }, 'INTERNAL'],
    ['a budget with a fraction', { ...record, budgetMs: 1.5 }, 'INTERNAL'],
    ['a budget that is no number', { ...record, budgetMs: Number.NaN }, 'INTERNAL'],
  ]
  for (const [name, bad, code] of refused) {
    t.throws(() => batch.append(bad), { name: 'LsxError', code }, name)
  }
  t.equal(batch.recordCount, 1)
  t.ok(batch.append({ ...record, key: 'é'.repeat(32), id: 0xffff_ffff }))
  t.strictSame(
    decodeRequestBatch(batch.take()).map((record) => record.key),
    ['k', 'é'.repeat(32)],
  )

  const responses = new ResponseBatch(1_000)
  const response = { id: 1, status: 4 as ResponseStatus, payload: Buffer.alloc(0), meta: undefined }
  t.throws(() => responses.append(response), { code: 'INTERNAL' })
  t.equal(responses.recordCount, 0)
})

t.test('a batch holds at most 4,096 records', async (t) => {
  const batch = new ResponseBatch(1_000_000)
  const response = { id: 1, status: ResponseStatus.ok, payload: Buffer.alloc(0), meta: undefined }
  for (let count = 0; count < MAX_RECORDS_PER_FRAME; count++) batch.append(response)
  t.equal(batch.recordCount, MAX_RECORDS_PER_FRAME)
  t.notOk(batch.append(response))
  t.equal(decodeResponseBatch(batch.take()).length, MAX_RECORDS_PER_FRAME)
  t.ok(batch.append(response))
})

t.test('records spread over frames arrive as they were, whatever the frame size', async (t) => {
  const meta = fc.constantFrom(undefined, encodeMap({ traceparent: '00-ab-cd-01' }))
  fc.assert(
    fc.property(
      fc.array(requestRecord(meta), { maxLength: 30 }),
      fc.integer({ min: 700, max: 9_000 }),
      (records, max) => {
        const batch = new RequestBatch(max)
        const received: RequestRecord[] = []
        const receive = () => {
          const body = Buffer.from(batch.take())
          if (body.length > max) throw new Error('the body is over its bound')
          received.push(...decodeRequestBatch(body))
        }
        for (const record of records) {
          const room = max - batch.byteLength
          if (batch.append(record)) continue
          if (requestRecordBytes(record) <= room) throw new Error('a record that fits was put off')
          receive()
          if (!batch.append(record)) throw new Error('a record does not fit into an empty batch')
        }
        if (batch.recordCount > 0) receive()
        return Buffer.concat(received.map((record) => record.payload)).equals(
          Buffer.concat(records.map((record) => record.payload)),
        )
      },
    ),
  )
  t.pass('every record, in order')
})

t.test('the size of a response is known before', async (t) => {
  const batch = new ResponseBatch(65_508)
  fc.assert(
    fc.property(responseRecord(fc.constantFrom(undefined, encodeMap({ code: 'BUSY' }))), (response) => {
      batch.append(response)
      return batch.take().length === responseRecordBytes(response)
    }),
  )
  t.pass('exact')
})
