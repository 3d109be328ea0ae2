import t from 'tap'
import {
  createLogger,
  describeError,
  type Logger,
  type LogLevel,
  LsxError,
  silentLogger,
} from '../../lib/runtime/index.ts'

const SECRET = 's3cret-0123456789'

function captured(level: LogLevel = 'debug'): { logger: Logger; lines: string[]; last: () => Record<string, unknown> } {
  const lines: string[] = []
  const logger = createLogger({ name: 'lsd', level, destination: { write: (line) => lines.push(line) } })
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> }
}

t.test('a line is JSON: who, when, how bad, the facts and a sentence', async (t) => {
  const { logger, lines, last } = captured()
  logger.info({ bankCode: '044', durationMs: 3 }, 'channel connected')
  t.equal(lines.length, 1)
  t.match(lines[0], /^\{.*\}\n$/)
  t.match(last(), { name: 'lsd', level: 30, bankCode: '044', durationMs: 3, msg: 'channel connected' })
  t.match(last().time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  logger.child({ connection: 7 }).warn({}, 'x')
  t.match(last(), { connection: 7, level: 40 })
})

t.test('a level leaves out what is below it, silent everything', async (t) => {
  const { logger, lines } = captured('warn')
  logger.debug({}, 'x')
  logger.info({}, 'x')
  logger.warn({}, 'x')
  logger.error({}, 'x')
  logger.fatal({}, 'x')
  t.equal(lines.length, 3)
  const silent = captured('silent')
  silent.logger.fatal({}, 'x')
  t.strictSame(silent.lines, [])
  silentLogger.fatal({}, 'x')
})

t.test(
  'SEC-10 no field with the name of a secret is ever written, at whatever depth, in facts, bindings and errors',
  async (t) => {
    const { logger, lines, last } = captured()
    const names = [
      'key',
      'token',
      'payload',
      'secret',
      'privateKey',
      'password',
      'sessionKey',
      'accessToken',
      'clientSecret',
    ]
    for (const name of names) {
      const secret = { [name]: SECRET }
      logger.info(secret, 'at the top')
      t.equal(last()[name], '[redacted]', name)
      logger.info({ request: secret }, 'one down')
      logger.info({ a: { b: { c: { d: secret } } } }, 'four down')
      logger.info({ list: [{ inner: [secret] }] }, 'in lists')
      logger.info({ [name]: { deep: SECRET } }, 'an object of that name')
      logger.child(secret).info({}, 'bound')
      logger.child({ request: secret }).info({}, 'bound, one down')
      const inner = new LsxError('INTERNAL', 'inner', { facts: { ...secret, safe: 1 } })
      const error = new LsxError('BUSY', 'outer', { facts: secret, cause: new Error('middle', { cause: inner }) })
      logger.error({ error }, 'an error')
      logger.error({ error: describeError(error) }, 'an error that was described')
      t.match(last().error, { code: 'BUSY', cause: { cause: { code: 'INTERNAL', safe: 1 } } })
      logger.error({ service: 'x', failures: [error] }, 'errors in a list')
    }
    t.ok(lines.length >= names.length * 10)
    t.strictSame(
      lines.filter((line) => line.includes(SECRET)),
      [],
    )
  },
)

t.test('bytes are never written out: they may be a payload or a key under any name', async (t) => {
  const { logger, lines, last } = captured()
  const bytes = Buffer.from(SECRET)
  logger.info({ frame: bytes, nested: { view: new Uint8Array(bytes) }, list: [bytes] }, 'x')
  t.match(last(), { frame: '[17 bytes]', nested: { view: '[17 bytes]' }, list: ['[17 bytes]'] })
  logger.info({ error: new LsxError('FRAME_INVALID', 'x', { facts: { frame: bytes } }) }, 'x')
  for (const line of lines) t.notMatch(line, /115,51,99|s3cret|czNjcmV0/)
})

t.test('what is no secret passes: idempotency keys, codes, numbers, lists and the names of keys', async (t) => {
  const { logger, last } = captured()
  const facts = {
    idempotencyKey: 'k-1',
    keyFile: '/etc/tls.key',
    sessionId: 'ab',
    counts: { BUSY: 1 },
    list: [1, 'two', null, true],
    nothing: null,
    big: 2 ** 53,
    at: new Date(0),
  }
  logger.info(facts, 'x')
  t.match(last(), { ...facts, at: '1970-01-01T00:00:00.000Z' })
})

t.test('the facts that were handed in are not changed', async (t) => {
  const { logger } = captured()
  const facts = Object.freeze({ key: SECRET, inner: Object.freeze({ token: SECRET, n: 1 }) })
  logger.info(facts, 'x')
  t.strictSame(facts, { key: SECRET, inner: { token: SECRET, n: 1 } })
})

t.test('an error is described whole: code, party, facts and the chain of causes', async (t) => {
  const root = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  const error = new LsxError('CHANNEL_DOWN', 'cannot reach the bank', { cause: root, facts: { port: 7044 } })
  const described = describeError(error)
  t.match(described, {
    message: 'cannot reach the bank',
    code: 'CHANNEL_DOWN',
    party: 'network',
    port: 7044,
    cause: { name: 'Error', message: 'connect ECONNREFUSED', code: 'ECONNREFUSED', stack: /logger\.test/ },
  })
  t.notOk('stack' in described, 'an error of ours says enough without')
  t.match(describeError(new LsxError('INTERNAL', 'a defect')).stack, /logger\.test/, 'a defect does not')
  t.match(describeError('text'), { message: 'text' })
  t.match(describeError(undefined), { message: 'undefined' })
  t.match(describeError(Object.create(null)), { message: /./ })
  const { logger, last } = captured()
  logger.error({ error }, 'x')
  t.match(last().error, { code: 'CHANNEL_DOWN', port: 7044, cause: { code: 'ECONNREFUSED' } })
})

t.test('the facts of an error cannot take the place of what it is', async (t) => {
  const error = new LsxError('BUSY', 'the queue is full', {
    facts: { code: 'OTHER', message: 'other', party: 'nobody' },
  })
  t.match(describeError(error), { code: 'BUSY', message: 'the queue is full', party: 'peer' })
})

t.test('errors that happened together are all described', async (t) => {
  const both = new AggregateError([new Error('::1 refused'), new Error('127.0.0.1 refused')])
  t.match(describeError(both), { errors: [{ message: '::1 refused' }, { message: '127.0.0.1 refused' }] })
})

t.test('what has no end is described all the same: the report must not fail', async (t) => {
  const loop: Error & { cause?: unknown } = new Error('round')
  loop.cause = new Error('and', { cause: loop })
  t.match(describeError(loop), { message: 'round', cause: { message: 'and', cause: { message: 'round' } } })
  const facts: Record<string, unknown> = { name: 'me' }
  facts.self = facts
  const { logger, lines, last } = captured()
  logger.error({ error: new LsxError('INTERNAL', 'x', { facts, cause: loop }), facts, big: 1n }, 'x')
  t.equal(lines.length, 1)
  t.match(last(), { msg: 'x', error: { code: 'INTERNAL' } })
  logger.info(
    {
      get broken() {
        throw new Error('no')
      },
    },
    'y',
  )
  t.match(last(), { msg: 'y' })
})
