import { join } from 'node:path'
import t from 'tap'
import { positionAt, TimeIndex } from '../../lib/store/index.ts'
import { openSampleStore } from './records.ts'

const NOW = 1_800_000_000_000

t.test('positions grow with time, within one moment, and when the clock is set back a little', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const index = new TimeIndex(store, 'order')
  const times = [NOW, NOW, NOW, NOW + 1, NOW + 1, NOW - 60_000, NOW - 60_000, NOW + 2, NOW + 2.7]
  const positions = times.map((atMs) => index.next(atMs))
  t.same([...positions].sort(), positions)
  t.equal(new Set(positions).size, positions.length)
  t.equal(positions[0], positionAt(NOW))
  t.match(positions[0], /^[0-9a-f]{16}$/)
  await store.close()
})

t.test('more than one moment can count goes on in the next', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const index = new TimeIndex(store, 'order')
  let last = ''
  let inOrder = true
  for (let count = 0; count < 70_000; count++) {
    const position = index.next(NOW)
    inOrder &&= position > last
    last = position
  }
  t.ok(inOrder)
  t.equal(last.slice(0, 12), positionAt(NOW + 1).slice(0, 12))
  await store.close()
})

t.test('the order goes on after a restart', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = openSampleStore(path)
  const before = new TimeIndex(first, 'order')
  const position = before.next(NOW)
  await first.write([before.toAdd({ position, key: 'a' })])
  await first.close()
  const second = openSampleStore(path)
  t.ok(new TimeIndex(second, 'order').next(NOW - 1_000) > position)
  await second.close()
})

t.test('a time far ahead, of a clock that was wrong, is not followed', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const index = new TimeIndex(store, 'order')
  index.next(NOW + 10 * 365 * 86_400_000)
  t.equal(index.next(NOW), positionAt(NOW))
  for (const atMs of [-1, Number.NEGATIVE_INFINITY]) t.match(positionAt(atMs), /^0{16}$/)
  t.match(positionAt(Number.MAX_VALUE), /^f{12}0{4}$/)
  await store.close()
})

t.test('entries are read from both ends, in pages, before a time', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const index = new TimeIndex(store, 'order')
  const entries = Array.from({ length: 25 }, (_, n) => ({ position: index.next(NOW + n), key: `key/${n}` }))
  await store.write(entries.map((entry) => index.toAdd(entry)))
  const forward = []
  for (let page = index.oldest(10); page.length > 0; page = index.oldest(10, { after: page.at(-1) }))
    forward.push(...page)
  t.same(forward, entries)
  const backward = []
  for (let page = index.newest(10); page.length > 0; page = index.newest(10, page.at(-1))) backward.push(...page)
  t.same(backward, [...entries].reverse())
  t.same(index.oldest(100, { beforeMs: NOW + 5 }), entries.slice(0, 5))
  const [, second = { position: '', key: '' }] = entries
  t.equal(index.note(second), '')
  await store.write([index.toAdd(second, 'noted')])
  t.equal(index.note(second), 'noted')
  t.equal(index.oldest(100).length, 25)
  await store.write([...entries.slice(0, 1).map((entry) => index.toRemove(entry))])
  t.same(index.oldest(1), entries.slice(1, 2))
  await store.close()
})

t.test('what damage made of an entry is passed over', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const index = new TimeIndex(store, 'order')
  const good = { position: index.next(NOW), key: 'good' }
  const broken = ['0000', 'zzzzzzzzzzzzzzzz/a', '0000000000000000-a', '0000000000000000/', `${positionAt(NOW)}x`]
  await store.write([index.toAdd(good), ...broken.map((key) => index.table.toPut(key, ''))])
  t.same(index.oldest(1), [good])
  t.same(index.newest(1), [good])
  t.same(index.oldest(10), [good])
  await store.close()
})
