import t from 'tap'
import { formatLine, isBlankLine, parseLine, payloadFromJson } from '../../lib/ipc/human-form.ts'
import { encodePayload } from '../../lib/ipc/index.ts'
import { unpack } from './raw-client.ts'

t.test('a line is a JSON object', async (t) => {
  t.strictSame(parseLine(Buffer.from('{"op":"request","id":1}\r')), { op: 'request', id: 1 })
  for (const line of ['{"op":', '[1]', '"text"', 'null', '{} {}']) {
    t.throws(() => parseLine(Buffer.from(line)), { code: 'BAD_REQUEST' }, line)
  }
  t.throws(() => parseLine(Buffer.from([0x7b, 0xff, 0x7d])), { code: 'BAD_REQUEST' }, 'invalid UTF-8')
  t.equal(isBlankLine(Buffer.from(' \t\r')), true)
  t.equal(isBlankLine(Buffer.from(' {')), false)
})

t.test('a number that JSON.parse would change in silence is refused', async (t) => {
  for (const number of ['9007199254740993', '-9007199254740993', '1e999']) {
    t.throws(() => parseLine(Buffer.from(`{"payload":{"amountMinor":${number}}}`)), { code: 'BAD_REQUEST' }, number)
  }
  const exact = '{"payload":["9007199254740993","a\\"9007199254740993",9007199254740991,1.5,-0,1e3,"1e999"]}'
  t.equal((parseLine(Buffer.from(exact)).payload as unknown[]).length, 7)
})

t.test(
  'a name that stands twice in an object is refused: who checks and who uses it may read different ones',
  async (t) => {
    const twice = [
      '{"op":"request","op":"drain"}',
      '{"a":1,"payload":{"amount":1,"amount":2}}',
      '{"payload":[{"a":1},{"b":1 , "b" : 2}]}',
      '{"to":"044","\\u0074o":"058"}',
      '{"a":{"x":1},"a":2}',
      '{"__proto__":1,"__proto__":2}',
    ]
    for (const line of twice)
      t.throws(() => parseLine(Buffer.from(line)), { code: 'BAD_REQUEST', message: /twice/ }, line)
    const once = [
      '{"a":{"a":{"a":1}},"b":["a","a",{"a":1},{"a":2}]}',
      '{"a":"\\"b\\":1","b":"{\\"a\\":1}"}',
      '{"a":"x","x":"a"}',
      '{"":1,"a":["",":"]}',
    ]
    for (const line of once) t.strictSame(parseLine(Buffer.from(line)), JSON.parse(line), line)
  },
)

t.test('the payload becomes msgpack bytes', async (t) => {
  const message: Record<string, unknown> = { id: 1, payload: { amountMinor: 12_345_678_901, list: [1.5, 'ü', null] } }
  payloadFromJson(message)
  t.ok(Buffer.isBuffer(message.payload))
  t.match(unpack(message.payload as Buffer), { list: [1.5, 'ü', null] })
  const none = { id: 1 }
  payloadFromJson(none)
  t.strictSame(none, { id: 1 })
})

t.test('a JSON payload that is nested too deeply, or text that UTF-8 cannot carry, is refused', async (t) => {
  const deep = parseLine(Buffer.from(`{"payload":${'['.repeat(100_000)}${']'.repeat(100_000)}}`))
  t.throws(() => payloadFromJson(deep), { code: 'BAD_REQUEST' })
  t.throws(() => payloadFromJson(parseLine(Buffer.from('{"payload":"\\ud800"}'))), { code: 'BAD_REQUEST' })
})

t.test('a reply becomes a line of JSON', async (t) => {
  const payload = encodePayload({ balance: 5, large: 2n ** 63n, raw: Buffer.from('abc') })
  const line = formatLine({ id: 1, outcome: 'answered', payload })
  t.ok(line.endsWith('\n') && line.indexOf('\n') === line.length - 1)
  t.strictSame(JSON.parse(line), {
    id: 1,
    outcome: 'answered',
    payload: { balance: 5, large: '9223372036854775808', raw: 'YWJj' },
  })
  t.strictSame(JSON.parse(formatLine({ id: 1, payload: Buffer.from([0xc1]) })), { id: 1, payload: { base64: 'wQ==' } })
  t.strictSame(JSON.parse(formatLine({ id: 1, result: { sessionId: Buffer.from('ab') } })), {
    id: 1,
    result: { sessionId: 'YWI=' },
  })
})
