import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { pack } from 'msgpackr'
import t from 'tap'
import { encodeMap, ResponseStatus } from '../../lib/frames/index.ts'
import { createLogger, LsxError } from '../../lib/runtime/index.ts'
import type { StoreOptions, TransactionalStore } from '../../lib/store/index.ts'
import { type DurableOnceOnlyOptions, DurableOnceOnlyTable } from '../../lib/xchange/durable-once-only.ts'
import { requestDigest, type StoredResponse } from '../../lib/xchange/once-only.ts'
import { DispatcherHarness, deferred } from '../support/dispatcher-harness.ts'
import { damage, openSealedStore, tamper } from '../support/sealed-store.ts'
import { until } from '../support/until.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const WRITER = fileURLToPath(new URL('./crash-once-only.js', import.meta.url))
const HOUR_MS = 3_600_000
const DIGEST = requestDigest({ method: 'pay', payload: Buffer.from('one') })
const OTHER_DIGEST = requestDigest({ method: 'pay', payload: Buffer.from('two') })
const IN_DOUBT: StoredResponse = { status: ResponseStatus.inDoubt, payload: Buffer.alloc(0), meta: undefined }

function answered(value: unknown, meta?: Buffer): StoredResponse {
  return { status: ResponseStatus.ok, payload: pack(value), meta }
}

type Options = Partial<DurableOnceOnlyOptions> & { storeOptions?: Partial<StoreOptions> }

/** A table in a store of its own, which can be closed and opened again as a restart after a crash does. */
class TableHarness {
  readonly path: string
  readonly clock = new VirtualClock()
  readonly log: string[] = []
  readonly #options: Options
  store: TransactionalStore
  table: DurableOnceOnlyTable

  private constructor(path: string, options: Options) {
    this.path = path
    this.#options = options
    this.store = openSealedStore(path, options.storeOptions)
    this.table = this.#create()
  }

  static async start(path: string, options: Options = {}): Promise<TableHarness> {
    const harness = new TableHarness(path, options)
    await harness.table.start(new AbortController().signal)
    return harness
  }

  async restart(): Promise<DurableOnceOnlyTable> {
    await this.stop()
    this.store = openSealedStore(this.path, this.#options.storeOptions)
    this.table = this.#create()
    await this.table.start(new AbortController().signal)
    return this.table
  }

  async stop(): Promise<void> {
    await this.table.stop()
    await this.store.close()
  }

  #create(): DurableOnceOnlyTable {
    const { storeOptions: _, ...options } = this.#options
    const logger = createLogger({
      name: 'x',
      level: 'warn',
      destination: { write: (line) => this.log.push(line) },
    })
    return new DurableOnceOnlyTable({ store: this.store, clock: this.clock, logger, ...options })
  }
}

t.test('SEC-6 a key in doubt is known with the ILP packet that it was begun with, also after a restart', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  const request = { method: 'pay', payload: Buffer.from('one') }
  const [one, other] = [1, 2].map((fill) => requestDigest(request, Buffer.alloc(32, fill))) as [Buffer, Buffer]
  await harness.table.begin('k', one)
  t.same(harness.table.find('k', other), { kind: 'running' })
  const table = await harness.restart()
  t.same(table.find('k', one), { kind: 'inDoubt' })
  for (const digest of [other, DIGEST]) t.same(table.find('k', digest), { kind: 'inDoubt', isOtherPacket: true })
  t.same(table.begin('k', other), { kind: 'inDoubt', isOtherPacket: true })
  await table.finish('k', IN_DOUBT)
  t.same(table.find('k', one), { kind: 'inDoubt' }, 'it is that of the first still')
  t.same(table.find('k', requestDigest({ ...request, method: 'payo' }, Buffer.alloc(32, 1))), { kind: 'mismatch' })
  await harness.stop()
})

