import { statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { sealedEnvelope } from '../../lib/store/index.ts'
import { metaBits, numbersFrom, pageBits, readFlippedCopies } from '../support/bit-flips.ts'
import type { FlipResult } from './bit-flip-reader.ts'
import { FLIP_RECORDS, FLIP_TABLES, flipRecord, openSampleStore, sampleTable } from './records.ts'

const READER = fileURLToPath(new URL('./bit-flip-reader.js', import.meta.url))

async function makeIntactStore(t: Test, path: string, storeKey: string): Promise<void> {
  const store = openSampleStore(path, storeKey === '' ? {} : { envelope: sealedEnvelope(Buffer.from(storeKey, 'hex')) })
  for (const name of FLIP_TABLES) {
    const table = sampleTable(store, name)
    const writes: Promise<void>[] = []
    for (let index = 0; index < FLIP_RECORDS; index++) {
      const { key, value } = flipRecord(name, index)
      writes.push(table.put(key, value))
    }
    await Promise.all(writes)
  }
  t.equal((await store.verify()).damaged, 0, 'intact at first')
  await store.close()
}

/** Flips bits of a store's file one at a time, and reads it. Without a store key it has checksums. */
export async function tryFlippedBits(t: Test, storeKey = ''): Promise<void> {
  const directory = t.testdir({})
  const path = join(directory, 'intact')
  await makeIntactStore(t, path, storeKey)
  const file = join(path, 'data.mdb')
  const below = numbersFrom(0x5eed)
  const argv = [file, directory, storeKey]
  const bitsOfPages = pageBits(300, statSync(file).size, below)
  const bitsOfMeta = metaBits(60, below)

  await t.test('300 bits of the pages', async (t) => {
    const outcomes = await readFlippedCopies<FlipResult>(READER, argv, bitsOfPages)
    const served = outcomes.filter((outcome): outcome is FlipResult => 'wrong' in outcome)
    t.equal(outcomes.length, 300)
    t.same(
      served.filter(({ wrong }) => wrong > 0),
      [],
      '0 wrong values',
    )
    t.same(
      served.filter(({ refused, missing, verified }) => refused + missing > 0 && verified === 0),
      [],
      'whatever a reader would miss, the verification at start has found',
    )
    const found = served.filter(({ verified }) => verified === undefined || verified > 0).length
    t.ok(found > 100, `${found} flips damaged a record and were found`)
    t.comment(`found ${found}, harmless ${served.length - found}, ended the reader ${outcomes.length - served.length}`)
  })

  await t.test('60 bits of the two meta pages', async (t) => {
    const outcomes = await readFlippedCopies<FlipResult>(READER, argv, bitsOfMeta)
    t.equal(outcomes.length, 60)
    t.same(
      outcomes.filter((outcome) => 'wrong' in outcome && outcome.wrong > 0),
      [],
      '0 wrong values',
    )
  })
}
