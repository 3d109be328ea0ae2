import { join } from 'node:path'
import fc from 'fast-check'
import { open } from 'lmdb'
import t from 'tap'
import { LsxError } from '../../lib/runtime/index.ts'
import { openSampleStore, type SampleRecord, sampleTable } from './records.ts'

const sample = (amountMinor: number): SampleRecord => ({ text: `record ${amountMinor}`, amountMinor })

function thrownBy(act: () => unknown): LsxError {
  try {
    act()
  } catch (error) {
    if (error instanceof LsxError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

/** What a fault of the disk or of a program could do: bytes changed behind the store's back. */
async function tamper(
  path: string,
  change: (raw: { get(key: string): Buffer; put(key: string, bytes: Buffer): Promise<boolean> }) => Promise<unknown>,
): Promise<void> {
  const root = open<Buffer, Buffer>({ path, noSubdir: false, encoding: 'binary' })
  const database = root.openDB<Buffer, Buffer>('samples', { encoding: 'binary', keyEncoding: 'binary' })
  await change({
    get: (key) => database.getBinary(Buffer.from(key)) ?? Buffer.alloc(0),
    put: (key, bytes) => database.put(Buffer.from(key), bytes),
  })
  await root.close()
}

t.test('records are kept, replaced and removed', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const table = sampleTable(store)
  t.equal(table.get('044'), undefined)
  await table.put('044', sample(1))
  t.same(table.get('044'), sample(1), 'seen as soon as the write has resolved')
  await table.put('044', sample(2))
  t.same(table.get('044'), sample(2))
  await table.remove('044')
  await table.remove('never-there')
  t.equal(table.get('044'), undefined)
  await store.close()
})

t.test('records and tables outlive the process that wrote them', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = openSampleStore(path)
  await Promise.all([sampleTable(first, 'one').put('k', sample(1)), sampleTable(first, 'two').put('k', sample(2))])
  await first.close()
  const second = openSampleStore(path)
  t.same(sampleTable(second, 'one').get('k'), sample(1))
  t.same(sampleTable(second, 'two').get('k'), sample(2))
  await second.close()
})

t.test('a range gives what a sorted list gives', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const table = sampleTable(store)
  const keys = ['a', 'a/1', 'a/2', 'a0', 'b', 'b/1', 'ba', '\u0001', 'é', '銀', '😀']
  const byBytes = (left: string, right: string) => Buffer.compare(Buffer.from(left), Buffer.from(right))
  const sorted = [...keys].sort(byBytes)
  await Promise.all(keys.map((key, index) => table.put(key, sample(index))))
  const key = fc.constantFrom(...keys, 'a/', 'a/15', 'zz', '\u0000')
  const bound = fc.option(key, { nil: undefined })
  fc.assert(
    fc.property(bound, bound, fc.integer({ min: 1, max: 12 }), fc.boolean(), (start, end, limit, reverse) => {
      const within = sorted.filter(
        (each) => (start === undefined || byBytes(each, start) >= 0) && (end === undefined || byBytes(each, end) < 0),
      )
      const expected = (reverse ? [...within].reverse() : within).slice(0, limit)
      const bounds = { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) }
      t.same(table.keys({ ...bounds, limit, reverse }), expected)
      const entries = table.range({ ...bounds, limit, reverse })
      t.same(
        entries.map((entry) => [entry.key, entry.value.amountMinor]),
        expected.map((each) => [each, keys.indexOf(each)]),
      )
      t.equal(table.count(bounds), within.length)
    }),
    { numRuns: 150, seed: 7 },
  )
  await store.close()
})

