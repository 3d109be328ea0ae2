import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { decodeMap, FrameType, HEADER_BYTES, readHeader, TAG_BYTES } from '../../lib/frames/index.ts'
import { TWO_BANKS, testBed } from '../support/daemons.ts'
import { type Recording, RecordingRelay } from '../support/relay.ts'
import { decryptTls, parseKeyLog, webSocketMessages } from '../support/tls-decrypt.ts'

const KX_COMMANDS = ['INIT_KX', 'INIT_KX_RSP', 'FIN_KX', 'FIN_KX_RSP']
/** Enough of each that a leak in any one frame would show. */
const REQUESTS = 20

t.test('LS-8 LS-3 who has recorded the connection and got hold of its TLS keys sees only sealed frames', async (t) => {
  const bed = await testBed(t)
  const keyLogs = { '044': join(bed.dir, 'ls.keys'), '058': join(bed.dir, 'xchange-058.keys') }
  await bed.startXchangeProcess('044')
  const toXchange = await RecordingRelay.listen(() => bed.portOf('044'))
  // The TLS client writes the key log: LS where it dials, the xchange where that dials.
  const ls = await bed.startLsProcess({
    ports: { '044': toXchange.port },
    nodeArguments: [`--tls-keylog=${keyLogs['044']}`],
    config: { echo: { intervalMs: 200 } },
  })
  const toLs = await RecordingRelay.listen(() => ls.port)
  t.teardown(() => Promise.all([toXchange.stop(), toLs.stop()]))
  await bed.startXchangeProcess('058', { port: toLs.port, nodeArguments: [`--tls-keylog=${keyLogs['058']}`] })
  await Promise.all(TWO_BANKS.map(({ code }) => ls.connected(code)))

  const secrets: string[] = []
  const marker = (what: string) => {
    const text = `${what}-${randomBytes(12).toString('hex')}`
    secrets.push(text)
    return text
  }
  const sessions: Record<string, string | undefined> = {}
  for (const { code: bank } of TWO_BANKS) {
    for (let index = 0; index < REQUESTS; index++) {
      const payload = { account: marker('account'), note: marker('note') }
      const answer = await ls.ask({ to: bank, method: 'echo', payload, key: marker('key') })
      t.match(answer, { outcome: 'answered', payload })
    }
    sessions[bank] = (await ls.bankStatus(bank)).sessionId
    // A second key exchange on the same socket, and requests under its key.
    await ls.admin('rekey', { bank })
    await ls.log.until({ bankCode: bank, msg: 'key exchange completed', epoch: 2 })
    const payload = marker('after-rekey')
    t.match(await ls.ask({ to: bank, method: 'echo', payload }), { outcome: 'answered', payload })
  }
  await ls.stop()

  for (const [bank, relay] of [
    ['044', toXchange],
    ['058', toLs],
  ] as const) {
    const recording = relay.recordings.find(({ fromServer }) => fromServer.length > 3)
    if (recording === undefined) throw new Error(`nothing was recorded of ${bank}`)
    const keyLog = parseKeyLog(readFileSync(keyLogs[bank], 'utf8'))
    t.test(`bank ${bank}`, async (t) => inspect(t, recording, keyLog, { bank, sessionId: sessions[bank], secrets }))
  }
})

function inspect(
  t: Test,
  recording: Recording,
  keyLog: ReturnType<typeof parseKeyLog>,
  { bank, sessionId, secrets }: { bank: string; sessionId: string | undefined; secrets: readonly string[] },
): void {
  const onTheWire = Buffer.concat([...recording.fromClient, ...recording.fromServer])
  for (const command of KX_COMMANDS) t.notOk(onTheWire.includes(command), `the wire shows no ${command}: TLS is on`)

  const { fromClient, fromServer } = decryptTls(recording, keyLog)
  const all = [...webSocketMessages(fromClient), ...webSocketMessages(fromServer)]
  // What the WebSocket client sends is masked: only the messages themselves have it as it was written.
  const inTheClear = Buffer.concat([fromClient, fromServer, ...all.map(({ payload }) => payload)])
  t.ok(fromClient.includes('GET /channel HTTP/1.1'), 'with the TLS keys everything inside TLS can be read')
  for (const command of KX_COMMANDS) t.ok(inTheClear.includes(command), `${command} is readable: the decryption worked`)
  t.ok(inTheClear.includes(Buffer.from(sessionId ?? '', 'hex')), 'so is the session id')

  const leaked = secrets.filter((secret) => onTheWire.includes(secret) || inTheClear.includes(secret))
  t.strictSame(leaked, [], `none of ${secrets.length} marked keys and payloads is`)

  const messages = all.filter(({ opcode }) => opcode === 2)
  const sealed = new Map<number, number>()
  for (const { payload } of messages) {
    const { type, epoch } = readHeader(payload)
    if (type === FrameType.kx) {
      const { command, bankCode } = decodeMap(payload.subarray(HEADER_BYTES))
      t.ok(KX_COMMANDS.includes(String(command)) && bankCode === bank, `a kx frame: ${String(command)}`)
      continue
    }
    t.ok(epoch === 1 || epoch === 2)
    sealed.set(type, (sealed.get(type) ?? 0) + 1)
    t.throws(() => decodeMap(payload.subarray(HEADER_BYTES, -TAG_BYTES)), 'the body is no msgpack map')
  }
  t.ok((sealed.get(FrameType.request) ?? 0) > REQUESTS, 'the requests are among the sealed frames')
  t.ok((sealed.get(FrameType.response) ?? 0) > REQUESTS, 'so are the responses')
  t.ok((sealed.get(FrameType.echo) ?? 0) > 0 && (sealed.get(FrameType.echoReply) ?? 0) > 0, 'so are the echoes')
}