t.test('BEY-2 the life of a key', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  const { table } = harness
  t.equal(table.find('a', DIGEST), undefined)
  t.same(table.lookup('a'), { kind: 'never' })
  const beginning = table.begin('a', DIGEST)
  t.same(table.begin('a', DIGEST), { kind: 'running' }, 'also before the first is on disk')
  t.same(table.lookup('a'), { kind: 'begun' })
  t.same(await beginning, { kind: 'new' })
  t.same(table.begin('a', DIGEST), { kind: 'running' })
  t.same(table.find('a', DIGEST), { kind: 'running' })
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'mismatch' })
  const response = answered('paid', encodeMap({ traceparent: '00-1' }))
  await table.finish('a', response)
  const done = { kind: 'done', response }
  t.same(table.begin('a', DIGEST), done)
  t.same(table.find('a', DIGEST), done)
  t.same(table.lookup('a'), done)
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'mismatch' })
  t.same(await table.begin('b', OTHER_DIGEST), { kind: 'new' }, 'keys are independent')
  t.equal(table.size, 2)

  const restarted = await harness.restart()
  t.same(restarted.begin('a', DIGEST), done, 'also for the next process')
  t.same(restarted.lookup('a'), done)
  t.equal(restarted.size, 2)
  await harness.stop()
  t.notMatch(readFileSync(join(harness.path, 'data.mdb'), 'latin1'), 'paid', 'sealed at rest')
})

t.test('BEY-2 a key that an earlier process began is in doubt, and handed out once', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  await harness.table.begin('a', DIGEST)
  const table = await harness.restart()
  t.same(table.find('a', DIGEST), { kind: 'inDoubt' })
  t.same(table.lookup('a'), { kind: 'begun' })
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'mismatch' })
  t.same(table.begin('a', DIGEST), { kind: 'inDoubt' })
  t.same(table.begin('a', DIGEST), { kind: 'running' }, 'one caller settles it')
  await table.finish('a', IN_DOUBT)
  t.same(table.find('a', DIGEST), { kind: 'inDoubt' })
  t.same(table.lookup('a'), { kind: 'begun' }, 'an answer in doubt is no answer')
  t.same((await harness.restart()).begin('a', DIGEST), { kind: 'inDoubt' })
  await harness.table.finish('a', answered('paid'))
  t.match((await harness.restart()).begin('a', DIGEST), { kind: 'done' })
  await harness.stop()
})

t.test('BEY-2 a late answer settles a key in doubt', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  const { table } = harness
  await table.begin('a', DIGEST)
  await table.finish('a', IN_DOUBT)
  await table.finish('a', answered('paid after all'))
  t.match(table.find('a', DIGEST), { kind: 'done' })
  await table.finish('never', answered('paid'))
  t.equal(table.find('never', DIGEST), undefined, 'an answer to a key that is not known is not kept')
  await harness.stop()
})

t.test('a key of which nothing happened is free again, on disk too', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  await harness.table.begin('a', DIGEST)
  await harness.table.release('a')
  await harness.table.release('a')
  t.equal(harness.table.size, 0)
  t.same(harness.table.lookup('a'), { kind: 'never' })
  await harness.table.begin('b', DIGEST)
  await harness.restart()
  t.same(harness.table.begin('b', DIGEST), { kind: 'inDoubt' })
  await harness.table.release('b')
  const table = await harness.restart()
  t.same([table.size, table.lostKeys], [0, []])
  t.same(await table.begin('a', OTHER_DIGEST), { kind: 'new' })
  t.same(await table.begin('b', OTHER_DIGEST), { kind: 'new' })
  await harness.stop()
})

t.test('BEY-2 begins of one tick are one commit, and so are their answers', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  const { table, store } = harness
  const keys = Array.from({ length: 1_000 }, (_, index) => `key-${index}`)
  const before = store.commits
  const begun = await Promise.all(keys.map((key) => table.begin(key, DIGEST)))
  t.ok(begun.every(({ kind }) => kind === 'new'))
  t.equal(store.commits - before, 1)
  await Promise.all(keys.map((key) => table.finish(key, answered(key))))
  t.equal(store.commits - before, 2)
  await harness.stop()
})

