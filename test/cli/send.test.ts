import t from 'tap'
import { decodePayload, encodePayload, type Message } from '../../lib/ipc/index.ts'
import { createRecordingIo } from '../support/recording-io.ts'
import { startScriptedDaemon } from '../support/scripted-daemon.ts'

const UUID_V7 = /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/

function answered({ key }: Message): Message {
  return { outcome: 'answered', payload: encodePayload({ balanceMinor: 1_500 }), key, ms: 1.25 }
}

t.test('the answer for people: outcome, time, key, payload', async (t) => {
  const lsd = await startScriptedDaemon(t, { request: answered })
  const io = await lsd.run(['send', '044', 'balance', '{"account":"0123456789"}', '--key', 'k-1', '--timeout', '5s'])
  t.equal(io.out, 'answered in 1.25 ms, key k-1\n{\n  "balanceMinor": 1500\n}\n')
  t.equal(io.err, '')
  t.equal(io.exitCode, 0)
  const [{ payload, ...request } = {}] = lsd.asked
  t.strictSame(request, { op: 'request', to: '044', method: 'balance', key: 'k-1', timeoutMs: 5_000 })
  t.strictSame(decodePayload(payload as Buffer), { account: '0123456789' })
})

t.test('--json is one document; key and payload have defaults', async (t) => {
  const lsd = await startScriptedDaemon(t, { request: answered })
  const io = await lsd.run(['send', '044', 'balance', '--json'])
  const { key, ...result } = JSON.parse(io.out)
  t.match(key, UUID_V7)
  t.strictSame(result, {
    to: '044',
    method: 'balance',
    outcome: 'answered',
    ms: 1.25,
    payload: { balanceMinor: 1_500 },
  })
  t.strictSame(decodePayload(lsd.asked[0]?.payload as Buffer), {})
  t.match(lsd.asked[0], { timeoutMs: 30_000 })
})

t.test('- reads the payload from standard input', async (t) => {
  const lsd = await startScriptedDaemon(t, { request: answered })
  const io = await lsd.run(['send', '044', 'balance', '-'], { stdin: '{"name":"Ṣadé"}\n' })
  t.equal(io.exitCode, 0)
  t.strictSame(decodePayload(lsd.asked[0]?.payload as Buffer), { name: 'Ṣadé' })
  const garbled = await lsd.run(['send', '044', 'balance', '-'], { stdin: Buffer.from([0x22, 0xff, 0x22]) })
  t.equal(garbled.exitCode, 2)
  t.match(garbled.err, 'not UTF-8')
})

t.test('each outcome has its exit code, and says what may be done now', async (t) => {
  const cases: readonly { reply: Message; exitCode: number; out: RegExp; err: RegExp }[] = [
    {
      reply: { outcome: 'answered', code: 'HANDLER_FAILED', payload: encodePayload({ code: 'ACCOUNT_UNKNOWN' }) },
      exitCode: 1,
      out: /^answered \(HANDLER_FAILED\) in 2 ms, key k\n\{\n {2}"code": "ACCOUNT_UNKNOWN"\n\}\n$/,
      err: /^$/,
    },
    {
      reply: { outcome: 'refused', code: 'UNKNOWN_BANK', message: 'no bank 999 is configured here' },
      exitCode: 3,
      out: /^refused \(UNKNOWN_BANK\) in 2 ms, key k\nno bank 999 is configured here\n$/,
      err: /^lsctl: nothing was done: it may be sent again; lsctl status lists the banks\n$/,
    },
    {
      reply: { outcome: 'not-sent', code: 'DEADLINE_EXCEEDED', message: 'the deadline passed while it waited' },
      exitCode: 4,
      out: /^not-sent \(DEADLINE_EXCEEDED\)/,
      err: /^lsctl: nothing was done: it may be sent again\n$/,
    },
    {
      reply: { outcome: 'in-doubt', code: 'IN_DOUBT', message: 'no answer came before the deadline' },
      exitCode: 5,
      out: /^in-doubt \(IN_DOUBT\)/,
      err: /send the same again with --key k, and with no other\n$/,
    },
  ]
  for (const { reply, exitCode, out, err } of cases) {
    const lsd = await startScriptedDaemon(t, { request: ({ key }) => ({ ...reply, key, ms: 2 }) })
    const people = await lsd.run(['send', '999', 'balance', '--key', 'k'])
    t.match(people.out, out)
    t.match(people.err, err)
    t.equal(people.exitCode, exitCode)
    const scripts = await lsd.run(['--json', 'send', '999', 'balance', '--key', 'k'])
    const { payload: _, ...facts } = reply
    t.match(JSON.parse(scripts.out), { ...facts, to: '999', key: 'k', ms: 2 })
    t.equal(scripts.err, '')
    t.equal(scripts.exitCode, exitCode)
    await lsd.stop()
  }
})

