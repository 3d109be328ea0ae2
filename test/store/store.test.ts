import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { LsxError } from '../../lib/runtime/index.ts'
import { openStore } from '../../lib/store/index.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { openSampleStore, sampleTable } from './records.ts'

const program = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url))
const record = (amountMinor: number) => ({ text: 'x'.repeat(100), amountMinor })

t.test('the directory is private, and is made so when it was not', async (t) => {
  const directory = t.testdir({})
  const fresh = openSampleStore(join(directory, 'new', 'store.d'))
  t.equal(statSync(join(directory, 'new', 'store.d')).mode & 0o777, 0o700)
  t.ok(statSync(join(directory, 'new', 'store.d', 'data.mdb')).isFile(), 'a directory, also with a dot in its name')
  await fresh.close()
  const loose = join(directory, 'loose')
  mkdirSync(loose)
  chmodSync(loose, 0o755)
  const store = openSampleStore(loose)
  t.equal(statSync(loose).mode & 0o777, 0o700)
  await store.close()
})

t.test('a path that cannot be opened is named', async (t) => {
  const path = join(t.testdir({ occupied: 'a file' }), 'occupied')
  t.throws(() => openStore({ path }), { code: 'INTERNAL', message: `cannot open the store ${path}`, facts: { path } })
  const broken = join(t.testdir({ broken: {} }), 'broken')
  writeFileSync(join(broken, 'data.mdb'), Buffer.alloc(8192, 0x55))
  t.throws(() => openStore({ path: broken }), {
    code: 'INTERNAL',
    message: /data.mdb is not a store, or its head is damaged/,
  })
})

t.test('a table is opened once, under a plain name', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  sampleTable(store, 'samples')
  t.throws(() => sampleTable(store, 'samples'), { code: 'INTERNAL', message: 'table samples is open already' })
  for (const name of ['', 'Samples', '1st', 'a/b', 'a'.repeat(65)]) {
    t.throws(() => sampleTable(store, name), { code: 'INTERNAL' })
  }
  await store.close()
})

t.test('a write that hangs is rejected after the time-out, and so is every later one', async (t) => {
  const path = join(t.testdir({}), 'store')
  const clock = new VirtualClock()
  const stalls: LsxError[] = []
  const store = openSampleStore(path, { clock, commitTimeoutMs: 5_000, onStall: (error) => stalls.push(error) })
  const table = sampleTable(store)
  await table.put('before', record(1))
  t.equal(clock.pendingTimers, 0, 'no timer once everything is on disk')

  const holder = spawn(process.execPath, [program('lock-holder'), path], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')

  const first = t.rejects(table.put('first', record(2)), { code: 'INTERNAL', facts: { waitedMs: 5_000 } })
  await clock.advance(3_000)
  const second = t.rejects(table.put('second', record(3)), { code: 'INTERNAL' })
  await clock.advance(1_999)
  t.equal(store.stall, undefined, 'not before the time-out')
  await clock.advance(1)
  await Promise.all([first, second])
  t.match(store.stall, { code: 'INTERNAL', message: /stopped committing; the daemon must be restarted/ })
  t.equal(stalls.length, 1, 'the daemon is told once')
  await t.rejects(table.put('later', record(4)), { code: 'INTERNAL' })
  await t.rejects(table.remove('before'), { code: 'INTERNAL' })
  t.same(table.get('before'), record(1), 'reads go on')

  const ended = once(holder, 'exit')
  holder.kill('SIGKILL')
  await ended
  await store.close()
  const fresh = openSampleStore(path)
  t.match(sampleTable(fresh).get('before'), record(1), 'a fresh opening recovers')
  await fresh.close()
})

t.test('closing does not wait for a hung write longer than the time-out', async (t) => {
  const path = join(t.testdir({}), 'store')
  const clock = new VirtualClock()
  const store = openSampleStore(path, { clock, commitTimeoutMs: 1_000 })
  const table = sampleTable(store)
  const holder = spawn(process.execPath, [program('lock-holder'), path], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  const write = t.rejects(table.put('k', record(1)), { code: 'INTERNAL' })
  const closed = store.close()
  await clock.advance(1_000)
  await write
  await clock.advance(1_000)
  await closed
  t.match(store.stall, { code: 'INTERNAL' })
  t.equal(clock.pendingTimers, 0)
  const ended = once(holder, 'exit')
  holder.kill('SIGKILL')
  await ended
})

t.test('writes that wait are bounded', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'), { maxPendingWrites: 10 })
  const table = sampleTable(store)
  const writes = Array.from({ length: 12 }, (_, index) => table.put(`k${index}`, record(index)))
  const results = await Promise.allSettled(writes)
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 10)
  await t.rejects(writes[11] ?? Promise.resolve(), { code: 'STORE_FULL', party: 'self' })
  await table.put('again', record(1))
  t.same(table.get('again'), record(1), 'room again when they are on disk')
  await store.close()
})

