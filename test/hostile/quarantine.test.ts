import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type AuditRecord, ChainVerifier, listAuditFiles, readLines } from '../../lib/audit/index.ts'
import { readIdentityPin } from '../../lib/certs/index.ts'
import { decodeMap, encodeMap, FrameType, HEADER_BYTES } from '../../lib/frames/index.ts'
import { DIALLED_FAKE, DIALLING_FAKE, type FakeBanks, fakeBanks } from '../support/fake-banks.ts'
import { dialPeer, FakeXchange } from '../support/fake-peers.ts'

const RULES = [
  { kind: 'bad-tag', count: 3, windowMs: 600_000 },
  { kind: 'session-mixup', count: 3, windowMs: 600_000 },
]

function stageOf(t: Test, config: Record<string, unknown> = {}): Promise<FakeBanks> {
  return fakeBanks(t, {
    times: { kx: { timeoutMs: 500 } },
    ls: { config: { quarantine: { rules: RULES }, ...config } },
  })
}

/** The records of LS so far. Fails when the log does not verify. */
async function recordsOf(t: Test, { bed, ls }: FakeBanks): Promise<AuditRecord[]> {
  let buffered = 1
  while (buffered > 0) {
    const { daemon } = (await ls.admin('status')) as { daemon: { audit: { buffered: number } } }
    buffered = daemon.audit.buffered
  }
  const dir = join(bed.dir, 'ls', 'store.audit')
  const verifier = new ChainVerifier([readIdentityPin(bed.node('lsd').pin)])
  const records: AuditRecord[] = []
  for (const file of listAuditFiles(dir)) {
    verifier.beginFile(file.name)
    for (const { line, isWhole } of readLines(file)) {
      const record = isWhole ? verifier.addLine(line) : undefined
      if (record !== undefined) records.push(record)
    }
  }
  t.strictSame(verifier.end().findings, [])
  return records
}

async function spoilFrame(stage: FakeBanks, bank: string): Promise<void> {
  const fake = await stage.keyedAsBank(bank)
  const frame = fake.seal(FrameType.echo, { n: 1 })
  frame.writeUInt8(frame.readUInt8(frame.length - 1) ^ 1, frame.length - 1)
  const { mark } = stage.ls.log
  fake.socket.send(frame)
  await fake.socket.closed
  await stage.ls.log.until({ bankCode: bank, code: 'FRAME_INVALID', audit: true }, { mark })
}

for (const bank of [DIALLED_FAKE, DIALLING_FAKE]) {
  t.test(`SEC-12 bad tags over its own keyed channel put bank ${bank} in quarantine, and nobody else`, async (t) => {
    const stage = await stageOf(t)
    const { ls } = stage
    await spoilFrame(stage, bank)
    await spoilFrame(stage, bank)
    t.not((await ls.bankStatus(bank)).state, 'quarantined', 'two are not enough')
    const { mark } = ls.log
    await spoilFrame(stage, bank)
    await ls.log.until({ bankCode: bank, to: 'quarantined' }, { mark })
    t.match(await ls.bankStatus(bank), {
      state: 'quarantined',
      quarantine: { reason: '3 times bad-tag within 600 s', by: 'rule' },
    })
    t.match(await ls.ask({ to: bank, method: 'echo' }), { outcome: 'refused', code: 'QUARANTINED' })
    t.equal((await ls.ask({ to: '044', method: 'echo' })).outcome, 'answered', 'the others go on')
    if (bank === DIALLING_FAKE)
      await t.rejects(dialPeer({ port: ls.port, node: stage.bed.node(bank) }), 'it is not let in')

    const records = await recordsOf(t, stage)
    const [quarantined] = records.filter(({ event }) => event === 'quarantined')
    t.match(quarantined, { bankCode: bank, by: { via: 'rule' }, facts: { rule: { kind: 'bad-tag', count: 3 } } })
    t.equal((quarantined?.facts.evidence as unknown[] | undefined)?.length, 3, 'with what led to it')
    t.equal(records.filter(({ event, bankCode }) => event === 'evidence' && bankCode === bank).length, 3)

    await ls.admin('resume', { bank })
    await stage.keyedAsBank(bank)
    await spoilFrame(stage, bank)
    t.not((await ls.bankStatus(bank)).state, 'quarantined', 'after a resume it counts from nothing')
  })
}

t.test('SEC-12 echoes of another session put a bank in quarantine', async (t) => {
  const stage = await stageOf(t)
  const fake = await stage.keyedAsBank(DIALLING_FAKE)
  const { mark } = stage.ls.log
  fake.sendEcho(1, { sessionId: randomBytes(16) })
  fake.sendEcho(2, { bankCode: '058' })
  fake.sendEcho(3, { sessionId: randomBytes(16) })
  await stage.ls.log.until({ bankCode: DIALLING_FAKE, to: 'quarantined' }, { mark })
  const [first] = (await recordsOf(t, stage)).filter(({ event }) => event === 'evidence')
  t.match(first, { bankCode: DIALLING_FAKE, facts: { code: 'session-mixup', during: 'echo' } })
})

