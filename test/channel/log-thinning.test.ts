import t from 'tap'
import { isWorthALine } from '../../lib/channel/log-thinning.ts'

t.test('what happens a million times is worth twenty lines, the first of them at once', async (t) => {
  const lines: number[] = []
  for (let count = 1; count <= 1_000_000; count++) if (isWorthALine(count)) lines.push(count)
  t.same(lines.slice(0, 5), [1, 2, 4, 8, 16])
  t.equal(lines.length, 20)
})
