import { statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { metaBits, numbersFrom, pageBits, readFlippedCopies } from '../../support/bit-flips.ts'
import type { JournalFlipResult } from './journal-flip-reader.ts'
import { flipRequest, JournalHarness } from './journal-harness.ts'

const READER = fileURLToPath(new URL('./journal-flip-reader.js', import.meta.url))

t.test('BEY-2 0 wrong answers of the journal for 300 flipped bits of its sealed store', async (t) => {
  const requests = 150
  const directory = t.testdir({})
  const path = join(directory, 'intact')
  const { journal, ...harness } = await JournalHarness.start(path)
  const all = Array.from({ length: requests }, (_, index) => flipRequest(index))
  await Promise.all(all.map(({ request }) => journal.accept(request)))
  await Promise.all(
    all.map(({ request, settlement }) =>
      settlement === undefined ? undefined : journal.settle(request.key, settlement),
    ),
  )
  await journal.stop()
  await harness.store.close()

  const file = join(path, 'data.mdb')
  const below = numbersFrom(0xbe72)
  const bits = [...pageBits(280, statSync(file).size, below), ...metaBits(20, below)]
  const outcomes = await readFlippedCopies<JournalFlipResult>(READER, [file, directory, String(requests)], bits)
  const served = outcomes.filter((outcome): outcome is JournalFlipResult => 'wrong' in outcome)
  t.equal(outcomes.length, 300)
  t.same(
    served.filter(({ wrong }) => wrong > 0),
    [],
    '0 wrong answers',
  )
  t.same(
    served.filter(({ missing, damaged }) => missing > 0 && damaged === 0),
    [],
    'a request that is not found is found to be missing',
  )
  const found = served.filter(({ damaged }) => damaged === undefined || damaged > 0).length
  t.ok(found > 80, `${found} flips damaged a record and were found`)
  const missing = served.filter((result) => result.missing > 0).length
  t.comment(
    `found ${found}, harmless ${served.length - found}, with requests missing ${missing}, ended the reader ${outcomes.length - served.length}`,
  )
})
