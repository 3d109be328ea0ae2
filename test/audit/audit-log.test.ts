import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openForAppend } from '../../lib/audit/files.ts'
import {
  AuditLog,
  type AuditLogConfig,
  type AuditRecord,
  ChainVerifier,
  listAuditFiles,
  readLines,
} from '../../lib/audit/index.ts'
import { appendRecord } from '../../lib/audit/record.ts'
import type { Anchor } from '../../lib/audit/recovery.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { recordingLogger } from '../support/channel-log.ts'
import { newIdentity } from '../support/kx-parties.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const signal = new AbortController().signal

class Bed {
  readonly dir: string
  readonly clock = new VirtualClock()
  readonly logger = recordingLogger()
  readonly identity = newIdentity()
  anchor: Anchor | undefined
  openFile: typeof openForAppend = openForAppend
  #chains = 0

  readonly #logs: AuditLog[] = []

  constructor(t: Test) {
    // A log that a test left as a crash would: its file is closed after all.
    t.teardown(() => Promise.all(this.#logs.map((log) => log.stop(signal))))
    this.dir = join(t.testdir(), 'audit')
  }

  log(config: Partial<AuditLogConfig> = {}, party = 'ls'): AuditLog {
    const log = new AuditLog({
      config: {
        dir: this.dir,
        checkpointEvery: 4,
        checkpointAfterMs: 60_000,
        rotateBytes: 1_000_000,
        maxBuffered: 100,
        ...config,
      },
      party,
      signer: () => this.identity,
      startFacts: { version: '1' },
      newChainId: () => `chain-${++this.#chains}`,
      anchor: {
        read: () => this.anchor,
        write: (anchor) => {
          this.anchor = anchor
        },
      },
      clock: this.clock,
      logger: this.logger,
      openFile: (file, options) => this.openFile(file, options),
    })
    this.#logs.push(log)
    return log
  }

  async started(config: Partial<AuditLogConfig> = {}): Promise<AuditLog> {
    const log = this.log(config)
    await log.start(signal)
    return log
  }

  records(): AuditRecord[] {
    return this.verify().records
  }

  verify() {
    const verifier = new ChainVerifier([this.identity.publicKey])
    const records: AuditRecord[] = []
    for (const file of listAuditFiles(this.dir)) {
      verifier.beginFile(file.name)
      for (const { line, isWhole } of readLines(file)) {
        const record = verifier.addLine(line, { isWhole })
        if (record !== undefined) records.push(record)
      }
    }
    return { records, report: verifier.end() }
  }

  get newest(): string {
    return join(this.dir, readdirSync(this.dir).sort().at(-1) ?? '')
  }
}

const eventsOf = (records: readonly AuditRecord[]): string[] => records.map(({ event }) => event)

t.test('SEC-11 a log from start to stop, signed at both ends, for its owner alone', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started()
  t.equal(bed.verify().report.unsigned, 0, 'the start is signed at once')
  log.record({ event: 'quarantined', bankCode: '044', by: { via: 'rule' }, facts: { reason: 'x', token: 'abc' } })
  t.match(log.health, { state: 'ok', lost: 0, party: undefined })
  await log.stop(signal)
  const { records, report } = bed.verify()
  t.strictSame(eventsOf(records), [
    'file-began',
    'started',
    'checkpoint',
    'quarantined',
    'checkpoint',
    'stopped',
    'checkpoint',
  ])
  t.match(report, { ok: true, isClosed: true, unsigned: 0, party: 'ls' })
  t.match(records[3], { bankCode: '044', by: { via: 'rule' }, facts: { reason: 'x', token: '[redacted]' } })
  t.equal(statSync(bed.dir).mode & 0o777, 0o700)
  t.equal(statSync(bed.newest).mode & 0o777, 0o600)
  t.equal(log.record({ event: 'resumed' }), undefined, 'nothing after the stop')
  t.equal(bed.anchor?.seq, 5)
})

t.test('SEC-11 checkpoints by count and by time', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started()
  for (let n = 0; n < 9; n++) log.record({ event: 'command', facts: { n } })
  await log.flush(signal)
  t.equal(bed.verify().report.unsigned, 1)
  await bed.clock.advance(60_000)
  await log.flush(signal)
  t.equal(bed.verify().report.unsigned, 0, 'a quiet daemon signs too')
  t.equal(bed.clock.pendingTimers, 0, 'and then waits for nothing')
  await log.stop(signal)
  t.equal(bed.verify().report.ok, true)
})

