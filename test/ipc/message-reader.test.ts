import fc from 'fast-check'
import { Packr, Unpackr } from 'msgpackr'
import t from 'tap'
import { scanValue } from '../../lib/frames/index.ts'
import type { Message } from '../../lib/ipc/message.ts'
import { MessageReader } from '../../lib/ipc/message-reader.ts'
import { MessageWriter } from '../../lib/ipc/message-writer.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { pack } from './raw-client.ts'

const LIMITS = { maxDepth: 16, maxElements: 4096 }

function read(block: Buffer): Message[] {
  const messages: Message[] = []
  new MessageReader({ limits: LIMITS, receive: (message) => void messages.push(message) }).readBlock(block)
  return messages
}

function write(...messages: Message[]): Buffer {
  const writer = new MessageWriter(4)
  for (const message of messages) writer.appendMessage(message)
  return writer.take(writer.byteLength).subarray(4)
}

const scalar = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 90 }),
  fc.string({ maxLength: 70 }),
  fc.integer(),
  fc.nat(),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }),
  fc.boolean(),
  fc.constant(null),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
)
const name = fc.string({ unit: 'grapheme', maxLength: 70 }).filter((text) => text !== '__proto__')
const value = fc.oneof(
  { weight: 5, arbitrary: scalar },
  fc.array(scalar, { maxLength: 4 }),
  fc.dictionary(name, scalar, { maxKeys: 4, noNullPrototype: true }),
)
const message = fc.dictionary(name, value, { maxKeys: 20, noNullPrototype: true })

t.test('what is written is read, any number of messages back to back', async (t) => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 5 }), (messages) => {
      const received = read(write(...messages))
      t.strictSame(plain(received), plain(messages))
      t.matchOnly(received.length, messages.length)
    }),
    { numRuns: 300 },
  )
})

t.test('the hand-written reader accepts and refuses exactly what the scan does', async (t) => {
  const unpackr = new Unpackr({ useRecords: false, int64AsType: 'auto' } as never)
  const check = (bytes: Buffer): void => {
    const expected = outcomeOf(() => {
      const messages: unknown[] = []
      for (let start = 0; start < bytes.length; ) {
        const lead = bytes[start] as number
        if ((lead & 0xf0) !== 0x80 && lead !== 0xde && lead !== 0xdf) throw new LsxError('FRAME_INVALID', 'no map')
        const end = scanValue(bytes, start, LIMITS)
        messages.push(unpackr.unpack(bytes.subarray(start, end)))
        start = end
      }
      return messages
    })
    const actual = outcomeOf(() => read(bytes))
    if (expected instanceof LsxError || actual instanceof LsxError) {
      t.ok(expected instanceof LsxError && actual instanceof LsxError, `both refuse ${bytes.toString('hex')}`)
      t.equal((actual as LsxError).code, 'BAD_REQUEST')
    } else {
      t.strictSame(plain(actual), plain(expected), bytes.toString('hex'))
    }
  }
  const packr = new Packr({ useRecords: false })
  const sample = packr.pack({
    op: 'request',
    id: 70_000,
    to: '044',
    payload: Buffer.from([1, 2, 3]),
    durable: true,
    name: 'ü',
    nested: { list: [1] },
    ms: 1.5,
  })
  for (let cut = 0; cut <= sample.length; cut++) check(Buffer.from(sample.subarray(0, cut)))
  for (let bit = 0; bit < sample.length * 8; bit++) {
    const flipped = Buffer.from(sample)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    check(flipped)
  }
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => check(Buffer.from(bytes))),
    { numRuns: 500 },
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => check(Buffer.concat([Buffer.from([0x82, 0xa1]), bytes]))),
    { numRuns: 500 },
  )
})