t.test("SEC-12 another session in a kx over the live channel counts, for the channel is the bank's", async (t) => {
  const stage = await stageOf(t)
  const { ls, bed } = stage
  const fake = await stage.keyedAsBank(DIALLING_FAKE)
  const { mark } = ls.log
  for (let n = 0; n < 3; n++) {
    const seen = ls.log.mark
    await ls.admin('rekey', { bank: DIALLING_FAKE })
    const node = { node: bed.node(DIALLING_FAKE), bankCode: DIALLING_FAKE, lsPin: bed.node('lsd').pin, epoch: 2 }
    const answer = new FakeXchange(fake.socket, node).answerInitKx(await fake.nextKxFrame())
    const map = { ...decodeMap(answer.subarray(HEADER_BYTES)), sessionId: randomBytes(16) }
    fake.socket.send(Buffer.concat([answer.subarray(0, HEADER_BYTES), encodeMap(map)]))
    await ls.log.until({ bankCode: DIALLING_FAKE, code: 'KX_FAILED' }, { mark: seen })
  }
  await ls.log.until({ bankCode: DIALLING_FAKE, to: 'quarantined' }, { mark })
  t.match((await ls.bankStatus(DIALLING_FAKE)).quarantine, { reason: '3 times session-mixup within 600 s' })
})

t.test('SEC-12 an identity that LS has not pinned is refused and not counted: it may have been rotated', async (t) => {
  const stage = await stageOf(t)
  const { ls, bed } = stage
  const other = await bed.pki.issue('xchange', DIALLING_FAKE, { folder: 'other' })
  const fake = await stage.keyedAsBank(DIALLING_FAKE)
  const { sessionId } = await ls.bankStatus(DIALLING_FAKE)
  for (let n = 0; n < 4; n++) {
    const seen = ls.log.mark
    await ls.admin('rekey', { bank: DIALLING_FAKE })
    const node = { node: other, bankCode: DIALLING_FAKE, lsPin: bed.node('lsd').pin, epoch: 2 }
    fake.socket.send(new FakeXchange(fake.socket, node).answerInitKx(await fake.nextKxFrame()))
    await ls.log.until({ bankCode: DIALLING_FAKE, code: 'IDENTITY_DENIED' }, { mark: seen })
  }
  t.match(await ls.bankStatus(DIALLING_FAKE), { state: 'connected', sessionId })
})

t.test('SEC-12 whoever has not proven to be the bank cannot bring it into quarantine', async (t) => {
  const stage = await stageOf(t)
  const { ls, bed } = stage
  const honest = await stage.keyedAsBank(DIALLING_FAKE)
  const { sessionId } = await ls.bankStatus(DIALLING_FAKE)
  const thief = await bed.pki.issue('xchange', DIALLING_FAKE, { folder: 'thief' })
  const attempts: Readonly<Record<string, () => Promise<void>>> = {
    'another identity behind the certificate of the bank': async () => {
      const socket = await dialPeer({ port: ls.port, node: bed.node(DIALLING_FAKE) })
      const fake = new FakeXchange(socket, { node: thief, bankCode: DIALLING_FAKE, lsPin: bed.node('lsd').pin })
      await fake.key().catch(() => {})
      await socket.closed
    },
    'sealed garbage before any key': async () => {
      const socket = await dialPeer({ port: ls.port, node: bed.node(DIALLING_FAKE) })
      const frame = randomBytes(64)
      frame.set([1, FrameType.response, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
      socket.send(frame)
      await socket.closed
    },
    'a kx message of another session': async () => {
      const socket = await dialPeer({ port: ls.port, node: bed.node(DIALLING_FAKE) })
      const other = new FakeXchange(socket, { node: thief, bankCode: DIALLING_FAKE, lsPin: bed.node('lsd').pin })
      const answer = other.answerInitKx(await socket.receive())
      answer.writeUInt8(answer.readUInt8(answer.length - 1) ^ 1, answer.length - 1)
      socket.send(answer)
      await socket.closed
    },
    'the certificate of another bank': async () => {
      await dialPeer({ port: ls.port, node: bed.node('044') }).then(
        (socket) => socket.closed,
        () => {},
      )
    },
  }
  for (const [name, attempt] of Object.entries(attempts)) {
    for (let n = 0; n < 5; n++) await attempt()
    t.match(await ls.bankStatus(DIALLING_FAKE), { state: 'connected', sessionId }, name)
  }
  honest.receiveRequests().then(
    ([request]) => honest.sendResponses({ id: request?.id ?? 0 }),
    () => {},
  )
  t.equal((await ls.ask({ to: DIALLING_FAKE, method: 'echo' })).outcome, 'answered', 'its channel goes on')
  const records = await recordsOf(t, stage)
  t.strictSame(
    records.filter(({ event }) => event === 'evidence' || event === 'quarantined'),
    [],
  )
  t.ok(
    records.some(({ facts }) => facts.code === 'IDENTITY_DENIED'),
    'but each attempt is on record',
  )
})

t.test('SEC-12 a quarantine by rule survives a restart', async (t) => {
  const stage = await stageOf(t)
  const { ls, bed } = stage
  for (let n = 0; n < 3; n++) await spoilFrame(stage, DIALLING_FAKE)
  await ls.log.until({ bankCode: DIALLING_FAKE, to: 'quarantined' })
  const before = (await ls.bankStatus(DIALLING_FAKE)).quarantine
  await ls.stop()
  const again = await bed.startLs()
  t.strictSame((await again.bankStatus(DIALLING_FAKE)).quarantine, before)
  t.match(await again.ask({ to: DIALLING_FAKE, method: 'echo' }), { outcome: 'refused', code: 'QUARANTINED' })
  await again.admin('resume', { bank: DIALLING_FAKE })
  t.equal((await again.bankStatus(DIALLING_FAKE)).quarantine, undefined)
})
