import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { journalDigest, RequestJournal } from '../../../lib/ls/journal/index.ts'
import { LsxError, silentLogger } from '../../../lib/runtime/index.ts'
import { openSealedStore } from '../../support/sealed-store.ts'
import { until } from '../../support/until.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { JournalHarness, NOW, newRequest, responseTo } from './journal-harness.ts'

const HOUR_MS = 3_600_000

t.test('BEY-2 the life of a request, and what is on disk after each step', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const { journal, clock } = harness
  t.equal(journal.get('a'), undefined)
  const request = newRequest('a')
  t.same(await journal.accept(request), { known: undefined })
  const digest = createHash('sha256').update('044\0transfer\0').update(request.payload).digest()
  t.match(journal.get('a'), { ...request, digest, state: 'accepted' })
  t.match(journal.counts, { open: 1, inDoubt: 0, settled: 0 })

  await clock.advance(5)
  journal.markSent('a', 'boot-1')
  t.match(journal.get('a'), { state: 'sent', sentAtMs: NOW + 5, bootId: 'boot-1' })
  await clock.advance(5)
  await journal.settle('a', { outcome: 'answered', response: responseTo('a') })
  const settled = {
    ...request,
    digest,
    state: 'settled',
    sentAtMs: NOW + 5,
    bootId: 'boot-1',
    settledAtMs: NOW + 10,
    outcome: 'answered',
    response: responseTo('a'),
  }
  t.match(journal.get('a'), settled)
  t.match(journal.counts, { open: 0, inDoubt: 0, settled: 1 })
  t.match((await harness.restart()).get('a'), settled, 'also for the next process')
  t.match(harness.journal.counts, { open: 0, inDoubt: 0, settled: 1 })
  await harness.stop()
  t.notMatch(readFileSync(join(harness.path, 'data.mdb'), 'latin1'), /payload of a|response to a/, 'sealed at rest')
})

t.test('each outcome is kept with its code', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  await Promise.all(['a', 'b', 'c'].map((key) => harness.journal.accept(newRequest(key))))
  await Promise.all([
    harness.journal.settle('a', { outcome: 'answered', code: 'HANDLER_FAILED', response: responseTo('a') }),
    harness.journal.settle('b', { outcome: 'refused', code: 'BUSY' }),
    harness.journal.settle('c', { outcome: 'not-sent', code: 'CHANNEL_DOWN' }),
  ])
  const journal = await harness.restart()
  t.match(journal.get('a'), { outcome: 'answered', code: 'HANDLER_FAILED', response: responseTo('a') })
  t.match(journal.get('b'), { outcome: 'refused', code: 'BUSY', response: undefined })
  t.match(journal.get('c'), { outcome: 'not-sent', code: 'CHANNEL_DOWN' })
  await harness.stop()
})

t.test('BEY-2 what is in doubt stays open, also across restarts, until it is settled', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const keys = ['a', 'b', 'c']
  for (const key of keys) {
    await harness.journal.accept(newRequest(key))
    harness.journal.markSent(key, 'boot-1')
    await harness.journal.settle(key, { outcome: 'in-doubt', code: 'IN_DOUBT' })
  }
  const inDoubt = { state: 'sent', outcome: 'in-doubt', code: 'IN_DOUBT', bootId: 'boot-1', settledAtMs: undefined }
  t.match(harness.journal.get('a'), inDoubt)
  t.match(harness.journal.counts, { open: 3, inDoubt: 3, settled: 0 })
  await harness.journal.settle('a', { outcome: 'in-doubt', code: 'IN_DOUBT' })
  t.match(harness.journal.counts, { open: 3, inDoubt: 3 }, 'saying so twice changes nothing')

  const journal = await harness.restart()
  t.match(journal.get('a'), inDoubt)
  t.match(journal.counts, { open: 3, inDoubt: 3, settled: 0 })
  t.same(
    journal.open('044').map(({ key }) => key),
    keys,
  )
  await journal.settle('a', { outcome: 'answered', response: responseTo('a') })
  await journal.settle('b', { outcome: 'refused', code: 'BUSY' })
  await journal.settle('c', { outcome: 'not-sent' })
  t.match(journal.counts, { open: 0, inDoubt: 0, settled: 3 })
  const last = await harness.restart()
  t.match(
    keys.map((key) => last.get(key)?.outcome),
    ['answered', 'refused', 'not-sent'],
  )
  t.match(last.counts, { open: 0, inDoubt: 0, settled: 3 })
  await harness.stop()
})

