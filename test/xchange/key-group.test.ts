import fc from 'fast-check'
import t from 'tap'
import { ResponseStatus } from '../../lib/frames/index.ts'
import { changesOf, type KeyChange, KeyGroupWriter, keysOf, recordIn } from '../../lib/xchange/key-group.ts'

const PLAIN = { noNullPrototype: true } as const
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))
const key = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 16 })
const place = fc.record(
  { high: fc.integer({ min: 0, max: 0xffffffff }), low: fc.integer({ min: 0, max: 0xffffffff }) },
  PLAIN,
)
const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array))
const atMs = fc.integer({ min: 0, max: 2 ** 45 })
const response = fc.record(
  {
    status: fc.constantFrom(...Object.values(ResponseStatus)),
    payload: bytes(20_000),
    meta: fc.option(bytes(300), { nil: undefined }),
  },
  PLAIN,
)
const change: fc.Arbitrary<KeyChange> = fc.oneof(
  fc.record({ kind: fc.constant('begun' as const), key, record: fc.record({ digest, atMs }, PLAIN) }, PLAIN),
  fc.record(
    {
      kind: fc.constant('finished' as const),
      key,
      record: fc.record({ digest, atMs, response }, PLAIN),
      from: place,
    },
    PLAIN,
  ),
  fc.record({ kind: fc.constant('released' as const), key, from: place }, PLAIN),
)

function write(writer: KeyGroupWriter, changes: readonly KeyChange[]) {
  for (const each of changes) {
    if (each.kind === 'begun') writer.begun(each.key, each.record)
    else if (each.kind === 'released') writer.released(each.key, each.from)
    else if (each.record.response !== undefined) writer.finished(each.key, each.record, each.record.response, each.from)
  }
  const { group, names } = writer.take()
  return { group: Buffer.from(group), names: names === undefined ? undefined : Buffer.from(names) }
}

t.test('what is written is read, group after group', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.array(change, { minLength: 1, maxLength: 20 }), { maxLength: 4 }), (groups) => {
      const writer = new KeyGroupWriter()
      for (const changes of groups) {
        const { group, names } = write(writer, changes)
        t.strictSame([...changesOf(group)], changes)
        const begun = changes.filter(({ kind }) => kind === 'begun').map((each) => each.key)
        t.strictSame(names === undefined ? [] : keysOf(names), begun)
      }
    }),
    { numRuns: 100 },
  )
})

t.test('the last word on a key counts', async (t) => {
  const digest = Buffer.alloc(32, 1)
  const from = { high: 1, low: 2 }
  const response = { status: ResponseStatus.ok, payload: Buffer.from('paid'), meta: undefined }
  const { group } = write(new KeyGroupWriter(), [
    { kind: 'begun', key: 'a', record: { digest, atMs: 1 } },
    { kind: 'begun', key: 'b', record: { digest, atMs: 1 } },
    { kind: 'finished', key: 'a', record: { digest, atMs: 2, response }, from },
    { kind: 'released', key: 'b', from },
  ])
  t.same(recordIn(group, 'a'), { digest, atMs: 2, response })
  t.equal(recordIn(group, 'b'), undefined)
  t.equal(recordIn(group, 'c'), undefined)
})

t.test('bytes that are no group are refused', async (t) => {
  const record = {
    digest: Buffer.alloc(32),
    atMs: 1,
    response: { status: 0, payload: Buffer.alloc(9), meta: undefined },
  }
  const { group } = write(new KeyGroupWriter(), [
    { kind: 'finished', key: 'key', record: record as never, from: { high: 1, low: 2 } },
  ])
  for (let length = 1; length < group.length; length++) {
    t.throws(() => [...changesOf(group.subarray(0, length))], { name: 'RangeError' }, `${length} bytes`)
  }
  t.throws(() => [...changesOf(Buffer.from([9, 1, 0x61]))], { message: /unknown change/ })
  const status = Buffer.from(group)
  status[1 + 4 + 8 + 32 + 8] = 77
  t.throws(() => [...changesOf(status)], { message: /unknown status/ })
})
