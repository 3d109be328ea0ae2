import fc from 'fast-check'
import t from 'tap'
import { newestFirst, type Source } from '../../../lib/ls/uptime/newest-first.ts'

function sourceOf(keys: readonly string[], pageSize: number, onRead = () => {}): Source<string> {
  const sorted = [...keys].sort()
  return {
    highestKey: sorted.at(-1) ?? '',
    readPage: (before) => {
      onRead()
      const below = before === undefined ? sorted : sorted.filter((key) => key < before)
      return below
        .slice(-pageSize)
        .reverse()
        .map((key) => ({ key, value: key }))
    },
  }
}

t.test('the newest of many sources are those of one sorted list', async (t) => {
  const keys = fc.uniqueArray(fc.integer({ min: 100, max: 999 }).map(String), { maxLength: 30 })
  fc.assert(
    fc.property(
      fc.array(keys, { maxLength: 6 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 50 }),
      (lists, pageSize, limit) => {
        const sources = lists.map((list) => sourceOf(list, pageSize))
        t.same(newestFirst(sources, limit), lists.flat().sort().reverse().slice(0, limit))
      },
    ),
    { numRuns: 150, seed: 5 },
  )
})

t.test('sources that are too old to matter are not read', async (t) => {
  let reads = 0
  const old = Array.from({ length: 1_000 }, (_, index) =>
    sourceOf([`1${String(index).padStart(4, '0')}`], 10, () => reads++),
  )
  t.same(newestFirst([...old, sourceOf(['29', '28', '27'], 10)], 3), ['29', '28', '27'])
  t.equal(reads, 0)
})