t.test('BEY-2 a settled request keeps its first outcome', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const { journal } = harness
  await journal.accept(newRequest('a'))
  const first = journal.settle('a', { outcome: 'answered', response: responseTo('a') })
  const second = journal.settle('a', { outcome: 'not-sent', code: 'CHANNEL_DOWN' })
  await Promise.all([first, second])
  t.match(journal.get('a'), { outcome: 'answered', code: undefined })
  t.equal(harness.log.length, 1)
  t.match(harness.log[0], /another outcome came/)
  await journal.settle('a', { outcome: 'answered', response: responseTo('a') })
  await journal.settle('a', { outcome: 'in-doubt' })
  t.equal(harness.log.length, 1, 'the same again, and a doubt that came late, are nothing to tell')
  t.match(journal.get('a'), { state: 'settled', outcome: 'answered' })
  journal.markSent('a', 'boot-2')
  t.equal(journal.get('a')?.bootId, undefined)
  await t.rejects(journal.settle('never', { outcome: 'refused' }), { code: 'INTERNAL' })
  await harness.stop()
})

t.test('BEY-2 a repeated key finds its request, whatever it has become', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const repeat = () => harness.journal.accept(newRequest('a'))
  const [first, twin, third] = await Promise.all([repeat(), repeat(), repeat()])
  t.equal(first?.known, undefined, 'one of those that came at once is new')
  t.match(twin?.known, { key: 'a', state: 'accepted' })
  t.match(third?.known, { key: 'a', state: 'accepted' })
  harness.journal.markSent('a', 'boot-1')
  t.match((await repeat()).known, { state: 'sent' })
  await harness.journal.settle('a', { outcome: 'in-doubt' })
  t.match((await repeat()).known, { state: 'sent', outcome: 'in-doubt' })
  await harness.journal.settle('a', { outcome: 'answered', response: responseTo('a') })
  t.match((await repeat()).known, { state: 'settled', response: responseTo('a') })
  await harness.restart()
  t.match((await repeat()).known, { state: 'settled', response: responseTo('a') })
  t.match(harness.journal.counts, { open: 0, settled: 1 })
  await harness.stop()
})

t.test('another request under the same key is refused', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const others = [{ bankCode: '058' }, { method: 'balance' }, { payload: Buffer.from('other') }]
  const accepting = harness.journal.accept(newRequest('a'))
  const early = others.map((fields) =>
    t.rejects(harness.journal.accept(newRequest('a', fields)), { code: 'DUPLICATE_MISMATCH' }),
  )
  await Promise.all([accepting, ...early])
  const mismatch = { code: 'DUPLICATE_MISMATCH', facts: { idempotencyKey: 'a' } }
  for (const fields of others) await t.rejects(harness.journal.accept(newRequest('a', fields)), mismatch)
  await harness.journal.settle('a', { outcome: 'refused', code: 'BUSY' })
  for (const fields of others) await t.rejects(harness.journal.accept(newRequest('a', fields)), mismatch)
  t.match((await harness.journal.accept(newRequest('a', { deadlineAtMs: NOW + 1 }))).known, { key: 'a' })
  await harness.stop()
})

t.test('the digest covers bank, method and payload, and where each ends', async (t) => {
  const digests = [
    { bankCode: '044', method: 'pay', payload: Buffer.from('one') },
    { bankCode: '04', method: '4pay', payload: Buffer.from('one') },
    { bankCode: '044', method: 'payo', payload: Buffer.from('ne') },
    { bankCode: '044', method: 'pay', payload: Buffer.from('onf') },
  ].map((request) => journalDigest(request).toString('hex'))
  t.equal(new Set(digests).size, 4)
})

t.test('BEY-2 group commit: a thousand of one tick are one commit, and so are their settlements', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const { journal, store } = harness
  const keys = Array.from({ length: 1_000 }, (_, index) => `key-${index}`)
  const before = store.commits
  await Promise.all(keys.map((key) => journal.accept(newRequest(key))))
  t.equal(store.commits - before, 1)
  t.same(
    journal.open('044').map(({ key }) => key),
    keys,
    'in order of acceptance',
  )
  await Promise.all(keys.map((key) => journal.settle(key, { outcome: 'answered', response: responseTo(key) })))
  t.equal(store.commits - before, 2)
  await harness.stop()
})

