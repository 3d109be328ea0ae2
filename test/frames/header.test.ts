import fc from 'fast-check'
import t from 'tap'
import {
  DEFAULT_MAX_FRAME_BYTES,
  FrameType,
  HEADER_BYTES,
  LARGEST_MAX_FRAME_BYTES,
  PROTOCOL_VERSION,
  readHeader,
  TAG_BYTES,
  writeHeader,
} from '../../lib/frames/index.ts'
import { decodedOrInvalid } from '../support/frame-arbitraries.ts'

t.test('the constants of the wire are those of version 1', async (t) => {
  t.equal(PROTOCOL_VERSION, 1)
  t.equal(HEADER_BYTES, 12)
  t.equal(TAG_BYTES, 16)
  t.equal(DEFAULT_MAX_FRAME_BYTES, 64 * 1024)
  t.equal(LARGEST_MAX_FRAME_BYTES, 1024 * 1024)
  t.strictSame(FrameType, { kx: 1, request: 2, response: 3, echo: 4, echoReply: 5, control: 6 })
})

t.test('a header has one byte layout', async (t) => {
  const target = Buffer.alloc(14, 0xaa)
  writeHeader(target, { type: FrameType.response, epoch: 0x0102, sequence: 0x1f_0304_0506_0708 })
  t.equal(target.toString('hex'), '01030102001f030405060708aaaa')
  t.strictSame(readHeader(target), { type: 3, epoch: 0x0102, sequence: 0x1f_0304_0506_0708 })
})

t.test('a header round trips', async (t) => {
  const header = fc.record({
    type: fc.constantFrom(...Object.values(FrameType)),
    epoch: fc.nat(0xffff),
    sequence: fc.maxSafeNat(),
  })
  const target = Buffer.alloc(HEADER_BYTES)
  fc.assert(
    fc.property(header, (header) => {
      writeHeader(target, header)
      const read = readHeader(target)
      return read.type === header.type && read.epoch === header.epoch && read.sequence === header.sequence
    }),
  )
  writeHeader(target, { type: FrameType.kx, epoch: 0xffff, sequence: Number.MAX_SAFE_INTEGER })
  t.equal(readHeader(target).sequence, Number.MAX_SAFE_INTEGER)
})

t.test('a header that breaks the protocol is FRAME_INVALID', async (t) => {
  const valid = Buffer.from('010200010000000000000005', 'hex')
  t.equal(readHeader(valid).sequence, 5)
  for (let length = 0; length < HEADER_BYTES; length++) {
    t.throws(() => readHeader(valid.subarray(0, length)), { code: 'FRAME_INVALID', party: 'peer' }, `${length} bytes`)
  }
  for (const hex of [
    '000200010000000000000005',
    '020200010000000000000005',
    '010000010000000000000005',
    '010700010000000000000005',
    '01ff00010000000000000005',
    '010200010020000000000000',
    '01020001ffffffffffffffff',
  ]) {
    t.throws(() => readHeader(Buffer.from(hex, 'hex')), { code: 'FRAME_INVALID' }, hex)
  }
})

t.test('any 12 bytes are the header that they encode, or FRAME_INVALID', async (t) => {
  const again = Buffer.alloc(HEADER_BYTES)
  const bytes = fc.uint8Array({ minLength: HEADER_BYTES, maxLength: HEADER_BYTES }).map((bytes) => Buffer.from(bytes))
  const likely = bytes.map((bytes) => {
    bytes.set([1, (bytes[1] as number) % 8], 0)
    bytes.set([0, (bytes[5] as number) & 0x3f], 4)
    return bytes
  })
  fc.assert(
    fc.property(fc.oneof(bytes, likely), (bytes) => {
      const header = decodedOrInvalid(() => readHeader(bytes))
      if (header === undefined) return true
      writeHeader(again, header)
      return again.equals(bytes)
    }),
    { numRuns: 1_000 },
  )
  t.pass('no other error, no other values')
})

t.test('a header field out of range is not written', async (t) => {
  const target = Buffer.alloc(HEADER_BYTES)
  const good = { type: FrameType.echo, epoch: 1, sequence: 1 }
  for (const bad of [
    { ...good, epoch: 0x1_0000 },
    { ...good, epoch: -1 },
    { ...good, epoch: 1.5 },
    { ...good, sequence: -1 },
    { ...good, sequence: 2 ** 53 },
    { ...good, sequence: 0.5 },
    { ...good, sequence: Number.NaN },
    { ...good, type: 7 as FrameType },
    { ...good, type: 0 as FrameType },
  ]) {
    t.throws(() => writeHeader(target, bad), { code: 'INTERNAL' })
  }
  t.throws(() => writeHeader(Buffer.alloc(11), good), { code: 'INTERNAL' })
  t.ok(target.equals(Buffer.alloc(HEADER_BYTES)), 'nothing was written')
})