t.test('BEY-2 kill -9 of the xchange: what was begun is known, what was answered is answered again', async (t) => {
  const path = join(t.testdir({}), 'store')
  const said = new Map<string, string>()
  for (let round = 0; round < 3; round++) {
    const writer = spawn(process.execPath, [WRITER, path], { stdio: ['ignore', 'pipe', 'inherit'] })
    let lines = 0
    for await (const line of createInterface({ input: writer.stdout })) {
      const [what = '', key = '', end] = line.split(' ')
      if (end !== '.') continue
      said.set(key, what)
      if (++lines === 1_500) writer.kill('SIGKILL')
    }
    const { table, store } = await TableHarness.start(path)
    const wrong = [...said].filter(([key, what]) => {
      const known = table.lookup(key)
      if (known.kind === 'done') return known.response.payload.toString() !== `paid ${key}`
      return known.kind === 'never' || what === 'done'
    })
    t.same(wrong, [], `${said.size} keys after round ${round + 1}`)
    t.ok(table.size >= said.size)
    t.same(table.lostKeys, [], 'nothing by half')
    const inDoubt = [...said].find(([, what]) => what === 'new')?.[0] ?? ''
    t.match(table.begin(inDoubt, requestDigest({ method: 'pay', payload: Buffer.from(inDoubt) })), {
      kind: /inDoubt|done/,
    })
    await table.stop()
    await store.close()
  }
  t.ok([...said.values()].includes('new') && [...said.values()].includes('done'))
})

t.test(
  'BEY-2 a dispatcher on this table answers in doubt what a crash has cut, and does not run it again',
  async (t) => {
    const harness = await TableHarness.start(join(t.testdir({}), 'store'))
    let runs = 0
    const never = deferred<string>()
    const pay = () => {
      runs++
      return runs === 1 ? 'paid' : never.promise
    }
    const first = new DispatcherHarness({ pay }, { onceOnly: harness.table })
    t.match(await first.ask({ id: 1, key: 'a', method: 'pay' }), { status: 'ok', value: 'paid' })
    first.send({ id: 2, key: 'b', method: 'pay' })
    await until(() => runs === 2)
    const second = new DispatcherHarness({ pay }, { onceOnly: await harness.restart() })
    t.match(await second.ask({ id: 3, key: 'a', method: 'pay' }), { status: 'ok', value: 'paid' })
    t.match(await second.ask({ id: 4, key: 'b', method: 'pay' }), { status: 'inDoubt', code: 'IN_DOUBT' })
    t.match(await second.ask({ id: 5, key: 'a', method: 'pay', payload: { other: 1 } }), {
      status: 'refused',
      code: 'DUPLICATE_MISMATCH',
    })
    t.equal(runs, 2)
    first.dispatcher.stop()
    second.dispatcher.stop()
    await harness.stop()
  },
)

/** Positions of the groups on disk, in order. */
async function groupsIn(path: string): Promise<string[]> {
  const groups: string[] = []
  await tamper(path, 'once-only', async (raw) => {
    for (const key of raw.getKeys()) groups.push(key.toString())
  })
  return groups
}

t.test('BEY-2 a damaged or lost key is neither executed nor answered', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = await TableHarness.start(path)
  for (const key of ['damaged', 'lost', 'intact']) {
    await first.table.begin(key, DIGEST)
    await first.table.finish(key, answered('paid'))
  }
  await first.table.begin('unfinished', DIGEST)
  await first.stop()
  const [, ofDamaged = '', begunLost = '', ofLost = '', begunIntact = '', , begunUnfinished = ''] = await groupsIn(path)
  for (const position of [ofDamaged, begunIntact, begunUnfinished]) await damage(path, 'once-only', position)
  for (const position of [begunLost, ofLost]) {
    await tamper(path, 'once-only', (raw) => raw.remove(Buffer.from(position)))
  }
  const harness = await TableHarness.start(path, { keepMs: HOUR_MS, pruneIntervalMs: HOUR_MS })
  const { table, clock } = harness
  t.same(table.lostKeys, ['lost', 'unfinished'])
  t.match(harness.log.join(''), /"idempotencyKey":"lost"/)
  t.match(harness.log.join(''), /a group of keys is damaged/)
  for (const key of ['lost', 'unfinished']) {
    for (const ask of [() => table.begin(key, DIGEST), () => table.find(key, DIGEST), () => table.lookup(key)]) {
      t.throws(ask, { code: 'INTERNAL' }, key)
    }
    t.ok(table.mayKnow(key))
  }
  t.match(table.begin('intact', DIGEST), { kind: 'done' }, 'its beginning says nothing that its end does not')
  t.match(table.lookup('damaged'), { kind: 'begun' }, 'its end is not known')
  let runs = 0
  const served = new DispatcherHarness({ pay: () => ++runs }, { onceOnly: table })
  for (const key of ['lost', 'unfinished']) t.match(await served.ask({ key, method: 'pay' }), { status: 'inDoubt' })
  t.match(table.begin('damaged', DIGEST), { kind: 'inDoubt' })
  t.equal(runs, 0)
  served.dispatcher.stop()

  await clock.advance(HOUR_MS + 1)
  await until(() => clock.pendingTimers === 1)
  await clock.advance(HOUR_MS + 1)
  await until(() => clock.pendingTimers === 1)
  t.same(table.lostKeys, [], 'as new as any key after so long')
  await harness.stop()
})

