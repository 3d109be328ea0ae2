import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ResponseStatus } from '../../lib/frames/index.ts'
import { encodePayload, IpcServer } from '../../lib/ipc/index.ts'
import { createLogger, systemClock } from '../../lib/runtime/index.ts'
import { KX_MS, SwitchHarness } from './switch-harness.ts'

/** Found nowhere but in payloads. */
const SENTINEL = 'Q4711Z'
const NUMBER = '98765432109876543210'
const PAYLOAD = encodePayload({ account: SENTINEL, padding: 'x'.repeat(100) })

/** Every spelling in which a log line might hold it. */
function leaksIn(lines: readonly string[]): string[] {
  const bytes = Buffer.from(SENTINEL)
  const spellings = [SENTINEL, NUMBER, bytes.toString('hex'), bytes.toString('base64'), [...bytes].join(',')]
  return lines.filter((line) => spellings.some((spelling) => line.includes(spelling)))
}

/** The apps' socket in front of a harness, and all that either logs. */
async function withSocket(t: Test): Promise<{ harness: SwitchHarness; path: string; lines: string[] }> {
  const harness = new SwitchHarness({ config: { requests: { maxQueued: 2 } } })
  await harness.apply(harness.bank('044', {}, { windowRecords: 2 }))
  const lines: string[] = []
  const logger = createLogger({ name: 'lsd', level: 'debug', destination: { write: (line) => lines.push(line) } })
  // The path of a socket may have 107 bytes: a test's own folder is deeper than that.
  const dir = mkdtempSync(join(tmpdir(), 'lsx-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'ls.sock')
  const server = new IpcServer({
    path,
    mode: 0o660,
    limits: { maxMessageBytes: 4_096 },
    handler: harness.router,
    logger,
    clock: systemClock,
  })
  await server.start(AbortSignal.timeout(5_000))
  t.teardown(() => server.stop(AbortSignal.timeout(1_000)))
  return { harness, path, lines }
}

/** Sends what it is given, and resolves with what came back when the server has ended the connection. */
async function talk(path: string, bytes: Buffer | string): Promise<string> {
  const socket = createConnection(path)
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => {})
  socket.end(bytes)
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

t.test('SEC-10 no payload comes into the log, however a request ends', async (t) => {
  const { harness, lines } = await withSocket(t)
  const ask = (fields: Record<string, unknown> = {}) => harness.ask('044', { payload: PAYLOAD, ...fields })
  // Waiting, too many waiting, too late, unknown bank, too large.
  for (let n = 0; n < 4; n++) ask({ timeoutMs: 100 })
  await harness.clock.advance(500)
  harness.ask('070', { payload: PAYLOAD })
  ask({ payload: Buffer.concat([Buffer.alloc(70_000), PAYLOAD]) })
  const node = await harness.connect('044')
  // Each answer that there is, with the payload in it; an answer to nothing; one that comes too late.
  for (const status of Object.values(ResponseStatus)) {
    node.answer = (request) => ({ status, payload: request.payload })
    ask()
    await harness.clock.advance(KX_MS)
  }
  node.answer = undefined
  const late = ask({ timeoutMs: 50 })
  await harness.clock.advance(200)
  node.respond(`key-${late}`)
  await harness.clock.advance(KX_MS)
  // In flight as the channel breaks, in quarantine, at the end.
  ask()
  await harness.clock.advance(KX_MS)
  node.link.xchangeSocket.send(Buffer.concat([Buffer.from('0102', 'hex'), PAYLOAD]))
  await harness.clock.advance(KX_MS)
  ask()
  harness.link('044').quarantine({ reason: 'a test' })
  ask()
  await harness.registry.drainAll(0)
  const facts = harness.log.lines.map((line) => JSON.stringify(line))
  t.ok(facts.length > 5, 'there is a log')
  t.strictSame(leaksIn([...facts, ...lines]), [])
})

t.test('SEC-10 no payload comes into the log, however badly an app sends it', async (t) => {
  const { path, lines } = await withSocket(t)
  const request = JSON.stringify({ op: 'request', id: 1, to: '044', method: 'm', payload: { account: SENTINEL } })
  const broken = [
    request.slice(0, -1),
    request.replace('"account":', 'account:'),
    request.replace('"account":', '"account" '),
    request.replace(`"${SENTINEL}"`, SENTINEL),
    request.replace(`"${SENTINEL}"`, `"${SENTINEL}\t"`),
    `{"payload":"${SENTINEL}\\x"}`,
    `{${SENTINEL}}`,
    `${request}${request}`,
    JSON.stringify({ op: 'request', [SENTINEL]: 1, id: 1 }),
    JSON.stringify({ op: SENTINEL, id: 1 }),
    request.replace(`"${SENTINEL}"`, NUMBER),
    JSON.stringify({ op: 'request', id: 1, to: SENTINEL.repeat(9), method: SENTINEL, payload: SENTINEL }),
  ]
  // So many in a row that the connection is ended for it, which is logged.
  for (const line of broken) await talk(path, `${line}\n`.repeat(200))
  await talk(path, SENTINEL)
  await talk(path, Buffer.concat([Buffer.from([0, 0, 0, PAYLOAD.length]), PAYLOAD]))
  await talk(path, Buffer.concat([Buffer.from([0, 0, 0, 200]), PAYLOAD]))
  await talk(path, `{"payload":"${SENTINEL.repeat(1_000)}"}\n`)
  await talk(path, `{"payload":"${SENTINEL.repeat(1_000)}`)
  t.ok(lines.length > 5, 'there is a log')
  t.strictSame(leaksIn(lines), [])
  const perConnection = lines.map((line) => (JSON.parse(line) as { connection?: number }).connection)
  for (const connection of new Set(perConnection.filter((one) => one !== undefined))) {
    t.ok(perConnection.filter((one) => one === connection).length <= 2, 'nor does it fill the log')
  }
})
