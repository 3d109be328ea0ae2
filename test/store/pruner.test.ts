import { join } from 'node:path'
import t from 'tap'
import { LsxError, silentLogger } from '../../lib/runtime/index.ts'
import { Pruner, TimeIndex, type TransactionalStore } from '../../lib/store/index.ts'
import { until } from '../support/until.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { openSampleStore, sampleTable } from './records.ts'

const KEEP_MS = 60_000
const INTERVAL_MS = 1_000

function prunedTable(store: TransactionalStore, clock: VirtualClock) {
  const table = sampleTable(store)
  const index = new TimeIndex(store, 'order')
  const held = new Set<string>()
  const damaged = new Set<string>()
  const removed: string[] = []
  let batches = 0
  const pruner = new Pruner({
    store,
    index,
    keepMs: KEEP_MS,
    intervalMs: INTERVAL_MS,
    lastWriteMs: (key) => {
      if (damaged.has(key)) throw new LsxError('INTERNAL', 'damaged')
      return held.has(key) ? 'held' : table.get(key)?.amountMinor
    },
    removalsOf: (key) => [table.toRemove(key)],
    onRemoved: (keys) => {
      batches++
      removed.push(...keys)
    },
    clock,
    logger: silentLogger,
  })
  return {
    table,
    index,
    held,
    damaged,
    removed,
    pruner,
    batches: () => batches,
    add: (key: string, atMs = clock.nowMs()) =>
      store.write([
        table.toPut(key, { text: key, amountMinor: atMs }),
        index.toAdd({ position: index.next(atMs), key }),
      ]),
    write: (key: string) => table.put(key, { text: key, amountMinor: clock.nowMs() }),
    keys: () => table.keys({ limit: 10_000 }),
    entries: () => index.oldest(10_000).map(({ key }) => key),
  }
}

/** Its wall clock can be set, as an administrator or a time service would. */
class SteppedClock extends VirtualClock {
  stepMs = 0

  override nowMs(): number {
    return super.nowMs() + this.stepMs
  }
}

t.test('a wall clock that jumps ahead empties no table, and one that is set right again changes nothing', async (t) => {
  const clock = new SteppedClock()
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const pruned = prunedTable(store, clock)
  await pruned.add('begun')
  pruned.pruner.start()
  clock.stepMs = 10 * KEEP_MS
  for (let pass = 0; pass < 3; pass++) {
    await clock.advance(INTERVAL_MS)
    await until(() => clock.pendingTimers === 1)
  }
  t.same(pruned.keys(), ['begun'], 'a key that is forgotten could be executed again')
  clock.stepMs = 0
  await clock.advance(KEEP_MS - 3 * INTERVAL_MS - 1)
  await until(() => clock.pendingTimers === 1)
  t.same(pruned.keys(), ['begun'])
  await clock.advance(2 * INTERVAL_MS)
  await until(() => clock.pendingTimers === 1)
  t.same(pruned.removed, ['begun'], 'its time is over by any clock')
  await pruned.pruner.stop()
  await store.close()
})

t.test('what is old is removed, what was written since is moved, what is held stays', async (t) => {
  const clock = new VirtualClock()
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const pruned = prunedTable(store, clock)
  await Promise.all(['old', 'rewritten', 'held', 'damaged', 'gone'].map((key) => pruned.add(key)))
  await pruned.table.remove('gone')
  await clock.advance(30_000)
  await pruned.write('rewritten')
  await pruned.add('young')
  pruned.held.add('held')
  pruned.damaged.add('damaged')
  await clock.advance(30_001 - INTERVAL_MS)
  pruned.pruner.start()
  await clock.advance(INTERVAL_MS)
  await until(() => clock.pendingTimers === 1)
  t.same(pruned.removed, ['old'])
  t.same(pruned.keys(), ['damaged', 'held', 'rewritten', 'young'])
  t.same(pruned.entries(), ['held', 'damaged', 'rewritten', 'young'], 'the entry without a record is gone too')

  pruned.held.clear()
  await clock.advance(INTERVAL_MS)
  await until(() => clock.pendingTimers === 1)
  t.same(pruned.removed, ['old', 'held'])
  const moments: (readonly string[])[] = []
  while (clock.monotonicMs() < 30_000 + KEEP_MS + 2 * INTERVAL_MS) {
    await clock.advance(INTERVAL_MS)
    await until(() => clock.pendingTimers === 1)
    if (clock.monotonicMs() <= 30_000 + KEEP_MS) moments.push(pruned.keys())
  }
  t.ok(
    moments.every((keys) => keys.includes('rewritten') && keys.includes('young')),
    'the moved one has its whole time',
  )
  t.same(pruned.keys(), ['damaged'])
  await pruned.pruner.stop()
  t.equal(clock.pendingTimers, 0)
  await store.close()
})

t.test('many are removed in bounded batches', async (t) => {
  const clock = new VirtualClock()
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const pruned = prunedTable(store, clock)
  await Promise.all(Array.from({ length: 1_000 }, (_, index) => pruned.add(`k${index}`)))
  await clock.advance(KEEP_MS)
  pruned.pruner.start()
  await clock.advance(INTERVAL_MS)
  await until(() => pruned.removed.length === 1_000)
  t.equal(pruned.batches(), 8)
  t.same([pruned.keys(), pruned.entries()], [[], []])
  await pruned.pruner.stop()
  await store.close()
})

t.test('a key on its way out is known as such until it is gone', async (t) => {
  const clock = new VirtualClock()
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const pruned = prunedTable(store, clock)
  await pruned.add('old')
  let seen: Promise<void> | undefined
  const write = store.write.bind(store)
  store.write = (changes, purpose) => {
    const written = write(changes, purpose)
    queueMicrotask(() => {
      seen ??= pruned.pruner.removalOf('old')
    })
    return written
  }
  await clock.advance(KEEP_MS)
  pruned.pruner.start()
  await clock.advance(INTERVAL_MS)
  await until(() => pruned.removed.length === 1)
  t.ok(seen)
  await seen
  t.notOk(pruned.table.has('old'))
  t.equal(pruned.pruner.removalOf('old'), undefined)
  await pruned.pruner.stop()
  await store.close()
})

t.test('a full store is pruned all the same', async (t) => {
  const clock = new VirtualClock()
  const path = join(t.testdir({}), 'store')
  const roomy = openSampleStore(path)
  const before = prunedTable(roomy, clock)
  await before.add('old')
  await before.add('rewritten')
  await clock.advance(30_000)
  await before.write('rewritten')
  await roomy.close()
  const store = openSampleStore(path, { minFreeBytes: Number.MAX_SAFE_INTEGER })
  const pruned = prunedTable(store, clock)
  await clock.advance(30_001 - INTERVAL_MS)
  pruned.pruner.start()
  await clock.advance(INTERVAL_MS)
  await until(() => clock.pendingTimers === 1)
  t.same(pruned.removed, ['old'])
  t.same(pruned.keys(), ['rewritten'])
  t.same(pruned.entries(), ['rewritten'], 'only the move had to wait')
  await pruned.pruner.stop()
  await store.close()
})