t.test('nothing is added below the floor of free space; removing stays possible', async (t) => {
  const path = join(t.testdir({}), 'store')
  const roomy = openSampleStore(path)
  await sampleTable(roomy).put('k', record(1))
  await roomy.close()
  const store = openSampleStore(path, { minFreeBytes: Number.MAX_SAFE_INTEGER })
  const table = sampleTable(store)
  await t.rejects(table.put('more', record(2)), { code: 'STORE_FULL', facts: { path } })
  t.same(table.get('k'), record(1))
  await table.remove('k')
  t.equal(table.get('k'), undefined)
  await store.close()
})

t.test('the configured size is a bound on live data: it frees up again', async (t) => {
  const clock = new VirtualClock()
  const store = openSampleStore(join(t.testdir({}), 'store'), { clock, maxBytes: 256 * 1024 })
  const table = sampleTable(store)
  const large = { text: 'x'.repeat(20_000), amountMinor: 1 }
  let refused: unknown
  let kept = 0
  while (refused === undefined && kept < 100) {
    await clock.advance(1_000)
    await table.put(`k${kept}`, large).then(
      () => kept++,
      (error) => {
        refused = error
      },
    )
  }
  t.match(refused, { code: 'STORE_FULL', facts: { maxBytes: 256 * 1024 } })
  t.ok(kept >= 8 && kept <= 16, `${kept} records of 20 kB were taken`)
  for (let index = 0; index < kept / 2; index++) await table.remove(`k${index}`)
  await clock.advance(1_000)
  await table.put('again', large)
  t.same(table.get('again'), large)
  await store.close()
})

for (const method of ['put', 'write']) {
  t.test(`a ${method} that fails is reported, and ends neither the process nor the records`, async (t) => {
    const path = join(t.testdir({}), 'store')
    const shell = spawn(
      'sh',
      ['-c', `ulimit -f 2048; exec "$0" "$1" "$2" "$3"`, process.execPath, program('full-writer'), path, method],
      {
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    let output = ''
    shell.stdout.on('data', (chunk) => {
      output += chunk
    })
    const [code, signal] = await once(shell, 'close')
    t.same([code, signal], [0, null], 'the writer ended by itself')
    const result = JSON.parse(output)
    t.equal(result.codes.length, 5)
    t.ok(
      result.codes.every((each: string) => each === 'STORE_FULL' || each === 'INTERNAL'),
      String(result.codes),
    )
    t.equal(result.unhandled, 0)
    t.equal(result.readable, result.kept, 'all that was promised is there')
    t.ok(result.kept > 10)
  })
}

t.test('kill -9 loses nothing that was promised', async (t) => {
  const path = join(t.testdir({}), 'store')
  const writer = spawn(process.execPath, [program('crash-writer'), path], { stdio: ['ignore', 'pipe', 'inherit'] })
  let lastPromised = -1
  for await (const chunk of writer.stdout) {
    const lines = String(chunk).trim().split('\n')
    lastPromised = Number(lines.at(-1))
    if (lastPromised > 400 && !writer.killed) writer.kill('SIGKILL')
  }
  const store = openSampleStore(path)
  const table = sampleTable(store)
  const missing = []
  for (let number = 0; number <= lastPromised; number++) {
    if (table.get(`k${number}`)?.amountMinor !== number) missing.push(number)
  }
  t.ok(lastPromised > 400)
  t.same(missing, [])
  t.equal((await store.verify()).damaged, 0)
  await store.close()
})

t.test('a closed store refuses instead of ending the process', async (t) => {
  const store = openSampleStore(join(t.testdir({}), 'store'))
  const table = sampleTable(store)
  const last = table.put('last', record(1))
  const closing = store.close()
  await t.rejects(table.put('late', record(2)), { code: 'SHUTTING_DOWN' })
  await t.rejects(table.remove('last'), { code: 'SHUTTING_DOWN' })
  t.throws(() => table.get('last'), { code: 'SHUTTING_DOWN' })
  t.throws(() => table.keys({ limit: 1 }), { code: 'SHUTTING_DOWN' })
  t.throws(() => sampleTable(store, 'other'), { code: 'SHUTTING_DOWN' })
  await t.resolves(last, 'what was begun is finished')
  await closing
  await store.close()
})
