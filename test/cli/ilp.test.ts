import { statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { addIlpCommands } from '../../lib/cli/ilp.ts'
import { runProgram } from '../../lib/cli/index.ts'
import { encodePayload } from '../../lib/ipc/index.ts'
import { conditionOf, fulfilmentOf, loadIlpSecret, makePair, readPacket } from '../../lib/message/ilp/index.ts'
import { createRecordingIo, type RecordingIo, runLine } from '../support/recording-io.ts'
import { startScriptedDaemon } from '../support/scripted-daemon.ts'

function ilp(...line: string[]): Promise<RecordingIo> {
  return runLine(addIlpCommands, ['ilp', ...line])
}

const bytesOf = (text: string) => Buffer.from(text, 'base64url')

t.test('SEC-6 lsctl ilp pair makes a packet with its condition and fulfilment, from a secret file', async (t) => {
  const file = join(t.testdir(), 'ilp.secret')
  t.match((await ilp('secret', '--out', file)).out, file)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.match((await ilp('secret', '--out', file)).err, /never overwritten/)
  const secret = loadIlpSecret(file)
  for (const version of ['1', '4']) {
    const made = await ilp(
      ...['pair', '--ilp-version', version, '--amount', '250000', '--destination', 'g.044.account'],
      ...['--expiry', '1m', '--secret', file, '--json'],
    )
    t.equal(made.exitCode, undefined)
    const pair = JSON.parse(made.out)
    const packet = readPacket(bytesOf(pair.packet))
    t.match(packet, { version: Number(version), amount: 250_000n, destination: 'g.044.account' })
    t.strictSame(fulfilmentOf(packet, bytesOf(pair.packet), secret), bytesOf(pair.fulfilment))
    t.strictSame(conditionOf(bytesOf(pair.fulfilment)), bytesOf(pair.condition))
    t.equal(pair.request.expiresAt, version === '1' ? Date.parse(pair.expiration) : undefined)
  }
  const people = await ilp('pair')
  t.match(
    people.out,
    /^version {5}4\nexpires {5}20.*\npacket {6}[\w-]+\ncondition {3}[\w-]{43}\nfulfilment {2}[\w-]{43}\n$/,
  )
})

t.test('SEC-6 lsctl ilp pair refuses what makes no packet', async (t) => {
  for (const [line, message] of [
    [['--ilp-version', '2'], /1 or 4/],
    [['--amount', '1.5'], /whole number/],
    [['--amount', '18446744073709551616'], /2\^64/],
    [['--destination', 'bank'], /address/],
    [['--secret', '/does/not/exist'], /no such file/],
  ] as const) {
    const made = createRecordingIo()
    await runProgram(made, ['ilp', 'pair', ...line], '1.2.3')
    t.match(made.err, message)
    t.equal(made.out, '')
  }
})

const FAILURE = {
  at: '2026-11-22T10:00:00.000Z',
  bankCode: '044',
  method: 'transfer',
  idempotencyKey: 'k-1',
  type: 'mismatch',
}

t.test('SEC-6 lsctl ilp failures lists them, newest first', async (t) => {
  const answer = { failures: [FAILURE], total: 3, countsSinceStart: { mismatch: 3 } }
  const lsd = await startScriptedDaemon(t, { 'ilp-failures': () => ({ ok: true, result: answer }) })
  const io = await lsd.run(['ilp', 'failures', '--since', '2h', '--bank', '044', '--limit', '1'])
  t.match(
    io.out,
    /WHEN +BANK +FAILURE +METHOD +KEY\n2026-11-22T10:00:00.000Z +044 +mismatch +transfer +k-1\nand 2 older ones\n/,
  )
  t.strictSame(lsd.asked, [{ op: 'ilp-failures', sinceMs: 7_200_000, bank: '044', limit: 1 }])
  t.strictSame(JSON.parse((await lsd.run(['ilp', 'failures', '--json'])).out), answer)
  const none = await startScriptedDaemon(t, {
    'ilp-failures': () => ({ ok: true, result: { failures: [], total: 0, countsSinceStart: {} } }),
  })
  t.equal((await none.run(['ilp', 'failures'])).out, 'none in the last 1h\n')
})

t.test('SEC-6 lsctl send --ilp brings a packet, and prints the proof', async (t) => {
  const secretFile = join(t.testdir(), 'ilp.secret')
  await ilp('secret', '--out', secretFile)
  const expiresAtMs = Date.now() + 30_000
  const terms = { version: 4, amount: 1n, destination: 'g.a', expiresAtMs, transaction: '{}' } as const
  const { packet, condition, fulfilment } = makePair(terms, loadIlpSecret(secretFile))
  const lsd = await startScriptedDaemon(t, {
    request: ({ key }) => ({
      outcome: 'answered',
      payload: encodePayload({}),
      ilp: { fulfilment, condition },
      key,
      ms: 1,
    }),
  })
  const json = JSON.stringify({ packet: packet.toString('base64url'), condition: condition.toString('base64url') })
  const io = await lsd.run(['send', '044', 'transfer', '--ilp', json])
  t.match(io.out, `proven: fulfilment ${fulfilment.toString('base64url')} meets condition`)
  t.match(lsd.asked[0], { ilp: { packet, condition } })
  const result = JSON.parse((await lsd.run(['send', '044', 'transfer', '--ilp', '{"amount":5}', '--json'])).out)
  t.match(result, { ilp: { fulfilment: fulfilment.toString('base64url') } })
  t.match(lsd.asked[1], { ilp: { amount: '5' } })
  const bad = await lsd.run(['send', '044', 'transfer', '--ilp', '{"packet":"x"}'])
  t.equal(bad.exitCode, 2)
})
