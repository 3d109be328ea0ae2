import { join } from 'node:path'
import t from 'tap'
import { EvidenceStore, type EvidenceStoreOptions } from '../../../lib/message/evidence/index.ts'
import { recordingLogger } from '../../support/channel-log.ts'
import { openSealedStore } from '../../support/sealed-store.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const SIGNED = { message: Buffer.alloc(200, 1), signature: Buffer.alloc(300, 2) }

function open(path: string, options: Partial<EvidenceStoreOptions> = {}) {
  const clock = new VirtualClock()
  const logger = recordingLogger()
  const store = openSealedStore(path)
  const evidence = new EvidenceStore({
    store,
    clock,
    logger,
    maxRecords: 1_000,
    maxBytes: 1_073_741_824,
    keepMs: 86_400_000,
    maxWaiting: 1_000,
    ...options,
  })
  const recordOf = (key: string) => ({
    key,
    bankCode: '044',
    keptAtMs: clock.nowMs(),
    request: SIGNED,
    response: { ...SIGNED, signature: 'header..signature' },
  })
  const close = async () => {
    await evidence.stop()
    await store.close()
  }
  return { clock, logger, store, evidence, recordOf, close }
}

t.test('SEC-5 evidence is kept in the background, in few commits, and found by its key after a restart', async (t) => {
  const path = t.testdir()
  const first = open(path)
  await first.evidence.start()
  const before = first.store.commits
  for (let n = 0; n < 300; n++) first.evidence.keep(first.recordOf(`k-${n % 100}`))
  t.match(first.evidence.counts, { kept: 0, waiting: 300, lost: 0 }, 'nothing was waited for')
  await first.close()
  const second = open(path)
  await second.evidence.start()
  t.match(second.evidence.counts, { kept: 300, waiting: 0, lost: 0 })
  t.ok(second.store.commits - before < 10)
  const found = await second.evidence.find('k-7')
  t.equal(found.length, 3, 'each exchange of the key')
  t.match(found[0], { key: 'k-7', bankCode: '044', request: SIGNED, response: { signature: 'header..signature' } })
  t.strictSame(await second.evidence.find('k'), [])
  await second.close()
})

t.test('SEC-5 a key may hold any character, and is not taken for the beginning of another', async (t) => {
  const { evidence, recordOf, close } = open(t.testdir())
  await evidence.start()
  const keys = ['a', 'a/', 'a/b', 'a\u0000', 'ä'.repeat(32)]
  for (const key of keys) evidence.keep(recordOf(key))
  for (const key of keys) {
    const found = await evidence.find(key)
    t.strictSame(
      found.map((record) => record.key),
      [key],
    )
  }
  await close()
})

t.test('SEC-5 evidence is removed when its time is over', async (t) => {
  const { evidence, recordOf, close, clock } = open(t.testdir(), { keepMs: 3_600_000, pruneIntervalMs: 1_000 })
  await evidence.start()
  evidence.keep(recordOf('old'))
  await evidence.find('old')
  await clock.advance(3_000_000)
  evidence.keep(recordOf('new'))
  await evidence.find('new')
  t.equal(evidence.counts.kept, 2)
  await clock.advance(1_300_000)
  while (evidence.counts.kept > 1) await new Promise(setImmediate)
  t.strictSame(await evidence.find('old'), [])
  t.equal((await evidence.find('new')).length, 1)
  await close()
})

t.test(
  'SEC-5 at a bound, and behind a slow disk, evidence is lost, counted and reported, and nothing waits',
  async (t) => {
    const dir = t.testdir()
    const full = open(join(dir, 'full'), { maxRecords: 10 })
    await full.evidence.start()
    for (let n = 0; n < 25; n++) full.evidence.keep(full.recordOf(`k-${n}`))
    t.match(full.evidence.counts, { waiting: 10, lost: 15 })
    const errors = full.logger.lines.filter(({ level }) => level === 'error')
    t.equal(errors.length, 1, 'one line, not fifteen')
    t.match(errors[0], { facts: { audit: true, exchanges: 1, lost: 1 }, message: /evidence is lost/ })
    await full.clock.advance(10_000)
    full.evidence.keep(full.recordOf('k-x'))
    t.match(full.logger.lines.at(-1), { facts: { exchanges: 15, lost: 16 } })
    await full.close()

    const slow = open(join(dir, 'slow'), { maxWaiting: 5 })
    await slow.evidence.start()
    for (let n = 0; n < 8; n++) slow.evidence.keep(slow.recordOf(`k-${n}`))
    t.match(slow.evidence.counts, { waiting: 5, lost: 3 })
    await slow.close()
    slow.evidence.keep(slow.recordOf('late'))
    t.equal(slow.evidence.counts.lost, 4, 'after the stop')

    const small = open(join(dir, 'small'), { maxBytes: 4_096 })
    await small.evidence.start()
    for (let n = 0; n < 8; n++) small.evidence.keep(small.recordOf(`k-${n}`))
    t.ok(small.evidence.counts.lost > 0, 'a bound of bytes')
    await small.close()
  },
)

t.test('SEC-5 a store that fails loses evidence, not the daemon', async (t) => {
  const { evidence, recordOf, store, logger } = open(t.testdir())
  await evidence.start()
  await store.close()
  evidence.keep(recordOf('k'))
  await evidence.stop()
  t.match(evidence.counts, { kept: 0, waiting: 0, lost: 1 })
  t.match(logger.lines.at(-1), { level: 'error', facts: { error: { code: 'SHUTTING_DOWN' } } })
})
