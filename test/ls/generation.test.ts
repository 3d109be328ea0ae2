import { join } from 'node:path'
import t from 'tap'
import { nextGeneration, validateGeneration } from '../../lib/ls/generation.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { openStore } from '../../lib/store/index.ts'
import { MemoryTable } from '../support/memory-store.ts'

const NOW_MS = 1_800_000_000_000

t.test('the first generation is the time, each later one is higher', async (t) => {
  const table = new MemoryTable<number>('ls')
  t.equal(await nextGeneration(table, NOW_MS), NOW_MS)
  t.equal(await nextGeneration(table, NOW_MS), NOW_MS + 1, 'two starts within a millisecond')
  t.equal(await nextGeneration(table, NOW_MS + 5_000), NOW_MS + 5_000)
})

t.test('it rises also where the clock was set back, by hours or to its beginning', async (t) => {
  const table = new MemoryTable<number>('ls')
  const generations: number[] = []
  for (const nowMs of [NOW_MS, NOW_MS - 3_600_000, 0, NOW_MS - 1, NOW_MS + 1]) {
    generations.push(await nextGeneration(table, nowMs))
  }
  t.strictSame(
    generations,
    [0, 1, 2, 3, 4].map((step) => NOW_MS + step),
  )
})

t.test('it is in the store before anybody hears of it', async (t) => {
  const table = new MemoryTable<number>('ls')
  const generation = await nextGeneration(table, NOW_MS)
  t.strictSame(table.puts, [{ key: 'generation', value: generation }])
  table.failPuts = new LsxError('STORE_FULL', 'the disk is full')
  await t.rejects(nextGeneration(table, NOW_MS), { code: 'STORE_FULL' })
})

t.test('it rises across restarts, in a real store', async (t) => {
  const path = join(t.testdir({}), 'store')
  const start = async (nowMs: number) => {
    const store = openStore({ path })
    try {
      return await nextGeneration(store.table('ls', { validate: validateGeneration }), nowMs)
    } finally {
      await store.close()
    }
  }
  t.equal(await start(NOW_MS), NOW_MS)
  t.equal(await start(NOW_MS - 86_400_000), NOW_MS + 1)
  t.equal(await start(NOW_MS - 86_400_000), NOW_MS + 2)
})

t.test('a record of another form ends the start: to begin again lower would lock LS out', async (t) => {
  for (const value of [-1, 1.5, Number.NaN, '17', null, undefined, {}, Number.MAX_SAFE_INTEGER + 1]) {
    t.throws(() => validateGeneration(value), { code: 'INTERNAL' })
  }
  t.equal(validateGeneration(NOW_MS), NOW_MS)
  const table = new MemoryTable<number>('ls')
  table.damaged.set('generation', new LsxError('INTERNAL', 'the record is damaged'))
  await t.rejects(nextGeneration(table, NOW_MS), { code: 'INTERNAL' })
})
