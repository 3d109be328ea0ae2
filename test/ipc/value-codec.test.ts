import t from 'tap'
import { decodePayload, encodePayload } from '../../lib/ipc/index.ts'
import { pack } from './raw-client.ts'

t.test('plain values survive', async (t) => {
  const values = [
    null,
    true,
    0,
    -1,
    2 ** 40,
    1.5,
    'text',
    'ü',
    [],
    [1, [2]],
    {},
    { a: { b: [null] } },
    Buffer.from('abc'),
  ]
  for (const value of values) t.strictSame(decodePayload(encodePayload(value)), value)
  t.strictSame(decodePayload(encodePayload(2n ** 63n)), 2n ** 63n)
  t.strictSame(decodePayload(encodePayload(undefined)), null)
  t.strictSame(decodePayload(encodePayload({ kept: 1, absent: undefined })), { kept: 1 })
  t.equal(encodePayload(5_000_000_000)[0], 0xd3, 'amounts over 32 bits stay integers for readers in other languages')
})

t.test('what is not plain is refused before it is sent', async (t) => {
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  for (const value of [
    new Date(),
    new Map(),
    new Set(),
    new Float32Array(2),
    cycle,
    () => 1,
    2n ** 70n,
    { at: new Date() },
  ]) {
    t.throws(() => encodePayload(value), { code: 'BAD_REQUEST' })
  }
})

t.test('bytes that are not one plain value are refused', async (t) => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from([0xc1]),
    Buffer.from([1, 2]),
    pack(new Date()),
    Buffer.from([0xa5, 1]),
  ]) {
    t.throws(() => decodePayload(bytes), { code: 'BAD_REQUEST' })
  }
})

t.test('a decoded payload does not alias its bytes', async (t) => {
  const bytes = encodePayload({ inner: Buffer.from('abc') })
  const { inner } = decodePayload(bytes) as { inner: Buffer }
  bytes.fill(0)
  t.equal(inner.toString(), 'abc')
})
