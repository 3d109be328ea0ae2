import { pack, unpack } from 'msgpackr'
import t from 'tap'
import { scanValue } from '../../lib/frames/index.ts'
import { PayloadCodec } from '../../lib/xchange/payload.ts'
import { toPlainValue } from '../../lib/xchange/plain-value.ts'

const codec = new PayloadCodec()

t.test('values survive the way there and back', async (t) => {
  const value = {
    text: 'ünïcödé',
    whole: 2 ** 53 - 1,
    negative: -12,
    part: 0.25,
    yes: true,
    none: null,
    list: [1, [2, { deep: 'x' }]],
    bytes: Buffer.from([0, 255]),
    large: 2n ** 63n,
  }
  t.same(codec.decode(codec.encode(value), undefined), value)
  t.equal(codec.decode(Buffer.alloc(0), undefined), undefined)
})

t.test('a 64-bit integer is a number where that is exact', async (t) => {
  t.equal(codec.decode(Buffer.from('cf00000000000f4240', 'hex'), undefined), 1_000_000)
  t.equal(codec.decode(Buffer.from('d3fffffffffff0bdc0', 'hex'), undefined), -1_000_000)
  t.equal(codec.decode(Buffer.from('cfffffffffffffffff', 'hex'), undefined), 2n ** 64n - 1n)
})

t.test('bytes do not alias the frame that they came in', async (t) => {
  const frame = codec.encode({ bytes: Buffer.from('before') })
  const value = codec.decode(frame, undefined)
  frame.fill(0)
  t.same(value, { bytes: Buffer.from('before') })
})

t.test('an encoded value is not overwritten by the next', async (t) => {
  const first = codec.encode('first')
  const copy = Buffer.from(first)
  for (let n = 0; n < 2_000; n++) codec.encode({ n, text: 'x'.repeat(100) })
  t.same(first, copy)
})

t.test('what msgpackr has extensions for is refused from outside', async (t) => {
  for (const value of [new Date(), new Map([[1, 2]]), undefined]) {
    t.throws(() => codec.decode(pack(value), undefined), { code: 'BAD_REQUEST' })
  }
  t.throws(
    () => codec.decode(Buffer.from('d4720190', 'hex'), undefined),
    { code: 'BAD_REQUEST' },
    'a record definition',
  )
  t.equal(Object.hasOwn(Object.prototype, 'polluted'), false)
})

t.test('64 KiB of empty maps are refused before msgpackr stalls on them', async (t) => {
  const maps = Buffer.alloc(65_000, 0x80)
  maps.writeUInt8(0xdc, 0)
  maps.writeUInt16BE(maps.byteLength - 3, 1)
  t.throws(() => codec.decode(maps, undefined), { code: 'BAD_REQUEST' })
  t.equal(scanValue(maps, 0, { maxDepth: 16, maxElements: 100_000 }), maps.byteLength, 'else they are well-formed')
})

t.test('what a handler returns leaves as plain msgpack', async (t) => {
  class Amount {
    readonly #minor = 12n
    toJSON() {
      return { minor: Number(this.#minor) }
    }
  }
  const bytes = codec.encode({
    at: new Date(0),
    map: new Map<unknown, unknown>([
      [1, 'one'],
      ['two', 2],
    ]),
    set: new Set([1, 2]),
    amount: new Amount(),
    huge: 2n ** 70n,
    error: new RangeError('out'),
    half: 'x\ud800',
    nothing: undefined,
    run: () => 1,
    list: [undefined, new Date(1)],
  })
  t.equal(scanValue(bytes, 0), bytes.byteLength)
  t.same(unpack(bytes), {
    at: '1970-01-01T00:00:00.000Z',
    map: { 1: 'one', two: 2 },
    set: [1, 2],
    amount: { minor: 12 },
    huge: '1180591620717411303424',
    error: { name: 'RangeError', message: 'out' },
    half: 'x\ufffd',
    list: [null, '1970-01-01T00:00:00.001Z'],
  })
})

t.test('what cannot be carried is an error and no stall', async (t) => {
  const wide: unknown[] = []
  for (let n = 0; n < 10; n++) wide.push(wide)
  t.throws(() => codec.encode(wide))
  let deep: unknown = new Date()
  for (let n = 0; n < 20; n++) deep = [deep]
  t.throws(() => codec.encode(deep), { message: /deeper than 16/ })
})

t.test('JSON knows no bytes and no big integers', async (t) => {
  t.same(toPlainValue({ bytes: Buffer.from('hi'), big: 2n ** 60n, list: [1n], none: undefined }, 'json'), {
    bytes: 'aGk=',
    big: '1152921504606846976',
    list: ['1'],
  })
})