t.test('BEY-2 group commit: 64 callers one after the other share commits', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const { journal, store } = harness
  const before = store.commits
  let next = 0
  const caller = async () => {
    while (next < 2_000) {
      const key = `key-${next++}`
      await journal.accept(newRequest(key))
      journal.markSent(key, 'boot-1')
      await journal.settle(key, { outcome: 'answered', response: responseTo(key) })
    }
  }
  await Promise.all(Array.from({ length: 64 }, caller))
  const commits = store.commits - before
  t.ok(commits < 400, `4,000 promises on disk in ${commits} commits`)
  t.match(journal.counts, { open: 0, settled: 2_000 })
  await harness.stop()
})

t.test('a sent mark reaches the disk some time later, and costs nothing where the answer is faster', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'), { sentMarkDelayMs: 250 })
  const { journal, store, clock } = harness
  await Promise.all(['slow', 'fast'].map((key) => journal.accept(newRequest(key))))
  const before = store.commits
  journal.markSent('slow', 'boot-1')
  journal.markSent('fast', 'boot-1')
  t.equal(store.commits, before)
  await journal.settle('fast', { outcome: 'answered' })
  await clock.advance(250)
  await until(() => store.commits === before + 2)
  const restarted = await harness.restart()
  t.match(restarted.get('slow'), { state: 'sent', sentAtMs: NOW, bootId: 'boot-1' })
  await restarted.settle('slow', { outcome: 'answered' })
  t.match((await harness.restart()).get('slow'), { outcome: 'answered', bootId: 'boot-1' })
  await harness.stop()
})

t.test('BEY-2 after a restart every open request counts as sent, marked or not', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  await harness.journal.accept(newRequest('never-marked'))
  await harness.journal.accept(newRequest('marked'))
  harness.journal.markSent('marked', 'boot-1')
  const crashed = await harness.restart({ orderly: false })
  t.match(crashed.get('never-marked'), { state: 'sent', sentAtMs: undefined, outcome: undefined })
  t.match(crashed.get('marked'), { state: 'sent', sentAtMs: undefined }, 'the mark was not on disk yet')
  crashed.markSent('marked', 'boot-2')
  const stopped = await harness.restart({ orderly: true })
  t.match(
    stopped.get('marked'),
    { state: 'sent', sentAtMs: NOW, bootId: 'boot-2' },
    'an orderly stop writes what is due',
  )
  await harness.stop()
})

t.test('BEY-2 a restart rebuilds the open requests of each bank in order of acceptance', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const model = { '044': [] as string[], '058': [] as string[] }
  const random = fc.sample(fc.nat(), { numRuns: 1_500, seed: 11 })
  for (const [index, number] of random.entries()) {
    // Keys in no order, and a wall clock that goes back.
    const key = `${(number * 2_654_435_761) % 2 ** 32}-${index}`
    const bankCode = number % 3 === 0 ? '058' : '044'
    model[bankCode].push(key)
    const accepted = harness.journal.accept(newRequest(key, { bankCode, acceptedAtMs: NOW - (number % 5_000) }))
    if (index % 50 === 49) await accepted
  }
  const settled = new Set([...model['044'], ...model['058']].filter((_, index) => index % 2 === 0))
  await Promise.all([...settled].map((key) => harness.journal.settle(key, { outcome: 'answered' })))
  const expected = (bankCode: '044' | '058') => model[bankCode].filter((key) => !settled.has(key))

  const journal = await harness.restart()
  t.match(journal.counts, { open: 750, settled: 750, inDoubt: 0 })
  for (const bankCode of ['044', '058'] as const) {
    const keys: string[] = []
    for (let page = journal.open(bankCode, { limit: 100 }); page.length > 0; ) {
      t.ok(page.length <= 100)
      keys.push(...page.map(({ key }) => key))
      page = journal.open(bankCode, { limit: 100, after: page.at(-1)?.sequence })
    }
    t.same(keys, expected(bankCode))
  }
  t.same(journal.open('033'), [])
  t.equal(journal.damagedCount, 0)
  await harness.stop()
})