t.test('SEC-11 rotation keeps the chain', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started({ rotateBytes: 4_000 })
  for (let n = 0; n < 40; n++) log.record({ event: 'command', facts: { n } })
  await log.stop(signal)
  const { records, report } = bed.verify()
  t.strictSame(report.findings, [])
  t.ok(report.files > 3, `${report.files} files`)
  const head = records.find(({ event, seq }) => event === 'file-began' && seq > 0)
  const before = records[(head?.seq ?? 0) - 1]
  t.match(head?.facts, { previous: { file: 'audit.000001.ndjson', seq: before?.seq, hash: before?.hash } })
  t.match(records[(head?.seq ?? 0) - 2], { event: 'rotated', facts: { next: 'audit.000002.ndjson' } })
  const again = await bed.started({ rotateBytes: 4_000 })
  await again.stop(signal)
  t.equal(bed.verify().report.ok, true, 'and a restart goes on in the newest')
})

t.test('SEC-11 after a crash in the middle of a line the chain goes on, and says what was cut', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started()
  log.record({ event: 'command', facts: { n: 1 } })
  await log.flush(signal)
  const whole = readFileSync(bed.newest, 'utf8')
  log.record({ event: 'command', facts: { n: 2 } })
  await log.flush(signal)
  const torn = readFileSync(bed.newest, 'utf8').slice(whole.length, -30)
  // The process is gone: nothing more of it is written.
  truncateSync(bed.newest, whole.length + torn.length)
  const second = await bed.started()
  const { records, report } = bed.verify()
  t.strictSame(report.findings, [])
  t.strictSame(eventsOf(records).slice(3), ['command', 'checkpoint', 'recovered', 'started', 'checkpoint'])
  t.match(records[5]?.facts, { tornBytes: torn.length, tornText: torn, unsignedRecords: 1, lastSeq: 3 })
  await second.stop(signal)
  const third = await bed.started()
  t.equal(eventsOf(bed.records()).filter((event) => event === 'recovered').length, 1, 'an orderly stop is no crash')
  await third.stop(signal)
})

t.test('SEC-11 a crash at a rotation leaves a file without a record: the chain goes on all the same', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started({ rotateBytes: 2_000 })
  for (let n = 0; n < 6; n++) log.record({ event: 'command', facts: { n } })
  await log.flush(signal)
  t.ok(listAuditFiles(bed.dir).length > 1)
  truncateSync(bed.newest, 20)
  await (await bed.started()).stop(signal)
  t.strictSame(bed.verify().report.findings, [])
})

t.test(
  'SEC-11 a log that was changed, cut or removed while the daemon was away: told in the log and in the chain',
  async (t) => {
    const attacks: Readonly<Record<string, (bed: Bed) => void>> = {
      changed: (bed) => writeFileSync(bed.newest, readFileSync(bed.newest, 'utf8').replace('"n":2', '"n":3')),
      'cut to an earlier checkpoint': (bed) => {
        const lines = readFileSync(bed.newest, 'utf8').split('\n')
        writeFileSync(bed.newest, `${lines.slice(0, 3).join('\n')}\n`)
      },
      removed: (bed) => rmSync(bed.newest),
    }
    for (const [name, attack] of Object.entries(attacks)) {
      await t.test(name, async (t) => {
        const bed = new Bed(t)
        const log = await bed.started()
        for (let n = 0; n < 5; n++) log.record({ event: 'command', facts: { n } })
        await log.stop(signal)
        attack(bed)
        const second = await bed.started()
        t.equal(second.health.state, 'failing')
        t.match(
          bed.logger.lines.map(({ message }) => message).join('\n'),
          /the audit log is not as this daemon left it/,
        )
        await second.stop(signal)
        const { records, report } = bed.verify()
        t.ok(eventsOf(records).includes('chain-broken'))
        t.equal(report.ok, false)
        t.ok(report.findings.some(({ kind }) => kind === 'told-by-the-daemon'))
      })
    }
  },
)

