import fc from 'fast-check'
import t from 'tap'
import { paddedPayload } from '../../lib/cli/closed-loop.ts'
import { runProgram } from '../../lib/cli/index.ts'
import { decodePayload, encodePayload, type Message } from '../../lib/ipc/index.ts'
import { testBed } from '../support/daemons.ts'
import { createRecordingIo, type RecordingIoOptions } from '../support/recording-io.ts'
import { startScriptedDaemon } from '../support/scripted-daemon.ts'

const SHORT = ['--seconds', '0.2', '--concurrency', '4']

function echoed({ key, payload }: Message): Message {
  return { outcome: 'answered', payload, key, ms: 1 }
}

t.test('against a real LS and a real bank: figures for scripts and for people', async (t) => {
  const bed = await testBed(t, { banks: [{ code: '044', dial: 'ls' }] })
  const { ls } = await bed.startAll()
  const bench = async (line: readonly string[], options: RecordingIoOptions = {}) => {
    const io = createRecordingIo(options)
    await runProgram(io, ['bench', ...line, '--runtime-dir', ls.appSocket.replace(/\/ls\.sock$/, '')], '1.2.3')
    return io
  }

  const scripts = await bench(['044', ...SHORT, '--body', '256', '--json'])
  t.equal(scripts.err, '')
  t.equal(scripts.exitCode, 0)
  const { latencyMs, ...result } = JSON.parse(scripts.out)
  t.match(result, {
    bankCode: '044',
    method: 'echo',
    concurrency: 4,
    bodyBytes: 256,
    answered: Number,
    requestsPerSecond: Number,
    failed: 0,
    failures: [],
    interrupted: false,
  })
  t.ok(result.answered > 0 && result.requestsPerSecond > 0)
  t.ok(latencyMs.p50 > 0 && latencyMs.p50 <= latencyMs.p99 && latencyMs.p99 <= latencyMs.max)

  const people = await bench(['044', ...SHORT, '--durable'])
  t.equal(people.exitCode, 0)
  t.match(
    people.out,
    /^044 {2}echo {2}durable requests of 1 bytes, 4 in flight, \d+\.\d s\n\d+\/s, \d+ answered, 0 not\n/,
  )
  t.match(people.out, /mean .* ms {2}p50 .* ms {2}p90 .* ms {2}p99 .* ms {2}p99\.9 .* ms {2}max .* ms\n$/)
  const { counts } = (await ls.admin('request-list')) as { counts: { settled: number } }
  t.ok(counts.settled > 0, 'durable requests are in the journal')

  const unknown = await bench(['044', '--method', 'no-such', '--json'])
  t.equal(unknown.exitCode, 3)
  t.equal(unknown.out, '')
  t.match(JSON.parse(unknown.err), { code: 'UNKNOWN_METHOD', message: /^the first request was refused/ })
  const noBank = await bench(['999'])
  t.equal(noBank.exitCode, 3)
  t.match(noBank.err, /UNKNOWN_BANK/)
})

t.test('a bank without echo: says what to do', async (t) => {
  const lsd = await startScriptedDaemon(t, {
    request: ({ key }) => ({ outcome: 'refused', code: 'UNKNOWN_METHOD', key, ms: 1 }),
  })
  const io = await lsd.run(['bench', '044'])
  t.equal(io.exitCode, 3)
  t.match(io.err, /name a method of this bank that changes nothing, with --method and --payload \(UNKNOWN_METHOD\)/)
  t.equal(lsd.asked.length, 1, 'one request, not thousands')
})

t.test('each request carries the payload that was asked for, with a key of its own', async (t) => {
  const lsd = await startScriptedDaemon(t, { request: echoed })
  const line = ['--method', 'balance', '--payload', '{"account":"0123456789"}', '--body', '300', '--timeout', '5s']
  const io = await lsd.run(['bench', '044', ...SHORT, ...line])
  t.equal(io.exitCode, 0)
  const keys = new Set(lsd.asked.map(({ key }) => key))
  t.ok(lsd.asked.length > 4)
  t.equal(keys.size, lsd.asked.length)
  const [{ payload, ...request } = {}] = lsd.asked
  t.match(request, { op: 'request', to: '044', method: 'balance', timeoutMs: 5_000 })
  t.equal((payload as Buffer).length, 300)
  t.match(decodePayload(payload as Buffer), { account: '0123456789', pad: /^x+$/ })
})