t.test('queries', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const { journal } = harness
  for (let index = 0; index < 300; index++) {
    const key = `k${index}`
    const bankCode = index % 10 === 0 ? '058' : '044'
    await journal.accept(newRequest(key, { bankCode, acceptedAtMs: NOW + index }))
    if (index % 3 === 0) await journal.settle(key, { outcome: 'answered' })
    if (index % 3 === 1) await journal.settle(key, { outcome: 'in-doubt' })
  }
  const keys = async (query: Parameters<typeof journal.list>[0]) => (await journal.list(query)).map(({ key }) => key)
  t.same(await keys({ state: 'open', limit: 3 }), ['k1', 'k2', 'k4'])
  t.same(await keys({ state: 'in-doubt', limit: 3 }), ['k1', 'k4', 'k7'])
  t.same(await keys({ state: 'settled', limit: 3 }), ['k297', 'k294', 'k291'])
  t.same(await keys({ limit: 3 }), ['k299', 'k298', 'k297'])
  t.same(await keys({ state: 'settled', bankCode: '058', limit: 2 }), ['k270', 'k240'])
  t.same(await keys({ state: 'in-doubt', bankCode: '058', limit: 2 }), ['k10', 'k40'])
  t.same(await keys({ bankCode: '033', limit: 10 }), [])
  t.equal((await keys({ limit: 5_000 })).length, 300)
  t.equal((await keys({ limit: 0 })).length, 1)
  await harness.stop()
})

t.test('the number of requests is bounded, and room comes back by pruning', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'), {
    maxRecords: 10,
    keepSettledMs: 60_000,
    pruneIntervalMs: 10_000,
  })
  const { journal, clock } = harness
  await Promise.all(Array.from({ length: 10 }, (_, index) => journal.accept(newRequest(`k${index}`))))
  await t.rejects(journal.accept(newRequest('more')), { code: 'STORE_FULL', party: 'self', facts: { records: 10 } })
  t.match((await journal.accept(newRequest('k0'))).known, { key: 'k0' }, 'what is known is found in a full journal')
  await journal.settle('k0', { outcome: 'answered' })
  await t.rejects(journal.accept(newRequest('more')), { code: 'STORE_FULL' })
  await clock.advance(75_000)
  await until(() => journal.counts.settled === 0)
  await journal.accept(newRequest('more', { acceptedAtMs: clock.nowMs() }))
  await harness.stop()
})

t.test('the bytes are bounded', async (t) => {
  const maxBytes = 1024 * 1024
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'), { maxBytes })
  const { journal, clock } = harness
  let refused: unknown
  let kept = 0
  while (refused === undefined && kept < 500) {
    try {
      await journal.accept(newRequest(`k${kept}`, { payload: Buffer.alloc(20_000, 1) }))
      kept++
    } catch (error) {
      refused = error
    }
    await clock.advance(100)
  }
  t.match(refused, { code: 'STORE_FULL' })
  t.ok(kept >= 35 && kept <= 55, `${kept} requests of 20 kB`)
  await journal.settle('k0', { outcome: 'answered', response: Buffer.alloc(50_000) })
  t.match(journal.get('k0'), { state: 'settled' }, 'what was accepted can be settled')
  await clock.advance(1_000)
  t.ok(journal.counts.bytes > 50 * 20_000 * 0.7)
  await harness.stop()
})

t.test('the floor of free space refuses what is new, and lets what is open be settled', async (t) => {
  const path = join(t.testdir({}), 'store')
  const roomy = await JournalHarness.start(path)
  await roomy.journal.accept(newRequest('a'))
  await roomy.stop()
  const store = openSealedStore(path, { minFreeBytes: Number.MAX_SAFE_INTEGER })
  const journal = new RequestJournal({ store, clock: new VirtualClock(NOW), logger: silentLogger })
  await journal.start(new AbortController().signal)
  await t.rejects(journal.accept(newRequest('b')), { code: 'STORE_FULL' })
  t.equal(journal.get('b'), undefined)
  t.match(journal.counts, { open: 1 })
  await t.rejects(journal.settle('a', { outcome: 'answered' }), { code: 'STORE_FULL' }, 'below the reserve too')
  t.match(journal.get('a'), { state: 'sent' }, 'and it is open still')
  await journal.stop()
  await store.close()
})

t.test('too many at once are refused, and leave nothing behind', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'), { storeOptions: { maxPendingWrites: 8 } })
  const { journal } = harness
  const results = await Promise.allSettled(
    Array.from({ length: 12 }, (_, index) => journal.accept(newRequest(`k${index}`))),
  )
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 8)
  t.match(results.at(-1), { reason: { code: 'STORE_FULL' } })
  t.match(journal.counts, { open: 8 })
  t.equal(journal.get('k11'), undefined)
  await journal.accept(newRequest('k11'))
  await harness.stop()
})

