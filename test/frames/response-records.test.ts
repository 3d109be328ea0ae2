import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { pack, unpackMultiple } from 'msgpackr'
import t from 'tap'
import {
  decodeMeta,
  decodeResponseBatch,
  encodeMap,
  MAX_RECORDS_PER_FRAME,
  ResponseBatch,
  type ResponseRecord,
  ResponseStatus,
  responseRecordBytes,
} from '../../lib/frames/index.ts'
import { anyBytes, decodedOrInvalid, msgpackPieces, plainMap, responseRecord } from '../support/frame-arbitraries.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const anyRecord = responseRecord(fc.option(plainMap.map(encodeMap), { nil: undefined }))
const record: ResponseRecord = { id: 300, status: ResponseStatus.ok, payload: hex('81a16101'), meta: undefined }

function encode(records: readonly ResponseRecord[]): Buffer {
  const batch = new ResponseBatch(1_048_576)
  for (const record of records) if (!batch.append(record)) throw new Error('the batch is full')
  return Buffer.from(batch.take())
}

t.test('a response record has one byte layout', async (t) => {
  t.equal(encode([record]).toString('hex'), '93cd012c00c40481a16101')
  const refused = { ...record, status: ResponseStatus.refused, payload: hex(''), meta: encodeMap({ code: 'BUSY' }) }
  t.equal(encode([refused]).toString('hex'), '94cd012c02c40081a4636f6465a442555359')
  const [decoded] = decodeResponseBatch(encode([refused]))
  t.strictSame(decodeMeta(decoded?.meta), { code: 'BUSY' })
  t.strictSame(ResponseStatus, { ok: 0, failed: 1, refused: 2, inDoubt: 3 })
})

t.test('a response record is the array that any msgpack library reads and writes', async (t) => {
  const inDoubt = { ...record, status: ResponseStatus.inDoubt, meta: encodeMap({ code: 'IN_DOUBT' }) }
  t.strictSame(unpackMultiple(encode([record, inDoubt])), [
    [300, 0, record.payload],
    [300, 3, record.payload, { code: 'IN_DOUBT' }],
  ])
  t.strictSame(decodeResponseBatch(pack([300, 0, record.payload])), [record])
})

t.test('records round trip back to back, and their size is known before', async (t) => {
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 12 }), (records) => {
      const body = encode(records)
      deepStrictEqual(decodeResponseBatch(body), records)
      return records.reduce((bytes, record) => bytes + responseRecordBytes(record), 0) === body.length
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
        end += responseRecordBytes(record)
        ends.add(end)
      }
      for (let length = 0; length < body.length; length++) {
        const decoded = decodedOrInvalid(() => decodeResponseBatch(body.subarray(0, length)))
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
  const body = encode([{ ...record, meta: encodeMap({ code: 'BUSY', n: [1, null] }) }, record])
  let decodedCount = 0
  for (let index = 0; index < body.length; index++) {
    for (let flip = 1; flip < 256; flip++) {
      const flipped = Buffer.from(body)
      flipped[index] = (flipped[index] as number) ^ flip
      const records = decodedOrInvalid(() => decodeResponseBatch(flipped))
      if (records === undefined) continue
      decodedCount++
      deepStrictEqual(decodeResponseBatch(encode(records)), records)
    }
  }
  t.ok(decodedCount > 0, 'some flips only change a value')
})

t.test('any bytes are records that keep the rules, or FRAME_INVALID', async (t) => {
  const nearRecords = msgpackPieces.map((pieces) => Buffer.concat([encode([record]), pieces]))
  fc.assert(
    fc.property(fc.oneof(anyBytes(60), msgpackPieces, nearRecords), (bytes) => {
      const records = decodedOrInvalid(() => decodeResponseBatch(bytes))
      if (records !== undefined) deepStrictEqual(decodeResponseBatch(encode(records)), records)
    }),
    { numRuns: 3_000 },
  )
  t.pass('no other error')
})

t.test('a record of the wrong shape is FRAME_INVALID', async (t) => {
  const refused: Record<string, Buffer> = {
    'an empty body': Buffer.alloc(0),
    'two fields': hex('92 07 00'),
    'five fields': hex('95 07 00 c400 80 80'),
    'a request record': hex('95 07 a16b a16d 01 c400'),
    'an unknown status': hex('93 07 04 c400'),
    'a large status': hex('93 07 ceffffffff c400'),
    'a string status': hex('93 07 a26f6b c400'),
    'a string payload': hex('93 07 00 a161'),
    'nil meta': hex('94 07 00 c400 c0'),
    'missing meta': hex('94 07 00 c400'),
    'meta with an extension': hex('94 07 00 c400 81a161d40100'),
    'bytes after the record': hex('93 07 00 c400 00'),
  }
  for (const [name, body] of Object.entries(refused)) {
    t.throws(() => decodeResponseBatch(body), { name: 'LsxError', code: 'FRAME_INVALID', party: 'peer' }, name)
  }
})

t.test('more than 4,096 records are FRAME_INVALID', async (t) => {
  const one = hex('93 07 00 c400')
  t.equal(decodeResponseBatch(Buffer.alloc(one.length * MAX_RECORDS_PER_FRAME, one)).length, 4_096)
  t.throws(() => decodeResponseBatch(Buffer.alloc(one.length * (MAX_RECORDS_PER_FRAME + 1), one)), {
    code: 'FRAME_INVALID',
  })
})

t.test('64 KiB of records does not stall', async (t) => {
  const shapes: Record<string, Buffer> = {
    'many metas of many maps': Buffer.alloc(
      64_000,
      Buffer.concat([hex('94 07 00 c400 81a161 dc0400'), Buffer.alloc(1_024, 0x80)]),
    ),
    'many small records': Buffer.alloc(65_000, hex('93 07 00 c400')),
    'many empty metas': Buffer.alloc(65_536, hex('94 07 00 c400 80')),
  }
  for (const [name, body] of Object.entries(shapes)) {
    let bestMs = Number.POSITIVE_INFINITY
    for (let round = 0; round < 5; round++) {
      const startMs = performance.now()
      decodedOrInvalid(() => decodeResponseBatch(body))
      bestMs = Math.min(bestMs, performance.now() - startMs)
    }
    t.ok(bestMs < 20, `${name}: ${bestMs.toFixed(2)} ms`)
  }
})
