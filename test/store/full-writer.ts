// Program started by store.test.ts under a file size limit: fills the store until a write fails, then goes on.
import { LsxError } from '../../lib/runtime/index.ts'
import { openSampleStore, sampleTable } from './records.ts'

const unhandled: unknown[] = []
process.on('unhandledRejection', (reason) => unhandled.push(reason))

const store = openSampleStore(process.argv[2] ?? '')
const table = sampleTable(store)
const codes: string[] = []
let kept = 0
for (let number = 0; number < 1_000 && codes.length < 5; number++) {
  try {
    await table.put(`k${number}`, { text: 'x'.repeat(10_000), amountMinor: number })
    kept++
  } catch (error) {
    codes.push(error instanceof LsxError ? error.code : String(error))
  }
}
const readable = table.range({ limit: 1_000 }).length
await new Promise<void>((resolve) => setImmediate(resolve))
process.stdout.write(`${JSON.stringify({ codes, kept, readable, unhandled: unhandled.length })}\n`)
process.exitCode = 0