t.test('SEC-11 records that somebody adds behind an orderly end are not signed in silence', async (t) => {
  const bed = new Bed(t)
  await (await bed.started()).stop(signal)
  const { seq = 0, hash = '' } = bed.records().at(-1) ?? {}
  const forged = appendRecord({ seq, hash }, { event: 'resumed', bankCode: '044', facts: {} }, bed.clock.nowMs())
  const started = appendRecord(forged.head, { event: 'started', facts: {} }, bed.clock.nowMs())
  appendFileSync(bed.newest, `${forged.line}\n${started.line}\n`)
  const log = await bed.started()
  t.match(bed.records().find(({ event }) => event === 'chain-broken')?.facts, { problem: /added/ })
  t.equal(bed.verify().report.ok, false)
  await log.stop(signal)
  bed.logger.lines.length = 0
  await (await bed.started()).stop(signal)
  t.equal(eventsOf(bed.records()).filter((event) => event === 'chain-broken').length, 1, 'told once')
})

t.test('SEC-11 a crash at every line of a start, after an orderly end, is no forgery', async (t) => {
  const bed = new Bed(t)
  await (await bed.started()).stop(signal)
  const stoppedBytes = readFileSync(bed.newest).length
  await bed.started()
  const whole = readFileSync(bed.newest)
  for (let end = whole.indexOf('\n', stoppedBytes) + 1; end > 0; end = whole.indexOf('\n', end) + 1) {
    writeFileSync(bed.newest, whole.subarray(0, end))
    bed.anchor = undefined
    const log = await bed.started()
    t.notOk(eventsOf(bed.records()).includes('chain-broken'), `after ${end} bytes`)
    await log.stop(signal)
    t.equal(bed.verify().report.ok, true)
  }
})

t.test('SEC-11 a file that is cut or removed under the running daemon is noticed, and a new one begun', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started()
  rmSync(bed.newest)
  log.record({ event: 'command', facts: { n: 1 } })
  await bed.clock.advance(0)
  await log.flush(signal)
  t.match(log.health, { state: 'failing', problem: 'audit.000001.ndjson was removed', file: 'audit.000002.ndjson' })
  await log.stop(signal)
  t.equal(bed.verify().report.ok, false)

  const other = new Bed(t)
  const second = await other.started()
  appendFileSync(other.newest, '{"seq":99}\n')
  second.record({ event: 'command', facts: { n: 1 } })
  await second.flush(signal)
  t.match(second.health.problem, /bytes, and \d+ were written/)
  await second.stop(signal)
})

t.test(
  'SEC-11 a disk that is full: nobody waits, what is lost is counted in the chain, and the rest arrives',
  async (t) => {
    const bed = new Bed(t)
    let isFull = false
    bed.openFile = async (file, options) => {
      const handle = await openForAppend(file, options)
      const write = handle.write.bind(handle) as (
        bytes: Buffer,
        offset: number,
        length?: number,
      ) => Promise<{ bytesWritten: number }>
      handle.write = (async (bytes: Buffer, offset: number) => {
        if (!isFull) return write(bytes, offset)
        // A disk takes what still fits, and says so only at the next write.
        if (offset === 0) return write(bytes, 0, 10)
        throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      }) as never
      return handle
    }
    const log = await bed.started({ maxBuffered: 8 })
    isFull = true
    for (let n = 0; n < 30; n++) log.record({ event: 'command', facts: { n } })
    await log.flush(signal)
    t.match(log.health, { state: 'failing', problem: /no space/, buffered: 8 })
    const { lost } = log.health
    t.ok(lost > 0)
    t.match(bed.logger.lines.map(({ message }) => message).join('\n'), /cannot be written|were lost/)
    isFull = false
    await bed.clock.advance(1_000)
    await log.flush(signal)
    await bed.clock.advance(0)
    t.match(log.health, { state: 'ok', lost, buffered: 0 })
    log.record({ event: 'resumed', bankCode: '044' })
    await log.stop(signal)
    const { records, report } = bed.verify()
    t.strictSame(report.findings, [])
    t.match(records.find(({ event }) => event === 'records-lost')?.facts, { count: lost })
    t.equal(records.filter(({ event }) => event === 'command').length, 30 - lost)
  },
)

