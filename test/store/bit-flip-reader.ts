// Program started by flipped-bits.test.ts: a damaged LMDB file may end the process that reads it.
// Arguments: intact data.mdb, directory for the copies, the store key in hex where it is sealed, bits (comma separated).
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LsxError } from '../../lib/runtime/index.ts'
import { sealedEnvelope } from '../../lib/store/index.ts'
import { flipBit } from '../support/bit-flips.ts'
import { FLIP_RECORDS, FLIP_TABLES, flipRecord, openSampleStore, sampleTable } from './records.ts'

export interface FlipResult {
  readonly bit: number
  right: number
  wrong: number
  missing: number
  refused: number
  /** What a verification at start said: damaged records, or undefined when the store did not open. */
  verified: number | undefined
}

const [intactFile = '', directory = '', storeKey = '', bits = ''] = process.argv.slice(2)
const options = storeKey === '' ? {} : { envelope: sealedEnvelope(Buffer.from(storeKey, 'hex')) }

async function readWithFlippedBit(intact: Buffer, path: string, bit: number): Promise<FlipResult> {
  const result: FlipResult = { bit, right: 0, wrong: 0, missing: 0, refused: 0, verified: undefined }
  mkdirSync(path, { mode: 0o700 })
  writeFileSync(join(path, 'data.mdb'), flipBit(intact, bit))
  try {
    const store = openSampleStore(path, options)
    try {
      const tables = FLIP_TABLES.map((name) => sampleTable(store, name))
      result.verified = (await store.verify()).damaged
      for (const table of tables) {
        const expected = new Map<string, string>()
        for (let index = 0; index < FLIP_RECORDS; index++) {
          const { key, value } = flipRecord(table.name, index)
          expected.set(key, JSON.stringify(value))
          try {
            const read = table.get(key)
            if (read === undefined) result.missing++
            else if (JSON.stringify(read) === expected.get(key)) result.right++
            else result.wrong++
          } catch (error) {
            if (!(error instanceof LsxError) || error.code !== 'INTERNAL') throw error
            result.refused++
          }
        }
        try {
          for (const { key, value } of table.range({ limit: 10_000, onDamage: () => undefined })) {
            if (JSON.stringify(value) !== expected.get(key)) result.wrong++
          }
        } catch (error) {
          if (!(error instanceof LsxError) || error.code !== 'INTERNAL') throw error
        }
      }
    } finally {
      await store.close()
    }
  } catch (error) {
    if (!(error instanceof LsxError) || error.code !== 'INTERNAL') throw error
    result.refused = FLIP_RECORDS * FLIP_TABLES.length
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
  return result
}

const intact = readFileSync(intactFile)
for (const bit of bits.split(',').map(Number)) {
  const result = await readWithFlippedBit(intact, join(directory, `bit-${bit}`), bit)
  await new Promise((resolve) => process.send?.(result, resolve))
}
process.disconnect?.()
