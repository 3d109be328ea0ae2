import { fork } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { FlipResult } from './bit-flip-reader.ts'
import { FLIP_RECORDS, FLIP_TABLES, flipRecord, openSampleStore, sampleTable } from './records.ts'

const READER = fileURLToPath(new URL('./bit-flip-reader.js', import.meta.url))
const STALL_MS = 20_000
const PAGE_BYTES = 4096
const META_BYTES = 24 + 136

type Outcome = FlipResult | { bit: number; ended: string }

/** xorshift32: the same bits in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** One reader for as many bits as it survives; a damaged page that ends or hangs it serves nothing, and is noted. */
async function readAll(intactFile: string, directory: string, bits: readonly number[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  while (outcomes.length < bits.length) {
    const reader = fork(READER, [intactFile, directory, bits.slice(outcomes.length).join(',')], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    let stall: NodeJS.Timeout | undefined
    const watch = () => {
      clearTimeout(stall)
      stall = setTimeout(() => reader.kill('SIGKILL'), STALL_MS)
    }
    watch()
    reader.on('message', (result: FlipResult) => {
      outcomes.push(result)
      watch()
    })
    const ended = await new Promise<string>((resolve) =>
      reader.once('exit', (code, signal) => resolve(String(signal ?? code))),
    )
    clearTimeout(stall)
    const bit = bits[outcomes.length]
    if (bit !== undefined) outcomes.push({ bit, ended })
  }
  return outcomes
}

t.test('a flipped bit in data.mdb is found and never served', async (t) => {
  const directory = t.testdir({})
  const path = join(directory, 'intact')
  const store = openSampleStore(path)
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

  const file = join(path, 'data.mdb')
  const fileBytes = statSync(file).size
  const below = numbers(0x5eed)
  const recordBits = Array.from(
    { length: 300 },
    () => (2 * PAGE_BYTES + below(fileBytes - 2 * PAGE_BYTES)) * 8 + below(8),
  )
  const metaBits = Array.from({ length: 60 }, () => (below(2) * PAGE_BYTES + below(META_BYTES)) * 8 + below(8))

  await t.test('300 bits of the pages', async (t) => {
    const outcomes = await readAll(file, directory, recordBits)
    const served = outcomes.filter((outcome): outcome is FlipResult => 'wrong' in outcome)
    t.equal(outcomes.length, 300)
    t.same(
      served.filter(({ wrong }) => wrong > 0),
      [],
      'no wrong value',
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
    const outcomes = await readAll(file, directory, metaBits)
    t.equal(outcomes.length, 60)
    t.same(
      outcomes.filter((outcome) => 'wrong' in outcome && outcome.wrong > 0),
      [],
      'no wrong value',
    )
  })
})