t.test('BEY-2 a record that is damaged while it is served is neither executed nor answered', async (t) => {
  const path = join(t.testdir({}), 'store')
  const harness = await TableHarness.start(path)
  await harness.table.begin('a', DIGEST)
  const [group = ''] = await groupsIn(path)
  await damage(path, 'once-only', group)
  await harness.table.finish('a', answered('paid'))
  const [, last = ''] = await groupsIn(path)
  await damage(path, 'once-only', last)
  t.throws(() => harness.table.begin('a', DIGEST), { code: 'INTERNAL' })
  t.throws(() => harness.table.lookup('a'), { code: 'INTERNAL' })
  await harness.stop()
})

t.test('BEY-2 where even the names of keys are lost, the table does not start', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = await TableHarness.start(path)
  await first.table.begin('a', DIGEST)
  await first.stop()
  const [group = ''] = await groupsIn(path)
  await damage(path, 'once-only', group)
  await damage(path, 'once-only-names', group)
  await t.rejects(TableHarness.start(path), { code: 'INTERNAL', message: /restore the store/ })
})

t.test('a table that has lost too much does not start', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = await TableHarness.start(path)
  await Promise.all(Array.from({ length: 10_001 }, (_, index) => first.table.begin(`k${index}`, DIGEST)))
  await first.stop()
  await tamper(path, 'once-only', (raw) => raw.clearAsync())
  await t.rejects(TableHarness.start(path), {
    code: 'INTERNAL',
    message: /lost more than 10000 keys: restore the store/,
  })
})

t.test('the number of keys is bounded for new ones only', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'), {
    maxEntries: 10,
    keepMs: 60_000,
    pruneIntervalMs: 10_000,
  })
  const { table, clock } = harness
  await Promise.all(Array.from({ length: 10 }, (_, index) => table.begin(`k${index}`, DIGEST)))
  await t.rejects(async () => table.begin('more', DIGEST), { code: 'STORE_FULL', party: 'self' })
  t.same(table.lookup('more'), { kind: 'never' })
  t.same(table.begin('k0', DIGEST), { kind: 'running' })
  await table.finish('k0', answered('paid'))
  t.match(table.begin('k0', DIGEST), { kind: 'done' })
  await t.rejects(async () => table.begin('more', DIGEST), { code: 'STORE_FULL' })
  await table.release('k1')
  t.same(await table.begin('more', DIGEST), { kind: 'new' })
  await clock.advance(75_000)
  await until(() => table.size === 9)
  t.same(await table.begin('k0', OTHER_DIGEST), { kind: 'new' }, 'room comes back by pruning')
  await harness.stop()
})

t.test('the bytes are bounded for new keys only', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'), { maxBytes: 512 * 1024 })
  const { table, clock } = harness
  let full: unknown
  let kept = 0
  while (full === undefined && kept < 200) {
    try {
      await table.begin(`k${kept}`, DIGEST)
      await table.finish(`k${kept++}`, answered('x'.repeat(20_000)))
    } catch (error) {
      full = error
    }
    await clock.advance(100)
  }
  t.match(full, { code: 'STORE_FULL' })
  t.ok(kept >= 15 && kept <= 30, `${kept} answers of 20 kB`)
  t.match(table.begin('k0', DIGEST), { kind: 'done' })
  await clock.advance(1_000)
  t.ok(table.bytes > 15 * 20_000)
  await harness.stop()
})

