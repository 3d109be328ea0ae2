import { join } from 'node:path'
import t from 'tap'
import { RequestJournal } from '../../../lib/ls/journal/index.ts'
import { silentLogger } from '../../../lib/runtime/index.ts'
import { damage, openSealedStore, tamper } from '../../support/sealed-store.ts'
import { until } from '../../support/until.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { JournalHarness, NOW, newRequest, responseTo } from './journal-harness.ts'

const HOUR_MS = 3_600_000

/** A store with an open, a doubtful and a settled request of each of three names. */
async function storeWithRequests(path: string): Promise<void> {
  const { journal, store } = await JournalHarness.start(path)
  for (const name of ['a', 'b']) {
    for (const kind of ['open', 'doubt', 'settled']) await journal.accept(newRequest(`${kind}-${name}`))
    await journal.settle(`doubt-${name}`, { outcome: 'in-doubt', code: 'IN_DOUBT' })
    await journal.settle(`settled-${name}`, { outcome: 'answered', response: responseTo(name) })
  }
  await journal.stop()
  await store.close()
}

t.test('BEY-2 a damaged request is found, listed and never served, and the others are', async (t) => {
  const path = join(t.testdir({}), 'store')
  await storeWithRequests(path)
  await damage(path, 'journal', 'open-a')
  await damage(path, 'journal-outcomes', 'settled-a')
  const harness = await JournalHarness.start(path)
  const { journal } = harness
  t.match(journal.damaged, [{ key: 'open-a', table: 'journal', message: /is damaged/ }], 'an open one at the start')
  await journal.verification
  t.match(journal.damaged, [{ key: 'open-a' }, { key: 'settled-a', table: 'journal-outcomes' }])
  t.equal(journal.damagedCount, 2)
  t.equal(harness.log.length, 2)
  t.match(harness.log[0], /"idempotencyKey":"open-a"/)
  for (const key of ['open-a', 'settled-a']) {
    t.throws(() => journal.get(key), { code: 'INTERNAL', facts: { recordKey: key } })
    await t.rejects(journal.accept(newRequest(key)), { code: 'INTERNAL' }, 'not taken on a second time either')
    await t.rejects(journal.settle(key, { outcome: 'answered' }), { code: 'INTERNAL' })
  }
  t.same(
    journal.open('044').map(({ key }) => key),
    ['doubt-a', 'open-b', 'doubt-b'],
  )
  t.same(
    (await journal.list({ limit: 10 })).map(({ key }) => key),
    ['settled-b', 'doubt-b', 'open-b', 'doubt-a'],
  )
  t.match(journal.get('settled-b'), { response: responseTo('b') })
  await harness.stop()
})

t.test('BEY-2 a request that is gone is known by its place in the order', async (t) => {
  const path = join(t.testdir({}), 'store')
  await storeWithRequests(path)
  await tamper(path, 'journal', (raw) => raw.remove(Buffer.from('settled-a')))
  const harness = await JournalHarness.start(path, { keepSettledMs: HOUR_MS, pruneIntervalMs: HOUR_MS })
  const { journal, clock } = harness
  t.match(journal.damaged, [{ key: 'settled-a', table: 'journal', message: /is lost/ }])
  t.throws(() => journal.get('settled-a'), { code: 'INTERNAL' })
  await t.rejects(journal.accept(newRequest('settled-a')), { code: 'INTERNAL' })
  await clock.advance(HOUR_MS + 1)
  await until(() => clock.pendingTimers === 1)
  await clock.advance(HOUR_MS + 1)
  await until(() => clock.pendingTimers === 1)
  t.same(await journal.accept(newRequest('settled-a')), { known: undefined }, 'as new as any key after so long')
  await harness.stop()
})

t.test('BEY-2 a settled request whose outcome is gone is not open again', async (t) => {
  const path = join(t.testdir({}), 'store')
  await storeWithRequests(path)
  await tamper(path, 'journal-outcomes', (raw) => raw.remove(Buffer.from('settled-a')))
  const { journal, ...harness } = await JournalHarness.start(path)
  t.match(journal.damaged, [{ key: 'settled-a', table: 'journal-outcomes', message: /is lost/ }])
  t.throws(() => journal.get('settled-a'), { code: 'INTERNAL' })
  await t.rejects(journal.accept(newRequest('settled-a')), { code: 'INTERNAL' })
  t.same(
    journal.open('044').map(({ key }) => key),
    ['open-a', 'doubt-a', 'open-b', 'doubt-b'],
  )
  await journal.stop()
  await harness.store.close()
})

t.test('the outcome of another acceptance of the key is not taken', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = await JournalHarness.start(path)
  await first.journal.accept(newRequest('a'))
  await first.journal.settle('a', { outcome: 'answered', response: responseTo('a') })
  await first.stop()
  let outcome: Buffer | undefined
  await tamper(path, 'journal-outcomes', async (raw) => {
    outcome = raw.getBinary(Buffer.from('a'))
    await raw.remove(Buffer.from('a'))
  })
  await tamper(path, 'journal', (raw) => raw.remove(Buffer.from('a')))
  await tamper(path, 'journal-order', (raw) => raw.clearAsync())
  const second = await JournalHarness.start(path, {}, new VirtualClock(NOW + 1_000))
  await second.journal.accept(newRequest('a', { acceptedAtMs: NOW + 1_000 }))
  await second.stop()
  await tamper(path, 'journal-outcomes', (raw) => raw.put(Buffer.from('a'), outcome ?? Buffer.alloc(0)))
  const third = await JournalHarness.start(path)
  t.throws(() => third.journal.get('a'), {
    code: 'INTERNAL',
    message: /the outcome of a request in the journal is lost/,
  })
  await third.stop()
})

t.test('a damaged note of how far a request was leaves it open', async (t) => {
  const path = join(t.testdir({}), 'store')
  await storeWithRequests(path)
  await damage(path, 'journal-progress', 'doubt-a')
  const { journal, ...harness } = await JournalHarness.start(path)
  t.match(journal.damaged, [{ key: 'doubt-a', table: 'journal-progress' }])
  t.match(journal.get('doubt-a'), { state: 'sent', outcome: undefined })
  await journal.settle('doubt-a', { outcome: 'answered' })
  t.match(journal.get('doubt-a'), { state: 'settled' })
  await journal.stop()
  await harness.store.close()
})

t.test('a journal that has lost too much does not start', async (t) => {
  const path = join(t.testdir({}), 'store')
  const store = openSealedStore(path)
  const journal = new RequestJournal({ store, clock: new VirtualClock(NOW), logger: silentLogger })
  await journal.start(new AbortController().signal)
  await Promise.all(Array.from({ length: 10_001 }, (_, index) => journal.accept(newRequest(`k${index}`))))
  await journal.stop()
  await store.close()
  await tamper(path, 'journal', (raw) => raw.clearAsync())
  const damaged = openSealedStore(path)
  const unstarted = new RequestJournal({ store: damaged, clock: new VirtualClock(NOW), logger: silentLogger })
  await t.rejects(unstarted.start(new AbortController().signal), {
    code: 'INTERNAL',
    message: /has lost more than 10000 records: restore the store/,
  })
  await damaged.close()
})
