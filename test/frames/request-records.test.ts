import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { pack, unpackMultiple } from 'msgpackr'
import t from 'tap'
import {
  decodeRequestBatch,
  encodeMap,
  MAX_META_BYTES,
  MAX_RECORDS_PER_FRAME,
  RequestBatch,
  type RequestRecord,
  requestRecordBytes,
} from '../../lib/frames/index.ts'
import { anyBytes, decodedOrInvalid, msgpackPieces, plainMap, requestRecord } from '../support/frame-arbitraries.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const anyRecord = requestRecord(fc.option(plainMap.map(encodeMap), { nil: undefined }))
const record: RequestRecord = {
  id: 7,
  key: 'k-1',
  method: 'balance',
  budgetMs: 30_000,
  payload: hex('81a16101'),
  meta: undefined,
}

function encode(records: readonly RequestRecord[]): Buffer {
  const batch = new RequestBatch(1_048_576)
  for (const record of records) if (!batch.append(record)) throw new Error('the batch is full')
  return Buffer.from(batch.take())
}

t.test('a request record has one byte layout', async (t) => {
  t.equal(encode([record]).toString('hex'), '9507a36b2d31a762616c616e6365cd7530c40481a16101')
  const meta = encodeMap({ a: 1 })
  const withMeta = { ...record, id: 0x0001_0000, key: 'ключ', meta }
  t.equal(
    encode([withMeta]).toString('hex'),
    '96ce00010000a8d0bad0bbd18ed187a762616c616e6365cd7530c40481a1610181a16101',
  )
  t.strictSame(decodeRequestBatch(encode([withMeta])), [withMeta])
})

t.test('a request record is the array that any msgpack library reads and writes', async (t) => {
  const meta = encodeMap({ traceparent: '00-01-02-03' })
  const long = {
    ...record,
    id: 0xffff_ffff,
    key: 'k'.repeat(64),
    method: 'm'.repeat(33),
    payload: Buffer.alloc(70_000),
    meta,
  }
  t.strictSame(unpackMultiple(encode([record, long])), [
    [7, 'k-1', 'balance', 30_000, record.payload],
    [long.id, long.key, long.method, 30_000, long.payload, { traceparent: '00-01-02-03' }],
  ])
  const packed = pack([7, 'k-1', 'balance', 30_000, record.payload])
  t.strictSame(decodeRequestBatch(packed), [record])
})

t.test('records round trip back to back, and their size is known before', async (t) => {
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 12 }), (records) => {
      const body = encode(records)
      deepStrictEqual(decodeRequestBatch(body), records)
      return records.reduce((bytes, record) => bytes + requestRecordBytes(record), 0) === body.length
    }),
    { numRuns: 300 },
  )
  t.pass('the same values')
})

t.test('a batch cut at any byte is its whole records or FRAME_INVALID', async (t) => {
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 3 }), (records) => {
      const body = encode(records)
      const ends = new Set<number>()
      let end = 0
      for (const record of records) {
        end += requestRecordBytes(record)
        ends.add(end)
      }
      for (let length = 0; length < body.length; length++) {
        const decoded = decodedOrInvalid(() => decodeRequestBatch(body.subarray(0, length)))
        if ((decoded !== undefined) !== ends.has(length)) return false
        if (decoded !== undefined) deepStrictEqual(decoded, records.slice(0, decoded.length))
      }
      return true
    }),
    { numRuns: 60 },
  )
  t.pass('no half record')
})

t.test('one flipped byte gives FRAME_INVALID or records that keep the rules', async (t) => {
  const body = encode([{ ...record, meta: encodeMap({ traceparent: '00-ab-cd-01', n: [1, null] }) }, record])
  let decodedCount = 0
  for (let index = 0; index < body.length; index++) {
    for (let flip = 1; flip < 256; flip++) {
      const flipped = Buffer.from(body)
      flipped[index] = (flipped[index] as number) ^ flip
      const records = decodedOrInvalid(() => decodeRequestBatch(flipped))
      if (records === undefined) continue
      decodedCount++
      deepStrictEqual(decodeRequestBatch(encode(records)), records)
    }
  }
  t.ok(decodedCount > 0, 'some flips only change a value')
})

t.test('any bytes are records that keep the rules, or FRAME_INVALID', async (t) => {
  const nearRecords = msgpackPieces.map((pieces) => Buffer.concat([encode([record]), pieces]))
  fc.assert(
    fc.property(fc.oneof(anyBytes(60), msgpackPieces, nearRecords), (bytes) => {
      const records = decodedOrInvalid(() => decodeRequestBatch(bytes))
      if (records !== undefined) deepStrictEqual(decodeRequestBatch(encode(records)), records)
    }),
    { numRuns: 3_000 },
  )
  t.pass('no other error')
})

t.test('wider formats of another encoder are read', async (t) => {
  for (const body of [
    '95 cc07 d9036b2d31 d90762616c616e6365 ce00007530 c5000481a16101',
    '95 cd0007 a36b2d31 a762616c616e6365 cf0000000000007530 c60000000481a16101',
  ]) {
    t.strictSame(decodeRequestBatch(hex(body)), [record], body)
  }
})

