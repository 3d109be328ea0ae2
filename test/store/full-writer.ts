// Program started under a file size limit: fills the store until a write fails, then goes on.
// Arguments: path of the store, `put` or `write`.
import { LsxError } from '../../lib/runtime/index.ts'
import { openSampleStore, sampleTable } from './records.ts'

const unhandled: unknown[] = []
process.on('unhandledRejection', (reason) => unhandled.push(reason))

const store = openSampleStore(process.argv[2] ?? '')
const table = sampleTable(store)
const other = sampleTable(store, 'other')
const codes: string[] = []
let kept = 0
for (let number = 0; number < 1_000 && codes.length < 5; number++) {
  try {
    const record = { text: 'x'.repeat(10_000), amountMinor: number }
    if (process.argv[3] === 'write') await store.write([table.toPut(`k${number}`, record), other.toRemove('none')])
    else await table.put(`k${number}`, record)
    kept++
  } catch (error) {
    codes.push(error instanceof LsxError ? error.code : String(error))
  }
}
const readable = table.range({ limit: 1_000 }).length
await new Promise<void>((resolve) => setImmediate(resolve))
process.stdout.write(`${JSON.stringify({ codes, kept, readable, unhandled: unhandled.length })}\n`)
process.exitCode = 0
