import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { claimStore, lockStore, openStore } from '../../lib/store/index.ts'

const HOLDER = new URL('./store-lock-holder.js', import.meta.url)

t.test('BEY-2 one process at a time uses a store; the lock ends with its process, also by kill -9', async (t) => {
  const directory = join(t.testdir(), 'store')
  const holder = fork(HOLDER, [directory])
  t.teardown(() => holder.kill('SIGKILL'))
  await once(holder, 'message')
  await t.rejects(lockStore(directory), { code: 'REFUSED', message: /another process uses the store/ })
  const exited = once(holder, 'exit')
  holder.kill('SIGKILL')
  await exited
  const lock = await lockStore(directory)
  await t.rejects(lockStore(directory), { code: 'REFUSED' }, 'also within one process')
  await lock.release()
  await (await lockStore(directory)).release()
})

t.test('of several that start at once over a stale lock, at most one gets the store', async (t) => {
  const directory = join(t.testdir(), 'store')
  const holder = fork(HOLDER, [directory])
  await once(holder, 'message')
  const exited = once(holder, 'exit')
  holder.kill('SIGKILL')
  await exited
  const tries = await Promise.allSettled(Array.from({ length: 8 }, () => lockStore(directory)))
  const locks = tries.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  t.ok(locks.length <= 1, 'never two')
  for (const lock of locks) await lock.release()
})

t.test('a directory whose name is longer than a socket path may be', async (t) => {
  const directory = join(t.testdir(), 'x'.repeat(200), 'store')
  mkdirSync(directory, { recursive: true })
  const lock = await lockStore(directory)
  await t.rejects(lockStore(directory), { code: 'REFUSED' })
  await lock.release()
})

t.test('a store is of the party that used it first', async (t) => {
  const path = join(t.testdir(), 'store')
  const claim = async (owner: string) => {
    const store = openStore({ path })
    try {
      await claimStore(store, owner)
    } finally {
      await store.close()
    }
  }
  await claim('xchange 044')
  await t.rejects(claim('xchange 058'), { code: 'REFUSED', message: /belongs to xchange 044, and this is xchange 058/ })
  await t.rejects(claim('ls'), { code: 'REFUSED' })
  await t.resolves(claim('xchange 044'))
})