t.test(
  'SEC-11 a disk that is full at the start is a refusal to start; one that stays full does not hold up the end',
  async (t) => {
    const bed = new Bed(t)
    bed.openFile = async () => {
      throw new LsxError('REFUSED', 'no space left on device', { party: 'self' })
    }
    await t.rejects(bed.log().start(signal), { code: 'REFUSED', party: 'self', message: /cannot be written: no space/ })
    bed.openFile = openForAppend
    const log = await bed.started()
    // The next file cannot be made: something else has its name.
    mkdirSync(join(bed.dir, 'audit.000002.ndjson'))
    for (let n = 0; n < 400; n++)
      log.record({ event: 'refusal', bankCode: String(n % 200), facts: { text: 'x'.repeat(400) } })
    await log.stop(signal)
    t.equal(bed.clock.pendingTimers, 0)
  },
)

t.test('SEC-11 a hostile peer cannot fill the disk: beyond a rate its events are counted', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started()
  for (let n = 0; n < 10_000; n++) log.record({ event: 'refusal', facts: { code: 'CERT_DENIED' } })
  for (let n = 0; n < 3; n++) log.record({ event: 'refusal', bankCode: '058', facts: { code: 'IP_DENIED' } })
  await bed.clock.advance(60_000)
  await log.flush(signal)
  const records = bed.records()
  t.equal(records.filter(({ facts }) => facts.code === 'CERT_DENIED').length, 6)
  t.equal(records.filter(({ facts }) => facts.code === 'IP_DENIED').length, 3, 'another source is not hidden by it')
  t.match(records.find(({ event }) => event === 'records-thinned')?.facts, { counts: { 'refusal CERT_DENIED': 9_994 } })
  log.record({ event: 'refusal', facts: { code: 'CERT_DENIED' } })
  await log.stop(signal)
  t.equal(bed.records().filter(({ facts }) => facts.code === 'CERT_DENIED').length, 7, 'and then it is written again')
})

t.test('SEC-11 facts are bounded, whoever chose them', async (t) => {
  const bed = new Bed(t)
  const log = await bed.started()
  log.record({ event: 'command', facts: { reason: 'é'.repeat(5_000), list: Array.from({ length: 500 }, (_, n) => n) } })
  log.record({
    event: 'command',
    facts: Object.fromEntries(Array.from({ length: 90 }, (_, n) => [`f${n}`, 'y'.repeat(450)])),
  })
  await log.stop(signal)
  const [first, second] = bed.records().filter(({ event }) => event === 'command')
  t.equal(String(first?.facts.reason).length, 501)
  t.match(first?.facts.list, { 99: 99, 100: 'and 400 more' })
  t.match(second?.facts, { tooLarge: true })
  t.equal(bed.verify().report.ok, true)
})

t.test('SEC-11 a log of another party, or one that others may read or write, is refused', async (t) => {
  const bed = new Bed(t)
  await (await bed.started()).stop(signal)
  await t.rejects(bed.log({}, 'xchange 044').start(signal), { code: 'REFUSED', message: /is of ls/ })
  const loose = new Bed(t)
  mkdirSync(loose.dir, { recursive: true, mode: 0o755 })
  rmSync(loose.dir, { recursive: true })
  mkdirSync(loose.dir, { mode: 0o755 })
  await t.rejects(loose.log().start(signal), { code: 'REFUSED', message: /chmod 700/ })
})
