import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { holdProcess } from '../../lib/runtime/clock.ts'
import { openStore, sealedEnvelope, storeKeyId } from '../../lib/store/index.ts'

const validate = (value: unknown) => value as { n: number }

function stores(t: Test) {
  const path = t.testdir({})
  // A pause between two pages does not keep a process alive, and here nothing else does.
  t.teardown(holdProcess())
  return (...keys: readonly Buffer[]) => openStore({ path, minFreeBytes: 0, envelope: sealedEnvelope(keys) })
}

t.test('SEC-10 a store takes a new key while it is open, and what it holds is sealed anew', async (t) => {
  const open = stores(t)
  const [first, second] = [randomBytes(32), randomBytes(32)]
  const store = open(first)
  const table = store.table('notes', { validate })
  await Promise.all(Array.from({ length: 300 }, (_, n) => table.put(`key-${String(n).padStart(4, '0')}`, { n })))
  store.takeKeys([second, first])
  t.strictSame(store.storeKeyIds, [storeKeyId(second), storeKeyId(first)])
  await table.put('key-0007', { n: 7_000 })
  t.strictSame(table.get('key-0005'), { n: 5 }, 'what the old key sealed is read as before')
  const resealing = store.reseal(new AbortController().signal)
  const even = Array.from({ length: 150 }, (_, n) => n * 2)
  await Promise.all(even.map((n) => table.put(`key-${String(n).padStart(4, '0')}`, { n: n + 10_000 })))
  t.ok((await resealing) > 0)
  t.strictSame(store.storeKeyIds, [storeKeyId(second)], 'the old key is needed no more')
  await store.close()

  const again = open(second)
  const reread = again.table('notes', { validate })
  t.match(await again.verify(), { records: 300, damaged: 0 })
  const expected = new Map([
    ['key-0000', 10_000],
    ['key-0007', 7_000],
    ['key-0298', 10_298],
    ['key-0299', 299],
  ])
  for (const [key, n] of expected) t.strictSame(reread.get(key), { n }, 'no write was undone')
  await again.close()
  t.throws(() => open(first), { code: 'REFUSED' }, 'and the old key opens it no more')
})

t.test('SEC-10 a crash in the middle of it costs nothing as long as both keys are there', async (t) => {
  const open = stores(t)
  const [first, second, third] = [randomBytes(32), randomBytes(32), randomBytes(32)]
  const store = open(first)
  const table = store.table('notes', { validate })
  await table.put('old', { n: 1 })
  store.takeKeys([second, first])
  await table.put('new', { n: 2 })
  await store.close()
  t.throws(
    () => open(second),
    { code: 'REFUSED', message: /another store key/ },
    'the new key alone would lose records',
  )
  t.throws(() => open(first), { code: 'REFUSED' }, 'and so would the old one')
  const after = open(third, second, first)
  const reread = after.table('notes', { validate })
  t.strictSame([reread.get('old'), reread.get('new')], [{ n: 1 }, { n: 2 }])
  t.throws(() => after.takeKeys([third, second]), { code: 'REFUSED', message: /is missing/ })
  t.equal(await after.reseal(new AbortController().signal), 2)
  t.strictSame(after.storeKeyIds, [storeKeyId(third)])
  t.equal(await after.reseal(new AbortController().signal), 0, 'nothing is sealed twice')
  await after.close()
})

t.test('SEC-10 an old key is not given up while a table is closed that may need it', async (t) => {
  const open = stores(t)
  const [first, second] = [randomBytes(32), randomBytes(32)]
  const store = open(first)
  await store.table('notes', { validate }).put('a', { n: 1 })
  await store.table('others', { validate }).put('b', { n: 2 })
  await store.close()
  const again = open(second, first)
  again.table('notes', { validate })
  t.equal(await again.reseal(new AbortController().signal), 1)
  t.equal(again.storeKeyIds.length, 2)
  await again.close()
  const whole = open(second, first)
  const others = whole.table('others', { validate })
  whole.table('notes', { validate })
  t.equal(await whole.reseal(new AbortController().signal), 1)
  t.strictSame(others.get('b'), { n: 2 })
  t.equal(whole.storeKeyIds.length, 1)
  await whole.close()
})
