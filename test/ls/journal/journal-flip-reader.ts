// Program started by damage.test.ts: a damaged LMDB file may end the process that reads it.
// Arguments: intact data.mdb, directory for the copies, number of requests, bits (comma separated).
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type JournalRecord, RequestJournal } from '../../../lib/ls/journal/index.ts'
import { LsxError, silentLogger, systemClock } from '../../../lib/runtime/index.ts'
import { flipBit } from '../../support/bit-flips.ts'
import { openSealedStore } from '../../support/sealed-store.ts'
import { flipRequest } from './journal-harness.ts'

export interface JournalFlipResult {
  readonly bit: number
  right: number
  /** Served with another content or state than was written. */
  wrong: number
  /** Said to be unknown: the request would be taken on again. */
  missing: number
  refused: number
  /** Damaged records that the journal has found, or undefined when it did not start. */
  damaged: number | undefined
}

const [intactFile = '', directory = '', count = '', bits = ''] = process.argv.slice(2)
const intact = readFileSync(intactFile)

async function readWithFlippedBit(bit: number): Promise<JournalFlipResult> {
  const result: JournalFlipResult = { bit, right: 0, wrong: 0, missing: 0, refused: 0, damaged: undefined }
  const path = join(directory, `bit-${bit}`)
  mkdirSync(path, { mode: 0o700 })
  writeFileSync(join(path, 'data.mdb'), flipBit(intact, bit))
  try {
    await readJournal(path, result)
  } catch (error) {
    if (!isRefusal(error)) throw error
    result.refused = Number(count)
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
  return result
}

async function readJournal(path: string, result: JournalFlipResult): Promise<void> {
  const store = openSealedStore(path)
  try {
    const journal = new RequestJournal({ store, clock: systemClock, logger: silentLogger })
    await journal.start(new AbortController().signal)
    const open = new Map(journal.open('044').map((record) => [record.key, record]))
    for (let index = 0; index < Number(count); index++) judge(journal, index, open, result)
    await journal.verification
    result.damaged = journal.damagedCount
    await journal.stop()
  } finally {
    await store.close()
  }
}

function judge(
  journal: RequestJournal,
  index: number,
  open: ReadonlyMap<string, JournalRecord>,
  result: JournalFlipResult,
): void {
  const { request, settlement } = flipRequest(index)
  const expected = { ...request, ...settlement, state: settlement === undefined ? 'sent' : 'settled' }
  const isRight = (record: JournalRecord) =>
    Object.entries(expected).every(([name, value]) => isDeepStrictEqual(record[name as keyof JournalRecord], value))
  const listed = open.get(request.key)
  if (listed !== undefined && !isRight(listed)) result.wrong++
  try {
    const record = journal.get(request.key)
    if (record === undefined) result.missing++
    else if (isRight(record)) result.right++
    else result.wrong++
  } catch (error) {
    if (!isRefusal(error)) throw error
    result.refused++
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof LsxError && error.code === 'INTERNAL'
}

for (const bit of bits.split(',').map(Number)) {
  const result = await readWithFlippedBit(bit)
  await new Promise((resolve) => process.send?.(result, resolve))
}
process.disconnect?.()