t.test('LS-10 a request that waits for its key says so on standard error', async (t) => {
  const lsd = await startScriptedDaemon(t, {
    request: (message, connection) => {
      connection.reply({ id: message.id, outcome: 'pending', code: 'KEY_PENDING', key: message.key, ms: 0 })
      return answered(message)
    },
  })
  const people = await lsd.run(['send', '044', 'balance', '--key', 'k'])
  t.equal(people.err, 'pending (KEY_PENDING), key k\n')
  t.match(people.out, /^answered in/)
  t.equal(people.exitCode, 0)
  const scripts = await lsd.run(['send', '044', 'balance', '--key', 'k', '--json'])
  t.strictSame(JSON.parse(scripts.err), { outcome: 'pending', code: 'KEY_PENDING', key: 'k' })
  t.match(JSON.parse(scripts.out), { outcome: 'answered' })
})

t.test('a connection that is lost leaves the request in doubt, with the key to ask again', async (t) => {
  const lsd = await startScriptedDaemon(t, {
    request: (_, connection) => {
      connection.close()
      return undefined
    },
  })
  const io = await lsd.run(['send', '044', 'transfer', '--json'])
  const { key, ...result } = JSON.parse(io.out)
  t.match(key, UUID_V7)
  t.match(result, { outcome: 'in-doubt', code: 'IN_DOUBT', message: /connection to lsd lost/ })
  t.equal(io.exitCode, 5)
})

t.test('Ctrl-C leaves the request in doubt, with the key to ask again', async (t) => {
  const ctrlC = new AbortController()
  const lsd = await startScriptedDaemon(t, {
    request: ({ id, key }, connection) => {
      connection.reply({ id, outcome: 'pending', code: 'KEY_PENDING', key, ms: 0 })
      return undefined
    },
  })
  const io = createRecordingIo({ interrupt: ctrlC.signal })
  const running = lsd.runWith(io, ['send', '044', 'transfer', '--key', 'k'])
  await io.untilErr(/pending/)
  ctrlC.abort()
  await running
  t.match(io.out, /^in-doubt \(IN_DOUBT\) in \d+ ms, key k\ninterrupted before the answer\n$/)
  t.match(io.err, '--key k')
  t.equal(io.exitCode, 5)
})

t.test('a payload that no message can hold is refused, and nothing is sent', async (t) => {
  const lsd = await startScriptedDaemon(t, { request: answered })
  const io = await lsd.run(['send', '044', 'balance', '-', '--json'], { stdin: JSON.stringify('x'.repeat(2_097_152)) })
  t.match(JSON.parse(io.out), { outcome: 'refused', code: 'TOO_LARGE' })
  t.equal(io.exitCode, 3)
  t.strictSame(lsd.asked, [])
})

t.test('wrong use is told before anything is sent', async (t) => {
  const lsd = await startScriptedDaemon(t, { request: answered })
  for (const line of [
    ['send', '044'],
    ['send', '0 44', 'balance'],
    ['send', '044', 'bal ance'],
    ['send', '044', 'balance', '{'],
    ['send', '044', 'balance', '{"amountMinor":9007199254740993}'],
    ['send', '044', 'balance', '{"__proto__":1}'],
    ['send', '044', 'balance', '--key', ''],
    ['send', '044', 'balance', '--key', 'x'.repeat(65)],
    ['send', '044', 'balance', '--timeout', '5'],
    ['send', '044', 'balance', '--timeout', '11m'],
    ['send', '044', 'balance', '{}', 'more'],
  ]) {
    const io = await lsd.run(line)
    t.equal(io.exitCode, 2, line.join(' '))
    t.match(io.err, /^lsctl: .+ \(BAD_REQUEST\)\n$/)
    t.equal(io.out, '')
  }
  t.strictSame(lsd.asked, [])
})

t.test("a bank's words cannot command the terminal", async (t) => {
  const hostile = '\u001b[2J\u009b\u202e\r'
  const lsd = await startScriptedDaemon(t, {
    request: ({ key }) => ({
      outcome: 'answered',
      code: 'HANDLER_FAILED',
      message: hostile,
      payload: encodePayload({ [hostile]: hostile }),
      key,
      ms: 1,
    }),
  })
  for (const line of [
    ['send', '044', 'balance'],
    ['send', '044', 'balance', '--json'],
  ]) {
    const io = await lsd.run(line)
    t.notMatch(io.out.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u)
  }
})

t.test('an answer that is not msgpack is shown as its bytes', async (t) => {
  const lsd = await startScriptedDaemon(t, {
    request: ({ key }) => ({ outcome: 'answered', payload: Buffer.from('hello'), key, ms: 1 }),
  })
  t.match(JSON.parse((await lsd.run(['send', '044', 'x', '--json'])).out), { payload: { base64: 'aGVsbG8=' } })
})
