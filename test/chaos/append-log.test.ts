import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { AppendLog, readLog } from '../../chaos/append-log.ts'

const dir = mkdtempSync(join(tmpdir(), 'lsx-append-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true }))

t.test('what was appended is there, in order', async (t) => {
  const path = join(dir, 'order')
  const log = new AppendLog<{ n: number }>(path)
  await Promise.all(Array.from({ length: 50 }, (_, n) => log.append({ n })))
  await log.append({ n: 50 })
  t.same(
    readLog<{ n: number }>(path).map(({ n }) => n),
    Array.from({ length: 51 }, (_, n) => n),
  )
  await log.close()
})

t.test('a line that a killed process left unfinished is left out, and takes nothing else with it', async (t) => {
  const path = join(dir, 'torn')
  const first = new AppendLog<{ n: number }>(path)
  await first.append({ n: 1 })
  await first.close()
  appendFileSync(path, '{"n":')
  t.same(readLog(path), [{ n: 1 }])
  const second = new AppendLog<{ n: number }>(path)
  await second.append({ n: 2 })
  t.same(readLog(path), [{ n: 1 }, { n: 2 }])
  await second.close()
})

t.test('two writers of one file do not mix their lines', async (t) => {
  const path = join(dir, 'shared')
  const writers = [new AppendLog<{ w: number }>(path), new AppendLog<{ w: number }>(path)]
  await Promise.all(writers.flatMap((log, w) => Array.from({ length: 40 }, () => log.append({ w }))))
  t.equal(readLog(path).length, 80)
  for (const log of writers) await log.close()
})

t.test('no file is an empty log', async (t) => {
  t.same(readLog(join(dir, 'nothing')), [])
})