t.test('what does not end well is counted by outcome and code, and the worst is the exit code', async (t) => {
  const endings: readonly Message[] = [
    { outcome: 'answered', code: 'HANDLER_FAILED', payload: encodePayload({}) },
    { outcome: 'refused', code: 'BUSY', message: 'the queue is full' },
    { outcome: 'not-sent', code: 'DEADLINE_EXCEEDED', message: 'too late' },
    { outcome: 'in-doubt', code: 'IN_DOUBT', message: 'no answer came' },
  ]
  for (const [index, exitCode] of [1, 3, 4, 5].entries()) {
    let asked = 0
    const lsd = await startScriptedDaemon(t, {
      request: (message) => {
        const ending = asked++ === 0 ? undefined : endings[asked % (index + 1)]
        return ending === undefined ? echoed(message) : { ...ending, key: message.key, ms: 1 }
      },
    })
    const io = await lsd.run(['bench', '044', ...SHORT, '--json'])
    t.equal(io.exitCode, exitCode)
    const { failed, failures, answered } = JSON.parse(io.out)
    t.equal(answered, 0)
    t.equal(failed, lsd.asked.length - 1)
    t.same(
      new Set(failures.map(({ outcome, code }: Message) => `${outcome} ${code}`)),
      new Set(endings.slice(0, index + 1).map(({ outcome, code }) => `${outcome} ${code}`)),
    )
    await lsd.stop()
  }
})

t.test('an echo that is not what was sent is no success', async (t) => {
  let asked = 0
  const lsd = await startScriptedDaemon(t, {
    request: (message) => echoed(asked++ === 0 ? message : { ...message, payload: encodePayload('something else') }),
  })
  const io = await lsd.run(['bench', '044', ...SHORT])
  t.equal(io.exitCode, 1)
  t.match(io.out, /\d+ answered \(HANDLER_FAILED\): the answer is not what was sent\n$/)
})

t.test('Ctrl-C prints what was measured until then', async (t) => {
  const interrupt = new AbortController()
  let asked = 0
  const lsd = await startScriptedDaemon(t, {
    request: (message) => {
      if (++asked === 500) interrupt.abort()
      return echoed(message)
    },
  })
  const io = await lsd.run(['bench', '044', '--seconds', '3600', '--json'], { interrupt: interrupt.signal })
  t.equal(io.exitCode, 130)
  const { interrupted, answered } = JSON.parse(io.out)
  t.ok(interrupted && answered > 0 && answered < 1_000)
})

t.test('an lsd that goes away in between ends it with exit code 6', async (t) => {
  let asked = 0
  const lsd = await startScriptedDaemon(t, {
    request: (message, connection) => {
      if (++asked < 50) return echoed(message)
      connection.close()
      return undefined
    },
  })
  const io = await lsd.run(['bench', '044', '--seconds', '3600'])
  t.equal(io.exitCode, 6)
  t.equal(io.out, '')
})

t.test('wrong use is told, and nothing is sent', async (t) => {
  const lsd = await startScriptedDaemon(t, { request: echoed })
  const lines = [
    ['--concurrency', '0'],
    ['--concurrency', '2.5'],
    ['--concurrency', '10001'],
    ['--seconds', '0'],
    ['--seconds', 'ten'],
    ['--body', '-1'],
    ['--payload', '{'],
    ['--payload', '[1]', '--body', '100'],
    ['--payload', '{"pad":1}', '--body', '100'],
  ]
  for (const line of lines) {
    const io = await lsd.run(['bench', '044', ...line])
    t.equal(io.exitCode, 2, line.join(' '))
  }
  t.strictSame(lsd.asked, [])
})

t.test('a payload is brought to the size that was asked for, or stays as it is where it is larger', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 70_000 }), fc.string({ maxLength: 40 }), (bytes, account) => {
      const bare = encodePayload({ account })
      const { length } = paddedPayload({ account }, bytes)
      // The field itself takes 5 bytes, and at three sizes its head grows by more than one byte at once.
      return bytes <= bare.length
        ? length === bare.length
        : length <= Math.max(bytes, bare.length + 5) && length >= bytes - 2
    }),
  )
  t.equal(paddedPayload({}, 256).length, 256)
  t.equal(paddedPayload({}, 4_096).length, 4_096)
  t.equal(paddedPayload([1], undefined).length, 2)
})
