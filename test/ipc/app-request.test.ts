import t from 'tap'
import { newIdempotencyKey, parseRequest, refusalOf } from '../../lib/ipc/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const payload = Buffer.from([0x80])
const request = { op: 'request', id: 7, to: '044', method: 'accounts/balance.v1', payload }

t.test('a complete request', async (t) => {
  const full = { ...request, key: 'k-1', timeoutMs: 5000, durable: true, late: true, token: 'aa.bb.cc' }
  const { op: _, ...fields } = full
  t.strictSame(parseRequest(full), fields)
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