t.test('a full disk refuses new keys', async (t) => {
  const path = join(t.testdir({}), 'store')
  const first = await TableHarness.start(path)
  await first.table.begin('a', DIGEST)
  await first.table.finish('a', answered('paid'))
  await first.stop()
  const harness = await TableHarness.start(path, { storeOptions: { minFreeBytes: Number.MAX_SAFE_INTEGER } })
  const { table } = harness
  await t.rejects(async () => table.begin('b', DIGEST), { code: 'STORE_FULL' })
  t.same(table.lookup('b'), { kind: 'never' })
  t.match(table.begin('a', DIGEST), { kind: 'done' })
  const served = new DispatcherHarness({ pay: () => 'paid' }, { onceOnly: table })
  t.match(await served.ask({ key: 'b', method: 'pay' }), { status: 'refused', code: 'STORE_FULL' })
  served.dispatcher.stop()
  await harness.stop()
})

/** A store whose next writes are rejected until it is well again. */
function failingStore(store: TransactionalStore): { failing: boolean } {
  const write = store.write.bind(store)
  const disk = { failing: true }
  store.write = (changes, purpose) =>
    disk.failing ? Promise.reject(new LsxError('STORE_FULL', 'the disk is full')) : write(changes, purpose)
  return disk
}

t.test('a commit that fails leaves the key free', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  const { table, store } = harness
  const write = store.write.bind(store)
  let failing = true
  store.write = (changes, purpose) => {
    if (!failing) return write(changes, purpose)
    failing = false
    return Promise.reject(new LsxError('STORE_FULL', 'the disk is full'))
  }
  await t.rejects(async () => table.begin('a', DIGEST), { code: 'STORE_FULL' })
  t.same([table.size, table.lookup('a')], [0, { kind: 'never' }])
  t.same(await table.begin('a', DIGEST), { kind: 'new' })
  await harness.stop()
})

t.test('BEY-2 an answer that the disk cannot take is told from memory, and kept when the disk is well', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  const { table, store, clock } = harness
  await table.begin('a', DIGEST)
  await table.begin('b', DIGEST)
  const disk = failingStore(store)
  await t.rejects(table.finish('a', answered('paid')), { code: 'STORE_FULL' })
  await t.rejects(table.finish('b', IN_DOUBT), { code: 'STORE_FULL' })
  t.match(table.begin('a', DIGEST), { kind: 'done' })
  t.match(table.begin('a', OTHER_DIGEST), { kind: 'mismatch' })
  t.match(table.lookup('a'), { kind: 'done' })
  t.match(table.find('b', DIGEST), { kind: 'inDoubt' }, 'as the disk says')
  await clock.advance(2_500)
  t.equal(harness.log.filter((line) => line.includes('still cannot be kept')).length, 2, 'it is tried again')
  disk.failing = false
  const kept = store.commits
  await clock.advance(1_000)
  await until(() => store.commits > kept)
  t.match((await harness.restart()).lookup('a'), { kind: 'done' })
  t.match(harness.table.lookup('b'), { kind: 'begun' })
  await harness.stop()
})

t.test('BEY-2 an answer that the disk never took leaves its key in doubt after a restart', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  await harness.table.begin('a', DIGEST)
  failingStore(harness.store)
  await t.rejects(harness.table.finish('a', answered('paid')), { code: 'STORE_FULL' })
  const table = await harness.restart()
  t.same(table.begin('a', DIGEST), { kind: 'inDoubt' })
  await table.finish('a', answered('paid'))
  t.match(table.find('a', DIGEST), { kind: 'done' })
  await harness.stop()
})