t.test('a value moved to another key is refused, by get, range and verification', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = openSampleStore(path)
  const written = sampleTable(first)
  await Promise.all(['a', 'b', 'c'].map((key, index) => written.put(key, sample(index))))
  await first.close()
  await tamper(path, (raw) => raw.put('b', raw.get('a')))

  const store = openSampleStore(path)
  const table = sampleTable(store)
  const error = thrownBy(() => table.get('b'))
  t.match(error, { code: 'INTERNAL', party: 'self', facts: { table: 'samples', recordKey: 'b' } })
  t.match(error.message, /record "b" of table samples is damaged/)
  t.match(
    thrownBy(() => table.range({ limit: 10 })),
    { code: 'INTERNAL', facts: { recordKey: 'b' } },
  )
  const damage: LsxError[] = []
  const rest = table.range({ limit: 10, onDamage: (each) => damage.push(each) })
  t.same(
    rest.map(({ key }) => key),
    ['a', 'c'],
    'the others are still served',
  )
  t.same(
    damage.map(({ facts }) => facts),
    [{ table: 'samples', recordKey: 'b' }],
  )
  t.match(await store.verify(), { records: 3, damaged: 1 })

  t.same(table.keys({ limit: 10 }), ['a', 'b', 'c'], 'it is still listed')
  await table.remove('b')
  t.match(await store.verify(), { records: 2, damaged: 0, errors: [] }, 'and can be removed')
  await store.close()
})

t.test('a value of another table is refused', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = openSampleStore(path)
  await Promise.all([
    sampleTable(first, 'samples').put('k', sample(1)),
    sampleTable(first, 'others').put('k', sample(2)),
  ])
  await first.close()
  const root = open<Buffer, Buffer>({ path, noSubdir: false, encoding: 'binary' })
  const [samples, others] = ['samples', 'others'].map((name) =>
    root.openDB<Buffer, Buffer>(name, { encoding: 'binary', keyEncoding: 'binary' }),
  )
  await samples?.put(Buffer.from('k'), others?.getBinary(Buffer.from('k')) ?? Buffer.alloc(0))
  await root.close()
  const store = openSampleStore(path)
  t.match(
    thrownBy(() => sampleTable(store).get('k')),
    { code: 'INTERNAL' },
  )
  await store.close()
})

t.test('an intact record of the wrong form is refused', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = openSampleStore(path)
  await first.table('samples', { validate: (value) => value }).put('k', { amountMinor: 'twelve' })
  await first.close()
  const store = openSampleStore(path)
  const error = thrownBy(() => sampleTable(store).get('k'))
  t.equal(error.code, 'INTERNAL')
  t.match(error.message, /record "k" of table samples does not have the expected form/)
  t.match(error.cause, { message: 'not a sample record' })
  await store.close()
})

t.test('keys and values have bounds', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const table = sampleTable(store)
  for (const key of ['', 'k'.repeat(513), 'é'.repeat(257), '\ud800', 'a\udfffb']) {
    t.match(
      thrownBy(() => table.get(key)),
      { code: 'INTERNAL' },
    )
    await t.rejects(table.put(key, sample(1)), { code: 'INTERNAL' })
    await t.rejects(table.remove(key), { code: 'INTERNAL' })
  }
  await table.put('k'.repeat(512), sample(512))
  await table.put('\ufffd', sample(3))
  t.same(table.get('k'.repeat(512)), sample(512))
  t.same(table.get('\ufffd'), sample(3))
  await t.rejects(table.put('k', { text: 'x'.repeat(16 * 1024 * 1024), amountMinor: 1 }), {
    code: 'TOO_LARGE',
    party: 'self',
  })
  for (const limit of [0, -1, 1.5, 10_001, Number.POSITIVE_INFINITY]) {
    t.match(
      thrownBy(() => table.keys({ limit })),
      { code: 'INTERNAL' },
    )
  }
  await store.close()
})

t.test('a verification gives way and can be stopped', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const table = sampleTable(store)
  await Promise.all(Array.from({ length: 1_200 }, (_, index) => table.put(`k${index}`, sample(index))))
  const stop = new AbortController()
  const verification = table.verify(stop.signal)
  stop.abort(new Error('enough'))
  await t.rejects(verification, { message: 'enough' })
  t.match(await table.verify(), { records: 1_200, damaged: 0 })
  await store.close()
})
