import { spawn } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { VirtualClock } from '../support/virtual-clock.ts'
import { openSampleStore, sampleTable } from './records.ts'

const record = (amountMinor: number) => ({ text: `record ${amountMinor}`, amountMinor })
const keysOf = (table: { keys(range: { limit: number }): string[] }) => table.keys({ limit: 10_000 })

t.test('changes of several tables are made together, in the order of the calls', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const left = sampleTable(store, 'left')
  const right = sampleTable(store, 'right')
  const before = store.commits
  await store.write([left.toPut('a', record(1)), right.toPut('a', record(1)), right.toPut('b', record(2))])
  t.equal(store.commits, before + 1)
  t.same([keysOf(left), keysOf(right)], [['a'], ['a', 'b']])
  await Promise.all([
    store.write([left.toRemove('a'), right.toRemove('a')]),
    store.write([left.toPut('a', record(3)), right.toPut('c', record(3))]),
    store.write([left.toPut('a', record(4))]),
    right.put('c', record(5)),
  ])
  t.match([left.get('a'), right.get('a'), right.get('c')], [record(4), undefined, record(5)])
  t.ok(left.has('a'))
  t.notOk(right.has('a'))
  await store.write([])
  await store.write([left.toRemove('never-there'), right.toRemove('never-there')])
  await store.close()
})

t.test('writes of one tick are one commit', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const left = sampleTable(store, 'left')
  const right = sampleTable(store, 'right')
  const before = store.commits
  await Promise.all(
    Array.from({ length: 1_000 }, (_, index) =>
      store.write([left.toPut(`k${index}`, record(index)), right.toPut(`k${index}`, record(index))]),
    ),
  )
  t.equal(store.commits - before, 1, '2,000 records')
  t.equal(keysOf(left).length, 1_000)
  t.same(keysOf(left), keysOf(right))
  await store.close()
})

t.test('a change that cannot be encoded throws before anything is written', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const table = sampleTable(store)
  t.throws(() => table.toPut('', record(1)), { code: 'INTERNAL' })
  t.throws(() => table.toRemove('k'.repeat(513)), { code: 'INTERNAL' })
  t.throws(() => table.toPut('k', { text: 'x'.repeat(16 * 1024 * 1024), amountMinor: 1 }), { code: 'TOO_LARGE' })
  const change = table.toPut('k', record(1))
  await store.close()
  await t.rejects(store.write([change]), { code: 'SHUTTING_DOWN' })
  t.throws(() => store.checkRoom(), { code: 'SHUTTING_DOWN' })
  t.throws(() => store.commits, { code: 'SHUTTING_DOWN' })
})

t.test('what finishes something may wait for the disk when what begins may not', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'), { maxPendingWrites: 4 })
  const table = sampleTable(store)
  const put = (key: string) => [table.toPut(key, record(1))]
  const begun = Array.from({ length: 4 }, (_, index) => store.write(put(`begun-${index}`)))
  t.throws(() => store.checkRoom(), { code: 'STORE_FULL' })
  const refused = store.write(put('one-more'))
  const finished = store.write(put('finished'), 'finishes')
  await t.rejects(refused, { code: 'STORE_FULL' })
  await Promise.all([...begun, finished])
  t.ok(table.has('finished'))
  t.notOk(table.has('one-more'))
  store.checkRoom()
  await store.close()
})

t.test('what finishes something may use half of the floor of free space', async (t) => {
  const path = join(t.testdir({}), 'store')
  const roomy = openSampleStore(path)
  await sampleTable(roomy).put('k', record(1))
  await roomy.close()
  const { bavail, bsize } = statfsSync(path)
  const freeBytes = bavail * bsize
  const store = openSampleStore(path, { minFreeBytes: Math.floor(freeBytes * 1.5) })
  const table = sampleTable(store)
  t.throws(() => store.checkRoom(), { code: 'STORE_FULL' })
  await t.rejects(store.write([table.toPut('begins', record(2))]), { code: 'STORE_FULL' })
  await store.write([table.toPut('finishes', record(2))], 'finishes')
  await store.write([table.toRemove('k')])
  t.same(keysOf(table), ['finishes'])
  await store.close()
  const full = openSampleStore(path, { minFreeBytes: freeBytes * 3 })
  await t.rejects(full.write([sampleTable(full).toPut('more', record(3))], 'finishes'), { code: 'STORE_FULL' })
  await full.close()
})

t.test('what finishes something may grow the store by a quarter more', async (t) => {
  const clock = new VirtualClock()
  const maxBytes = 400 * 1024
  const store = openSampleStore(join(t.testdir({}), 'store'), { clock, maxBytes })
  const table = sampleTable(store)
  const large = { text: 'x'.repeat(20_000), amountMinor: 1 }
  const fill = async (purpose: 'begins' | 'finishes') => {
    for (let kept = 0; kept < 100; kept++) {
      await clock.advance(1_000)
      try {
        await store.write([table.toPut(`${purpose}-${kept}`, large)], purpose)
      } catch (error) {
        t.match(error, { code: 'STORE_FULL', facts: { maxBytes } })
        return kept
      }
    }
    return t.fail('never full')
  }
  t.ok(await fill('begins'))
  const more = Number(await fill('finishes'))
  t.ok(more >= 3 && more <= 8, `${more} records of 20 kB above the size`)
  t.ok(table.liveBytes > maxBytes)
  await store.close()
})

t.test('an index keeps its keys without an envelope', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const index = store.table('index', {
    keysOnly: true,
    validate: (value) => {
      if (value !== null) throw new TypeError('not null')
      return value
    },
  })
  await store.write([index.toPut('0001/a', null), index.toPut('0002/b', null)])
  t.same(keysOf(index), ['0001/a', '0002/b'])
  t.match(await store.verify(), { records: 2, damaged: 0 })
  await store.close()
})

t.test('BEY-2 kill -9 leaves all changes of a write or none', async (t) => {
  const path = join(t.testdir({}), 'store')
  const program = fileURLToPath(new URL('./pair-writer.js', import.meta.url))
  const writer = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  let lastPromised = -1
  for await (const chunk of writer.stdout) {
    lastPromised = Number(String(chunk).trim().split('\n').at(-1))
    if (lastPromised > 1_000 && !writer.killed) writer.kill('SIGKILL')
  }
  const store = openSampleStore(path)
  const left = sampleTable(store, 'left')
  const right = sampleTable(store, 'right')
  const missing = []
  for (let number = 0; number <= lastPromised; number++) {
    if (left.get(`k${number}`)?.amountMinor !== number) missing.push(number)
  }
  t.ok(lastPromised > 1_000)
  t.same(missing, [], 'all that was promised is there')
  t.same(keysOf(left), keysOf(right), 'and nothing by half')
  t.match(await store.verify(), { damaged: 0 })
  await store.close()
})
