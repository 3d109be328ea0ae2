import t from 'tap'
import { newIdempotencyKey, parseRequest, refusalOf } from '../../lib/ipc/index.ts'
import { IlpSecret, makePair } from '../../lib/message/ilp/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const payload = Buffer.from([0x80])
const request = { op: 'request', id: 7, to: '044', method: 'accounts/balance.v1', payload }

t.test('a complete request', async (t) => {
  const full = {
    ...request,
    key: 'k-1',
    timeoutMs: 5000,
    durable: true,
    late: true,
    token: 'aa.bb.cc',
    type: 'application/jose',
  }
  const { op: _, ...fields } = full
  t.strictSame(parseRequest(full), { ...fields, ilp: undefined })
})

t.test('defaults: thirty seconds and a new UUIDv7 as key', async (t) => {
  const parsed = parseRequest({ ...request, timeoutMs: null, key: undefined })
  t.equal(parsed.timeoutMs, 30_000)
  t.match(parsed.key, UUID_V7)
  t.equal(parsed.durable, undefined)
  t.not(parseRequest(request).key, parsed.key)
})

t.test('each field is checked and named', async (t) => {
  const bad: [string, unknown[]][] = [
    ['id', [undefined, -1, 1.5, '', 'x'.repeat(65), 2 ** 53, 10n, {}]],
    ['to', [undefined, '', 'x'.repeat(33), 'no spaces', '04/4', 44]],
    ['method', [undefined, '', 'x'.repeat(65), 'bal ance', 'ü']],
    ['payload', [undefined, 'text', {}]],
    ['key', ['', 'x'.repeat(65), 'ü'.repeat(33), '\ud800', 5]],
    ['timeoutMs', [0, -1, 1.5, 600_001, '5s', Number.NaN]],
    ['durable', ['yes', 1]],
    ['token', ['', 'a.b', 'a.b.c.d', 'a.b.c=', 'a.b.c\n', `a.b.${'c'.repeat(4_093)}`, 5, {}]],
    ['timeoutMS', [5000]],
  ]
  for (const [path, values] of bad) {
    for (const value of values) {
      const error = thrownBy(() => parseRequest({ ...request, [path]: value }))
      t.match(error, { code: 'BAD_REQUEST', facts: { path } }, `${path} ${String(value)}`)
      t.ok(error.message.startsWith(`${path}: `))
    }
  }
})

t.test('keys are UUIDv7: unique, in the order of time', async (t) => {
  const keys = Array.from({ length: 1000 }, newIdempotencyKey)
  t.equal(new Set(keys).size, 1000)
  for (const key of keys) if (!UUID_V7.test(key)) t.fail(key)
  const ageMs = Date.now() - Number.parseInt((keys[0] as string).replaceAll('-', '').slice(0, 12), 16)
  t.ok(ageMs >= 0 && ageMs < 60_000)
})

t.test('a refusal has the shape of the operation, and keeps what failed inside to itself', async (t) => {
  const error = new LsxError('BUSY', 'full')
  t.strictSame(refusalOf({ op: 'request', id: 1, key: 'k' }, error), {
    id: 1,
    outcome: 'refused',
    key: 'k',
    code: 'BUSY',
    message: 'full',
  })
  t.strictSame(refusalOf({ op: 'status', id: 'a' }, error), { id: 'a', ok: false, code: 'BUSY', message: 'full' })
  t.strictSame(refusalOf({ id: -1 }, error), { outcome: 'refused', code: 'BUSY', message: 'full' })
  t.notMatch(refusalOf({ id: 1 }, new LsxError('INTERNAL', 'at /var/lib/lsx')).message, '/var')
})

function thrownBy(run: () => unknown): LsxError {
  try {
    run()
  } catch (error) {
    if (error instanceof LsxError) return error
  }
  throw new Error('nothing was thrown')
}

t.test('SEC-6 ilp: a packet and its condition, as bytes or base64url, or the terms of one', async (t) => {
  const { packet, condition } = makePair(
    { version: 4, amount: 7n, destination: 'g.bank', expiresAtMs: 4e12, transaction: '{}' },
    new IlpSecret(Buffer.alloc(32, 1)),
  )
  for (const ilp of [
    { packet, condition },
    { packet: packet.toString('base64url'), condition: condition.toString('base64url'), expiresAt: null },
  ]) {
    t.match(parseRequest({ ...request, ilp }).ilp, { kind: 'brought', prepare: { condition, expiresAtMs: 4e12 } })
  }
  t.match(parseRequest({ ...request, ilp: {} }).ilp, { kind: 'ordered', amount: undefined })
  for (const amount of [0, '18446744073709551615', 5n]) {
    const ilp = { amount, currency: 'NGN', destination: 'g.a.b', expiresInMs: 1_000 }
    t.match(parseRequest({ ...request, ilp }).ilp, { kind: 'ordered', amount: BigInt(amount), currency: 'NGN' })
  }
  for (const ilp of [
    1,
    [],
    packet,
    { packet },
    { condition },
    { packet: `${packet.toString('base64url')}=`, condition },
    { packet: 'x'.repeat(100_000), condition },
    { packet, condition, amount: 1 },
    { amount: 1.5 },
    { amount: -1 },
    { amount: '1e3' },
    { amount: '18446744073709551616' },
    { currency: 'naira' },
    { destination: 'bank' },
    { expiresInMs: 0 },
    { expiry: 1 },
  ]) {
    t.throws(() => parseRequest({ ...request, ilp }), { code: 'BAD_REQUEST' })
  }
})

t.test('type: a media type', async (t) => {
  for (const type of ['', 'a b', 'x'.repeat(200), 'a/b/c', 7]) {
    t.throws(() => parseRequest({ ...request, type }), { code: 'BAD_REQUEST' }, String(type))
  }
})
