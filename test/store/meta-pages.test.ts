import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkMetaPages } from '../../lib/store/meta-pages.ts'
import { flipBit } from '../support/bit-flips.ts'
import { openSampleStore, sampleTable } from './records.ts'

const PAGE_BYTES = 4096
const META_OFFSETS = [24, 24 + PAGE_BYTES, 24 + PAGE_BYTES / 2]
const COMMIT_OFFSET = 128
const BOOT_OFFSET = 136

async function storeWithCommits(path: string, commits: number): Promise<void> {
  const store = openSampleStore(path)
  const table = sampleTable(store)
  for (let number = 0; number < commits; number++) await table.put('k', { text: 'x', amountMinor: number })
  await store.close()
}

function finds(path: string, file: Buffer, boot: bigint): boolean {
  writeFileSync(join(path, 'data.mdb'), file)
  try {
    checkMetaPages(path, boot)
    return false
  } catch (error) {
    t.match(error, { code: 'INTERNAL', message: /head of .* is damaged: restore it/ })
    return true
  }
}

t.test('a store as it is at any number of commits passes', async (t) => {
  const directory = t.testdir({})
  for (const commits of [0, 1, 2, 3, 10]) {
    const path = join(directory, `commits-${commits}`)
    await storeWithCommits(path, commits)
    const file = readFileSync(join(path, 'data.mdb'))
    checkMetaPages(path, file.readBigUInt64LE(24 + BOOT_OFFSET))
    checkMetaPages(path)
    await storeWithCommits(path, commits)
  }
  checkMetaPages(join(directory, 'missing'))
})

t.test('BEY-2 a flipped bit that makes an older commit the newest is found', async (t) => {
  const directory = t.testdir({})
  for (const commits of [6, 7]) {
    const path = join(directory, `commits-${commits}`)
    await storeWithCommits(path, commits)
    const intact = readFileSync(join(path, 'data.mdb'))
    const boot = intact.readBigUInt64LE(24 + BOOT_OFFSET)
    const copy = join(directory, `copy-${commits}`)
    mkdirSync(copy)
    const passed: string[] = []
    for (const meta of META_OFFSETS.slice(0, 2)) {
      for (let bit = (meta + COMMIT_OFFSET) * 8; bit < (meta + COMMIT_OFFSET + 8) * 8; bit++) {
        if (!finds(copy, flipBit(intact, bit), boot)) passed.push(`byte ${bit >> 3} bit ${bit & 7}`)
      }
    }
    t.same(passed, [])
  }
})

t.test('so is one in what the newest commit says of the main database', async (t) => {
  const directory = t.testdir({})
  const path = join(directory, 'store')
  await storeWithCommits(path, 7)
  const intact = readFileSync(join(path, 'data.mdb'))
  const commitOf = (meta: number) => intact.readBigUInt64LE(meta + COMMIT_OFFSET)
  const newest = commitOf(24) > commitOf(24 + PAGE_BYTES) ? 24 : 24 + PAGE_BYTES
  const boot = intact.readBigUInt64LE(newest + BOOT_OFFSET)
  const copy = join(directory, 'copy')
  mkdirSync(copy)
  const passed: number[] = []
  for (let bit = (newest + 72) * 8; bit < (newest + COMMIT_OFFSET) * 8; bit++) {
    if (!finds(copy, flipBit(intact, bit), boot)) passed.push(bit)
  }
  t.same(passed, [])
})

t.test('a store of an earlier boot is left to LMDB, which goes back to what was flushed', async (t) => {
  const path = join(t.testdir({}), 'store')
  await storeWithCommits(path, 6)
  const intact = readFileSync(join(path, 'data.mdb'))
  const boot = intact.readBigUInt64LE(24 + BOOT_OFFSET)
  const copy = join(t.testdir({}), 'copy')
  mkdirSync(copy)
  const raised = flipBit(intact, (24 + COMMIT_OFFSET + 2) * 8)
  t.equal(finds(copy, raised, boot), true)
  t.equal(finds(copy, raised, boot + 1n), false)
})

t.test('what is damaged so does not open', async (t) => {
  const directory = t.testdir({})
  const path = join(directory, 'store')
  await storeWithCommits(path, 6)
  copyFileSync(join(path, 'data.mdb'), join(directory, 'intact'))
  const intact = readFileSync(join(directory, 'intact'))
  // Where the system does not tell its boots apart there is nothing to compare.
  if (intact.readBigUInt64LE(24 + BOOT_OFFSET) !== 0n) {
    writeFileSync(join(path, 'data.mdb'), flipBit(intact, (24 + COMMIT_OFFSET + 2) * 8))
    t.throws(() => openSampleStore(path), { code: 'INTERNAL', message: /head of .* is damaged/ })
  }
  writeFileSync(join(path, 'data.mdb'), intact)
  const store = openSampleStore(path)
  t.match(sampleTable(store).get('k'), { amountMinor: 5 })
  await store.close()
})