t.test('app input that msgpackr would take and a daemon must not', async (t) => {
  const cases: [string, Buffer][] = [
    ['a key twice', Buffer.from([0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2])],
    ['a key that is a number', Buffer.from([0x81, 1, 1])],
    ['a key that is a long number', Buffer.from([0x81, 0xcd, 1, 1, 1])],
    ['__proto__', Buffer.concat([Buffer.from([0x81, 0xa9]), Buffer.from('__proto__'), Buffer.from([1])])],
    ['an extension', pack({ at: new Date() })],
    ['a Set', new Packr({ moreTypes: true, useRecords: false }).pack({ set: new Set([1]) })],
    ['a record definition', new Packr({ useRecords: true }).pack({ a: 1 })],
    ['invalid UTF-8', Buffer.from([0x81, 0xa1, 0x61, 0xa2, 0xc3, 0x28])],
    ['the reserved byte', Buffer.from([0x81, 0xa1, 0x61, 0xc1])],
    ['an array', pack([1, 2])],
    ['seventeen levels', pack(nested(17))],
    ['five thousand elements', pack({ list: new Array(5000).fill(0) })],
  ]
  for (const [what, bytes] of cases) t.throws(() => read(bytes), { code: 'BAD_REQUEST' }, what)
  t.same(Object.keys(read(pack({ constructor: 1, toString: 2 }))[0] as Message), ['constructor', 'toString'])
})

t.test('messages before a bad one have been received', async (t) => {
  const received: Message[] = []
  const reader = new MessageReader({ limits: LIMITS, receive: (message) => void received.push(message) })
  t.throws(() => reader.readBlock(Buffer.concat([pack({ id: 1 }), Buffer.from([0xc1])])), { code: 'BAD_REQUEST' })
  t.strictSame(received, [{ id: 1 }])
})

t.test('bytes read do not alias the block', async (t) => {
  const block = pack({ payload: Buffer.from('abc'), nested: { bytes: Buffer.from('def') } })
  const [message] = read(block) as [{ payload: Buffer; nested: { bytes: Buffer } }]
  block.fill(0)
  t.equal(message.payload.toString(), 'abc')
  t.equal(message.nested.bytes.toString(), 'def')
})

t.test('a message is read the same whatever was read before it', async (t) => {
  const value = fc.oneof(
    fc.constantFrom('same', 'sane', '', 'é', 'x'.repeat(64), 'x'.repeat(65)),
    fc.integer({ min: 0, max: 70_000 }),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  )
  const message = fc.oneof(
    fc.record({ id: value, op: value, key: value }),
    fc.record({ id: value, key: value, op: value }),
    fc.dictionary(fc.constantFrom('id', 'op', 'key', 'é', 'x'.repeat(40)), value, { noNullPrototype: true }),
  )
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 8 }), fc.boolean(), (messages, together) => {
      const bytes = messages.map((each) => pack(each))
      const received: Message[] = []
      const reader = new MessageReader({ limits: LIMITS, receive: (each) => void received.push(each) })
      for (const block of together ? [Buffer.concat(bytes)] : bytes) reader.readBlock(block)
      t.strictSame(received.map(plain), bytes.flatMap((block) => read(block)).map(plain))
    }),
    { numRuns: 300 },
  )
})

t.test('a message cut short is broken whatever was read before it', async (t) => {
  const whole = pack({ op: 'request', id: 70_000, to: '044', payload: Buffer.alloc(300, 1), ms: 0.5 })
  const reader = new MessageReader({ limits: LIMITS, receive: () => {} })
  reader.readBlock(whole)
  for (let length = 1; length < whole.length; length++) {
    t.throws(() => reader.readBlock(Buffer.from(whole.subarray(0, length))), { code: 'BAD_REQUEST' }, `${length} bytes`)
  }
})

function outcomeOf(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    if (error instanceof LsxError) return error
    throw error
  }
}

/** Comparable: bytes as hex. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString('hex')}`
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]))
  }
  return value
}

function nested(levels: number): Message {
  let value: Message = {}
  for (let level = 1; level < levels; level++) value = { v: value }
  return value
}
