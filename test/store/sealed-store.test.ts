import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'lmdb'
import t from 'tap'
import { loadStoreKey, openStore, type Store, sealedEnvelope } from '../../lib/store/index.ts'
import { flipBit } from '../support/bit-flips.ts'
import { openSampleStore, sampleTable, validateSample } from './records.ts'

const KEY = Buffer.alloc(32, 1)
const OTHER_KEY = Buffer.alloc(32, 2)
const sample = { text: 'confidential', amountMinor: 125_000 }

async function makeStore(path: string, key?: Buffer): Promise<void> {
  const store = openSampleStore(path, key === undefined ? {} : { envelope: sealedEnvelope(key) })
  await sampleTable(store).put('k', sample)
  await store.close()
}

t.test('a sealed store opens with its key, again and again', async (t) => {
  const path = join(t.testdir({}), 'store')
  await makeStore(path, KEY)
  for (let start = 0; start < 3; start++) {
    const store = openSampleStore(path, { envelope: sealedEnvelope(KEY) })
    const table = sampleTable(store)
    t.same(table.get('k'), sample)
    await table.put(`k${start}`, sample)
    t.same(
      table.range({ limit: 10 }).map(({ value }) => value),
      Array.from({ length: start + 2 }, () => sample),
      'records of all starts before open',
    )
    t.match(await store.verify(), { damaged: 0 })
    await store.close()
  }
  t.notMatch(readFileSync(join(path, 'data.mdb'), 'latin1'), 'confidential')
})

t.test('another key is refused at the opening, and so is none', async (t) => {
  const path = join(t.testdir({}), 'store')
  await makeStore(path, KEY)
  const refusal = { code: 'REFUSED', party: 'self', facts: { path } }
  t.throws(() => openSampleStore(path, { envelope: sealedEnvelope(OTHER_KEY) }), {
    ...refusal,
    message: `the store ${path} is sealed with another store key: put its own key back`,
  })
  t.throws(() => openSampleStore(path), {
    ...refusal,
    message: `the store ${path} is sealed and needs its store key`,
  })
  const store = openSampleStore(path, { envelope: sealedEnvelope(KEY) })
  t.same(sampleTable(store).get('k'), sample, 'the refusals changed nothing')
  await store.close()
})

t.test('a store without seals is refused with a key', async (t) => {
  const path = join(t.testdir({}), 'store')
  await makeStore(path)
  t.throws(() => openSampleStore(path, { envelope: sealedEnvelope(KEY) }), {
    code: 'REFUSED',
    message: `the store ${path} was made without a store key: move it away`,
  })
})

t.test('a store from before there were seals opens without a key only', async (t) => {
  const path = join(t.testdir({}), 'store')
  await makeStore(path)
  const root = open<Buffer, Buffer>({ path, noSubdir: false, encoding: 'binary' })
  await root.remove(Buffer.from('_envelope'))
  await root.close()
  t.throws(() => openSampleStore(path, { envelope: sealedEnvelope(KEY) }), { code: 'REFUSED' })
  const store = openSampleStore(path)
  t.same(sampleTable(store).get('k'), sample)
  await store.close()
})

t.test('a damaged record of the envelope is damage, not another key', async (t) => {
  const path = join(t.testdir({}), 'store')
  await makeStore(path, KEY)
  const root = open<Buffer, Buffer>({ path, noSubdir: false, encoding: 'binary' })
  const record = root.getBinary(Buffer.from('_envelope')) ?? Buffer.alloc(0)
  record[record.length - 1] = (record[record.length - 1] ?? 0) ^ 1
  await root.put(Buffer.from('_envelope'), record)
  await root.close()
  t.throws(() => openSampleStore(path, { envelope: sealedEnvelope(KEY) }), {
    code: 'INTERNAL',
    message: /is damaged: restore it/,
  })
})

t.test('0 wrong answers for each flipped bit of the key file', async (t) => {
  const directory = t.testdir({})
  const path = join(directory, 'store')
  const keyFile = join(directory, 'store.key')
  const key = loadStoreKey(keyFile, { storeIsNew: true })
  await makeStore(path, key)
  const intact = readFileSync(keyFile)
  const counts = { refused: 0, opened: 0 }
  for (let bit = 0; bit < intact.length * 8; bit++) {
    writeFileSync(keyFile, flipBit(intact, bit))
    let store: Store
    try {
      store = openStore({
        path,
        minFreeBytes: 0,
        envelope: sealedEnvelope(loadStoreKey(keyFile, { storeIsNew: false })),
      })
    } catch (error) {
      t.match(error, { code: 'REFUSED', party: 'self' })
      counts.refused++
      continue
    }
    t.same(store.table('samples', { validate: validateSample }).get('k'), sample)
    counts.opened++
    await store.close()
  }
  t.equal(counts.refused + counts.opened, 45 * 8)
  t.ok(counts.opened <= 8, 'only white space at the end may be other')
})