t.test('keys are kept for their time after the last write, running ones for as long as they run', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'), { keepMs: HOUR_MS, pruneIntervalMs: 60_000 })
  const { table, clock } = harness
  const advanceTo = async (untilMs: number) => {
    while (clock.monotonicMs() < untilMs) {
      await clock.advance(60_000)
      await until(() => clock.pendingTimers === 1)
    }
  }
  for (const key of ['early', 'late', 'running', 'doubt']) await table.begin(key, DIGEST)
  await table.finish('early', answered('paid'))
  await table.finish('doubt', IN_DOUBT)
  await advanceTo(HOUR_MS / 2)
  await table.finish('late', answered('paid'))
  await advanceTo(HOUR_MS)
  t.match(table.find('early', DIGEST), { kind: 'done' }, 'as long as it is promised')
  await advanceTo(HOUR_MS + 60_000)
  t.equal(table.find('early', DIGEST), undefined)
  t.equal(table.find('doubt', DIGEST), undefined)
  await advanceTo(HOUR_MS * 1.5)
  t.match(table.find('late', DIGEST), { kind: 'done' }, 'counted from its answer')
  t.same(table.begin('late', DIGEST), { kind: 'done', response: answered('paid') })
  await advanceTo(HOUR_MS * 1.5 + 60_000)
  t.equal(table.find('late', DIGEST), undefined)
  await advanceTo(HOUR_MS * 3)
  t.same(table.find('running', DIGEST), { kind: 'running' })
  t.equal(table.size, 1)
  await table.finish('running', answered('paid'))
  t.same(await table.begin('early', OTHER_DIGEST), { kind: 'new' })
  const restarted = await harness.restart()
  t.same([restarted.size, restarted.lostKeys], [2, []])
  t.match(restarted.find('running', DIGEST), { kind: 'done' })
  await harness.stop()
  t.equal(clock.pendingTimers, 0)
})

t.test('a key in doubt whose place in time was moved can still be released or finished', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'), { keepMs: HOUR_MS, pruneIntervalMs: 60_000 })
  const { clock } = harness
  for (const key of ['released', 'finished']) {
    await harness.table.begin(key, DIGEST)
    await clock.advance(HOUR_MS / 4)
    await harness.table.finish(key, IN_DOUBT)
  }
  for (let passes = 0; passes < 40; passes++) {
    await clock.advance(60_000)
    await until(() => clock.pendingTimers === 1)
  }
  const { table } = harness
  t.same(table.begin('released', DIGEST), { kind: 'inDoubt' })
  t.same(table.begin('finished', DIGEST), { kind: 'inDoubt' })
  await table.release('released')
  await table.finish('finished', answered('paid'))
  const restarted = await harness.restart()
  t.same([restarted.size, restarted.lostKeys], [1, []])
  t.match(restarted.find('finished', DIGEST), { kind: 'done' })
  t.equal(restarted.find('released', DIGEST), undefined)
  await harness.stop()
})

t.test('how far back the table remembers', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'), { keepMs: HOUR_MS })
  const startMs = harness.clock.nowMs()
  t.equal(harness.table.rememberedSinceMs, startMs, 'a new store knows nothing of the time before it')
  await harness.clock.advance(60_000)
  t.equal((await harness.restart()).rememberedSinceMs, startMs)
  await harness.clock.advance(2 * HOUR_MS)
  t.equal(harness.table.rememberedSinceMs, startMs + 60_000 + HOUR_MS, 'and later no more than it keeps')
  await harness.stop()
})

t.test('a table begins keys between its start and its stop', async (t) => {
  const harness = await TableHarness.start(join(t.testdir({}), 'store'))
  const { table, store, clock } = harness
  await table.begin('a', DIGEST)
  await table.stop()
  t.throws(() => table.begin('b', DIGEST), { code: 'SHUTTING_DOWN' })
  await table.finish('a', answered('paid'))
  t.match(table.find('a', DIGEST), { kind: 'done' }, 'what runs is finished')
  await store.close()
  const fresh = openSealedStore(harness.path)
  const unstarted = new DurableOnceOnlyTable({
    store: fresh,
    clock,
    logger: createLogger({ name: 'x', level: 'silent' }),
  })
  t.throws(() => unstarted.begin('b', DIGEST), { code: 'INTERNAL', message: /was not started/ })
  await t.rejects(unstarted.start(AbortSignal.abort(new Error('enough'))), { message: 'enough' })
  await fresh.close()
})
