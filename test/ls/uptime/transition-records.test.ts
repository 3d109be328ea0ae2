import { join } from 'node:path'
import { open } from 'lmdb'
import t, { type Test } from 'tap'
import type { Transition } from '../../../lib/ls/uptime/index.ts'
import { TransitionRecords } from '../../../lib/ls/uptime/transition-records.ts'
import type { LsxError } from '../../../lib/runtime/index.ts'
import { openStore, type Store } from '../../../lib/store/index.ts'
import { DAY_MS, lifeOf, START_MS } from './scenario.ts'

const signal = new AbortController().signal
const day = (count: number) => START_MS + count * DAY_MS

function newStore(t: Test, path = join(t.testdir({}), 'store')): Store {
  const store = openStore({ path, minFreeBytes: 0 })
  t.teardown(() => store.close())
  return store
}

function newRecords(store: Store): { records: TransitionRecords; damage: LsxError[] } {
  const damage: LsxError[] = []
  return { records: new TransitionRecords(store, { onDamage: (error) => damage.push(error) }), damage }
}

async function putAll(records: TransitionRecords, transitions: readonly Transition[]): Promise<void> {
  await Promise.all(transitions.map((transition) => records.put(transition)))
}

async function all(records: TransitionRecords, bankCode: string): Promise<Transition[]> {
  const found: Transition[] = []
  for await (const transition of records.oldestFirst(bankCode, signal)) found.push(transition)
  return found
}

/** A bank that is away: one failed attempt each `everyMs`. */
function attempts(bankCode: string, fromMs: number, count: number, everyMs: number): Transition[] {
  return lifeOf(
    bankCode,
    Array.from({ length: count }, (_, index) => [
      fromMs + Math.floor(index / 2) * everyMs,
      index % 2 === 0 ? 'dialing' : 'idle',
      index % 2 === 0 ? {} : { cause: 'tcp' as const },
    ]),
  )
}

t.test('transitions come back in the order in which they were put, those of one instant too', async (t) => {
  const { records } = newRecords(newStore(t))
  const life = lifeOf('044', [
    [START_MS, 'dialing'],
    [START_MS, 'securing'],
    [START_MS, 'connected'],
    [START_MS, 'idle', { cause: 'echo' }],
    [START_MS, 'dialing'],
    [START_MS + 1, 'idle', { cause: 'tcp' }],
  ])
  await putAll(records, life)
  t.same(await all(records, '044'), life)
})

t.test('banks whose codes begin alike are kept apart', async (t) => {
  const { records } = newRecords(newStore(t))
  const codes = ['04', '044', '0440', '044.', '044-1', 'BANK_A']
  await putAll(
    records,
    codes.flatMap((code) => attempts(code, START_MS, 4, 1_000)),
  )
  t.same(await records.banks(signal), [...codes].sort())
  for (const code of codes) {
    const found = await all(records, code)
    t.equal(found.length, 4)
    t.ok(found.every(({ bankCode }) => bankCode === code))
  }
})

t.test('LS-17 the newest transitions within a time, of one bank or of many', async (t) => {
  const { records } = newRecords(newStore(t))
  const life = ['044', '058', '070'].map((code, index) => attempts(code, START_MS + index, 700, 1_000))
  await putAll(records, life.flat())
  const banks = ['044', '058', '070'].map((bankCode) => ({ bankCode, lastAtMs: START_MS + 349_002 }))
  const range = { sinceMs: START_MS + 10_000, untilMs: START_MS + 320_000 }
  const within = life.flat().filter(({ atMs }) => atMs >= range.sinceMs && atMs < range.untilMs)
  const newest = records.newest({ banks, ...range, limit: 600 })
  t.equal(newest.length, 600)
  t.same(
    newest.map(({ atMs }) => atMs),
    within
      .map(({ atMs }) => atMs)
      .sort((left, right) => left - right)
      .slice(-600),
  )
  t.equal(records.newest({ banks, ...range, limit: 10_000 }).length, within.length)
  const [one] = banks
  t.same(
    records.newest({ banks: one === undefined ? [] : [one], ...range, limit: 10_000 }),
    within.filter(({ bankCode }) => bankCode === '044'),
  )
})