t.test('a write that fails leaves no request behind, or an open one', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const { journal, store } = harness
  const write = store.write.bind(store)
  let failing = true
  store.write = async (changes, purpose) => {
    if (!failing) return await write(changes, purpose)
    failing = false
    throw new LsxError('STORE_FULL', 'the disk is full')
  }
  const [failed, twin] = await Promise.allSettled([journal.accept(newRequest('a')), journal.accept(newRequest('a'))])
  t.match(failed, { status: 'rejected', reason: { code: 'STORE_FULL' } })
  t.match(twin, { status: 'fulfilled', value: { known: undefined } }, 'the repetition is then the first')
  t.match(journal.counts, { open: 1 })
  for (const outcome of ['in-doubt', 'answered'] as const) {
    failing = true
    await t.rejects(journal.settle('a', { outcome }), { code: 'STORE_FULL' })
    t.match(journal.get('a'), { state: 'accepted', outcome: undefined })
  }
  failing = true
  const settlements = await Promise.allSettled([
    journal.settle('a', { outcome: 'refused', code: 'BUSY' }),
    journal.settle('a', { outcome: 'answered', response: responseTo('a') }),
  ])
  t.same(
    settlements.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  )
  t.match(journal.get('a'), { outcome: 'answered' }, 'the first that reached the disk')
  t.match((await harness.restart()).get('a'), { outcome: 'answered' })
  await harness.stop()
})

t.test('settled requests are removed in their time, open ones never', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'), {
    keepSettledMs: HOUR_MS,
    pruneIntervalMs: 60_000,
  })
  const { journal, clock } = harness
  await Promise.all(['early', 'late', 'open', 'doubt'].map((key) => journal.accept(newRequest(key))))
  await journal.settle('early', { outcome: 'answered' })
  await journal.settle('doubt', { outcome: 'in-doubt' })
  const until60 = async (untilMs: number) => {
    while (clock.monotonicMs() < untilMs) {
      await clock.advance(60_000)
      await until(() => clock.pendingTimers === 1)
    }
  }
  await until60(HOUR_MS / 2)
  await journal.settle('late', { outcome: 'answered' })
  await until60(HOUR_MS)
  t.ok(journal.get('early'), 'as long as it is promised')
  await until60(HOUR_MS + 60_000)
  t.equal(journal.get('early'), undefined)
  await until60(HOUR_MS * 1.5)
  t.match(journal.get('late'), { state: 'settled' }, 'counted from its settlement')
  await until60(HOUR_MS * 1.5 + 60_000)
  t.equal(journal.get('late'), undefined)
  await until60(HOUR_MS * 3)
  t.match(journal.counts, { open: 2, inDoubt: 1, settled: 0 })
  t.match([journal.get('open')?.state, journal.get('doubt')?.outcome], ['accepted', 'in-doubt'])
  t.same(await journal.accept(newRequest('early')), { known: undefined }, 'its key is new again')
  const restarted = await harness.restart()
  t.match(restarted.counts, { open: 3, inDoubt: 1, settled: 0 })
  t.equal(restarted.damagedCount, 0)
  await harness.stop()
})

t.test('a journal serves between its start and its stop', async (t) => {
  const harness = await JournalHarness.start(join(t.testdir({}), 'store'))
  const { journal, store, clock } = harness
  await journal.accept(newRequest('a'))
  journal.markSent('a', 'boot-1')
  t.equal(clock.pendingTimers, 2)
  await journal.stop()
  t.equal(clock.pendingTimers, 0)
  await t.rejects(journal.accept(newRequest('b')), { code: 'SHUTTING_DOWN' })
  await journal.settle('a', { outcome: 'answered' })
  t.match(journal.get('a'), { state: 'settled' }, 'what was begun is finished')
  await journal.stop()
  await store.close()
  await t.rejects(journal.settle('a', { outcome: 'answered' }), { code: 'SHUTTING_DOWN' })

  const fresh = openSealedStore(harness.path)
  const unstarted = new RequestJournal({ store: fresh, clock, logger: silentLogger })
  await t.rejects(unstarted.accept(newRequest('b')), { code: 'INTERNAL', message: /was not started/ })
  await t.rejects(unstarted.start(AbortSignal.abort(new Error('enough'))), { message: 'enough' })
  await unstarted.stop()
  await fresh.close()
})