t.test('a record of the wrong shape is FRAME_INVALID', async (t) => {
  const tail = 'a76d6d6d6d6d6d6d 01 c400'
  const refused: Record<string, Buffer> = {
    'an empty body': Buffer.alloc(0),
    'a map': hex('80'),
    'four fields': hex('94 07 a16b a16d 01'),
    'seven fields': hex('97 07 a16b a16d 01 c400 80 80'),
    'array 16': hex('dc0005 07 a16b a16d 01 c400'),
    'a negative id': hex(`95 ff a16b ${tail}`),
    'a signed id': hex(`95 d007 a16b ${tail}`),
    'a float id': hex(`95 cb401c000000000000 a16b ${tail}`),
    'an id of 33 bits': hex(`95 cf0000000100000000 a16b ${tail}`),
    'a nil id': hex(`95 c0 a16b ${tail}`),
    'an empty key': hex(`95 07 a0 ${tail}`),
    'an empty str 8 key': hex(`95 07 d900 ${tail}`),
    'a key of 65 bytes': Buffer.concat([hex('95 07 d941'), Buffer.alloc(65, 'k'), hex(tail)]),
    'a str 16 key': hex(`95 07 da00016b ${tail}`),
    'a bin key': hex(`95 07 c4016b ${tail}`),
    'a key that is not UTF-8': hex(`95 07 a2c3c3 ${tail}`),
    'an empty method': hex('95 07 a16b a0 01 c400'),
    'a method with a space': hex('95 07 a16b a3612062 01 c400'),
    'a method beyond ASCII': hex('95 07 a16b a2c3a9 01 c400'),
    'a method of 65 bytes': Buffer.concat([hex('95 07 a16b d941'), Buffer.alloc(65, 'm'), hex('01 c400')]),
    'a nil budget': hex('95 07 a16b a16d c0 c400'),
    'a string payload': hex('95 07 a16b a16d 01 a161'),
    'a nil payload': hex('95 07 a16b a16d 01 c0'),
    'an extension payload': hex('95 07 a16b a16d 01 d40100'),
    'a huge payload': hex('95 07 a16b a16d 01 c6ffffffff00'),
    'nil meta': hex('96 07 a16b a16d 01 c400 c0'),
    'array meta': hex('96 07 a16b a16d 01 c400 90'),
    'missing meta': hex('96 07 a16b a16d 01 c400'),
    'meta with an extension': hex('96 07 a16b a16d 01 c400 81a161d40100'),
    'meta with a duplicate key': hex('96 07 a16b a16d 01 c400 82a16101a16101'),
    'meta with a number as key': hex('96 07 a16b a16d 01 c400 810101'),
    'meta nested too deeply': Buffer.concat([hex('96 07 a16b a16d 01 c400 81a161'), Buffer.alloc(16, 0x91), hex('01')]),
    'meta with huge lengths': hex('96 07 a16b a16d 01 c400 dfffffffff'),
    'a byte after the record': hex('95 07 a16b a16d 01 c400 00'),
  }
  for (const [name, body] of Object.entries(refused)) {
    t.throws(() => decodeRequestBatch(body), { name: 'LsxError', code: 'FRAME_INVALID', party: 'peer' }, name)
    t.throws(() => decodeRequestBatch(Buffer.concat([encode([record]), body, hex('c1')])), { code: 'FRAME_INVALID' })
  }
})

t.test('every byte that a method may not hold is refused, the others are not', async (t) => {
  for (let byte = 0; byte < 256; byte++) {
    const body = Buffer.concat([hex('95 07 a16b a1'), Buffer.from([byte]), hex('01 c400')])
    const records = decodedOrInvalid(() => decodeRequestBatch(body))
    const allowed = byte < 0x80 && /[A-Za-z0-9._:/-]/.test(String.fromCharCode(byte))
    if ((records !== undefined) !== allowed) t.fail(`byte ${byte}`)
  }
  t.pass('256 bytes')
})

t.test('methods of the same length in one batch are told apart', async (t) => {
  const methods = ['balance', 'balance', 'balancf', 'balance', 'b', 'balance', 'transfer']
  const body = encode(methods.map((method) => ({ ...record, method })))
  t.strictSame(
    decodeRequestBatch(body).map((record) => record.method),
    methods,
  )
})

t.test('meta of 16 KiB is read, one byte more is not', async (t) => {
  const meta = (bytes: number) => encodeMap({ a: Buffer.alloc(bytes - 6) })
  const full = { ...record, meta: meta(MAX_META_BYTES) }
  t.equal(decodeRequestBatch(encode([full]))[0]?.meta?.length, MAX_META_BYTES)
  const head = Buffer.from(encode([record]))
  head[0] = 0x96
  t.throws(() => decodeRequestBatch(Buffer.concat([head, meta(MAX_META_BYTES + 1)])), { code: 'FRAME_INVALID' })
})

t.test('more than 4,096 records are FRAME_INVALID', async (t) => {
  const one = hex('95 07 a16b a16d 01 c400')
  t.equal(decodeRequestBatch(Buffer.alloc(one.length * MAX_RECORDS_PER_FRAME, one)).length, 4_096)
  t.throws(() => decodeRequestBatch(Buffer.alloc(one.length * (MAX_RECORDS_PER_FRAME + 1), one)), {
    code: 'FRAME_INVALID',
  })
})

t.test('payload and meta are views of the body', async (t) => {
  const body = encode([{ ...record, meta: encodeMap({ a: 1 }) }])
  const [decoded] = decodeRequestBatch(body)
  t.equal(decoded?.payload.buffer, body.buffer)
  t.equal(decoded?.meta?.buffer, body.buffer)
})
