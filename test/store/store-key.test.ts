import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadStoreKey, storeHoldsData } from '../../lib/store/index.ts'
import { openSampleStore } from './records.ts'

t.test('a new store gets a key that only its owner can read, and keeps it', async (t) => {
  const path = join(t.testdir({}), 'store.key')
  const key = loadStoreKey(path, { storeIsNew: true })
  t.equal(key.length, 32)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.match(readFileSync(path, 'latin1'), /^[A-Za-z0-9+/]{43}=\n$/)
  t.ok(loadStoreKey(path, { storeIsNew: true }).equals(key), 'never made anew over an existing one')
  t.ok(loadStoreKey(path, { storeIsNew: false }).equals(key))
  const other = loadStoreKey(join(t.testdir({}), 'other.key'), { storeIsNew: true })
  t.notOk(other.equals(key))
})

t.test('a key that is missing for a store with data is refused, and not made', async (t) => {
  const path = join(t.testdir({}), 'store.key')
  t.throws(() => loadStoreKey(path, { storeIsNew: false }), {
    code: 'REFUSED',
    party: 'self',
    message: /store.key is missing, and the store holds data: put the key's backup back, or move the store away/,
    facts: { file: path },
  })
  t.throws(() => statSync(path), { code: 'ENOENT' })
})

t.test('a key that others can read is refused', async (t) => {
  const path = join(t.testdir({}), 'store.key')
  loadStoreKey(path, { storeIsNew: true })
  for (const mode of [0o640, 0o604, 0o660]) {
    chmodSync(path, mode)
    t.throws(() => loadStoreKey(path, { storeIsNew: false }), { code: 'REFUSED', message: /chmod 600/ })
  }
})

t.test('what is not a key is refused', async (t) => {
  const path = join(t.testdir({}), 'store.key')
  const right = Buffer.alloc(32, 9).toString('base64')
  const wrong = [
    '',
    '\n',
    right.slice(0, -1),
    `${right.slice(0, 20)} ${right.slice(20)}`,
    `${right}\n${right}`,
    Buffer.alloc(31).toString('base64'),
    Buffer.alloc(33).toString('base64'),
    // Bits behind the last byte that Node's decoder ignores.
    `${right.slice(0, -2)}l=`,
  ]
  for (const text of wrong) {
    writeFileSync(path, text, { mode: 0o600 })
    t.throws(() => loadStoreKey(path, { storeIsNew: false }), { code: 'REFUSED', message: /is not a store key/ }, text)
  }
  writeFileSync(path, `${right}\n`, { mode: 0o600 })
  t.ok(loadStoreKey(path, { storeIsNew: false }).equals(Buffer.alloc(32, 9)))
})

t.test('a key whose directory is missing is an error that names the file', async (t) => {
  const path = join(t.testdir({}), 'missing', 'store.key')
  t.throws(() => loadStoreKey(path, { storeIsNew: true }), { code: 'REFUSED', message: /missing\/store.key/ })
})

t.test('a store holds data once it was opened', async (t) => {
  const path = join(t.testdir({}), 'store')
  t.equal(storeHoldsData(path), false)
  mkdirSync(path)
  t.equal(storeHoldsData(path), false)
  writeFileSync(join(path, 'data.mdb'), '')
  t.equal(storeHoldsData(path), false)
  const store = openSampleStore(path)
  t.equal(storeHoldsData(path), true)
  await store.close()
})