t.test('a damaged record is left out and reported, the others are served', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = openStore({ path, minFreeBytes: 0 })
  const life = attempts('044', START_MS, 40, 1_000)
  await putAll(newRecords(first).records, life)
  await first.close()
  const root = open<Buffer, Buffer>({ path, noSubdir: false, encoding: 'binary' })
  const database = root.openDB<Buffer, Buffer>('uptime-attempts', { encoding: 'binary', keyEncoding: 'binary' })
  const keys = [...database.getKeys()].map((key) => Buffer.from(key))
  const [moved, damaged] = [keys[3], keys[20]] as [Buffer, Buffer]
  await database.put(moved, database.getBinary(damaged) ?? Buffer.alloc(0))
  await database.put(damaged, Buffer.from('nothing of ours'))
  await root.close()

  const { records, damage } = newRecords(newStore(t, path))
  const found = await all(records, '044')
  t.equal(found.length, 38)
  t.match(damage, [{ code: 'INTERNAL', facts: { table: 'uptime-attempts' } }, { code: 'INTERNAL' }])
  const banks = [{ bankCode: '044', lastAtMs: START_MS + 60_000 }]
  t.same(records.newest({ banks, sinceMs: 0, untilMs: Number.MAX_SAFE_INTEGER, limit: 100 }), found)
})

t.test('pruning removes what is old, in batches, and keeps the state that holds', async (t) => {
  const store = newStore(t)
  const { records } = newRecords(store)
  await putAll(records, [
    ...lifeOf('up', [
      [day(0), 'connected'],
      [day(1), 'idle', { cause: 'tcp' }],
      [day(2), 'connected'],
    ]),
    ...lifeOf('down', [
      [day(0), 'connected'],
      [day(1), 'idle', { cause: 'tcp' }],
      [day(60), 'connected'],
    ]),
    ...lifeOf('gone', [
      [day(0), 'connected'],
      [day(1), 'idle', { cause: 'tcp' }],
    ]),
    ...attempts('busy', day(0), 1_600, 1_000),
    ...attempts('busy', day(60), 20, 1_000),
  ])
  const removed = await records.prune({ beforeMs: day(50), maxAttempts: 10_000, signal })
  t.equal(removed, 2 + 1 + 2 + 1_600)
  t.match(await all(records, 'up'), [{ atMs: day(2), to: 'connected' }], 'up for two months, and still known')
  t.match(await all(records, 'down'), [{ atMs: day(1), to: 'idle' }, { atMs: day(60) }])
  t.same(await records.banks(signal), ['busy', 'down', 'up'])
  t.equal((await all(records, 'busy')).length, 20)
  t.equal(await records.prune({ beforeMs: day(50), maxAttempts: 10_000, signal }), 0)
})

t.test('attempts above their bound go, oldest first; ups and downs are not crowded out', async (t) => {
  const { records } = newRecords(newStore(t))
  await putAll(records, [
    ...lifeOf('044', [
      [START_MS, 'connected'],
      [START_MS + 1, 'idle', { cause: 'tcp' }],
    ]),
  ])
  await putAll(records, attempts('044', START_MS + 1_000, 1_500, 1_000))
  t.equal(await records.prune({ beforeMs: 0, maxAttempts: 100, signal }), 1_400)
  const kept = await all(records, '044')
  t.equal(kept.length, 102)
  t.match(kept.slice(0, 2), [{ to: 'connected' }, { to: 'idle' }])
  t.equal(kept.at(-1)?.atMs, START_MS + 1_000 + 749_000)
})

t.test('a pruning can be stopped between batches', async (t) => {
  const { records } = newRecords(newStore(t))
  await putAll(records, attempts('044', START_MS, 1_600, 1_000))
  const stop = new AbortController()
  const pruning = records.prune({ beforeMs: day(90), maxAttempts: 0, signal: stop.signal })
  const rejected = t.rejects(pruning, { message: 'enough' })
  stop.abort(new Error('enough'))
  await rejected
  const left = (await all(records, '044')).length
  t.ok(left >= 1_100, `${left} left: at most one batch was removed`)
  t.equal(await records.prune({ beforeMs: day(90), maxAttempts: 0, signal }), left, 'the next one does the rest')
})
