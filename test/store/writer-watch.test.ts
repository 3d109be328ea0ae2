import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import t from 'tap'
import { WriterWatch } from '../../lib/store/writer-watch.ts'

function openRoot(path: string): RootDatabase<Buffer, Buffer> {
  return open<Buffer, Buffer>({ path, encoding: 'binary', keyEncoding: 'binary' })
}

t.test('a writer is known from its start until its thread has ended', async (t) => {
  const root = openRoot(join(t.testdir({}), 'store'))
  const watch = new WriterWatch(root)
  t.equal(watch.running, 0)
  await watch.idle()
  for (let round = 0; round < 20; round++) {
    const written = root.put(Buffer.from(`key-${round}`), Buffer.alloc(100))
    await new Promise((resolve) => setImmediate(resolve))
    t.ok(watch.running > 0 || (await written), 'it runs, or it is done')
    await written
    await watch.idle()
    t.equal(watch.running, 0)
  }
  await root.close()
})

t.test('stores that are closed right after a commit, again and again', async (t) => {
  const dir = t.testdir({})
  for (let round = 0; round < 60; round++) {
    const root = openRoot(join(dir, `store-${round % 4}`))
    const watch = new WriterWatch(root)
    const writes = Array.from({ length: 8 }, (_, index) =>
      root.put(Buffer.from(`${index}`), Buffer.alloc(2_000, round)),
    )
    await Promise.race(writes)
    await watch.idle()
    await new Promise((resolve) => setImmediate(resolve))
    await root.close()
  }
  t.pass('the process lives')
})

t.test('an lmdb that has no such function is left as it is', async (t) => {
  const watch = new WriterWatch({} as RootDatabase<Buffer, Buffer>)
  await watch.idle()
  t.equal(watch.running, 0)
})
