// Program started by store.test.ts: holds LMDB's write lock until it is ended, as a stuck disk holds a commit.
import { open } from 'lmdb'

const root = open({ path: process.argv[2] ?? '', noSubdir: false, encoding: 'binary' })
root.transactionSync(() => {
  process.stdout.write('held\n')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000)
})
