import { join } from 'node:path'
import t from 'tap'
import { LsxError } from '../../lib/runtime/index.ts'
import { openStore } from '../../lib/store/index.ts'
import { GenerationFence, validateGeneration } from '../../lib/xchange/fence.ts'
import { MemoryTable } from '../support/memory-store.ts'

const NOW = 1_800_000_000_000

t.test('the highest generation that was accepted stands; an older LS is refused', async (t) => {
  const table = new MemoryTable<number>('fence')
  const fence = new GenerationFence(table)
  t.equal(fence.highest, 0)
  fence.accept(NOW)
  t.equal(fence.highest, NOW)
  fence.accept(NOW + 5)
  for (const older of [NOW + 4, NOW, 1, 0]) {
    t.throws(() => fence.accept(older), { code: 'STALE_GENERATION', party: 'peer' })
    t.equal(fence.highest, NOW + 5)
  }
  t.strictSame(
    table.puts.map(({ value }) => value),
    [NOW, NOW + 5],
  )
})

t.test('the same LS comes back again and again, and costs the disk nothing', async (t) => {
  const table = new MemoryTable<number>('fence')
  const fence = new GenerationFence(table)
  for (let n = 0; n < 5; n++) fence.accept(NOW)
  t.equal(table.puts.length, 1)
})

t.test('it is on disk before it counts: where the disk refuses, the generation is not accepted', async (t) => {
  const table = new MemoryTable<number>('fence')
  const fence = new GenerationFence(table)
  fence.accept(NOW)
  table.failPuts = new LsxError('STORE_FULL', 'the disk is full')
  t.throws(() => fence.accept(NOW + 1), { code: 'STORE_FULL' })
  t.equal(fence.highest, NOW)
  fence.accept(NOW)
  table.failPuts = undefined
  fence.accept(NOW + 1)
  t.equal(fence.highest, NOW + 1)
})

t.test('it survives a restart, in a real store, without an orderly end', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = openStore({ path })
  new GenerationFence(first.table('fence', { validate: validateGeneration })).accept(NOW)
  // On disk when accept returns: a second look at the same files sees it.
  const second = openStore({ path })
  const fence = new GenerationFence(second.table('fence', { validate: validateGeneration }))
  t.equal(fence.highest, NOW)
  t.throws(() => fence.accept(NOW - 1), { code: 'STALE_GENERATION' })
  await first.close()
  await second.close()
})

t.test('a damaged record ends the start: to begin again at zero would let an older LS in', async (t) => {
  const table = new MemoryTable<number>('fence')
  table.damaged.set('generation', new LsxError('INTERNAL', 'the record is damaged'))
  t.throws(() => new GenerationFence(table), { code: 'INTERNAL' })
  for (const value of [-1, 1.5, Number.NaN, '17', null, undefined, {}, Number.MAX_SAFE_INTEGER + 1]) {
    t.throws(() => validateGeneration(value), { code: 'INTERNAL' })
  }
  t.equal(validateGeneration(NOW), NOW)
})
