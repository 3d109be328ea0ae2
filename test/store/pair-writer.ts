// Program started by transactions.test.ts and ended by SIGKILL: writes pairs as one, and says which are durable.
import { openSampleStore, sampleTable } from './records.ts'

const store = openSampleStore(process.argv[2] ?? '')
const left = sampleTable(store, 'left')
const right = sampleTable(store, 'right')
for (let first = 0; ; first += 16) {
  const numbers = Array.from({ length: 16 }, (_, index) => first + index)
  await Promise.all(
    numbers.map((number) => {
      const record = { text: 'x'.repeat(number % 3000), amountMinor: number }
      return store.write([left.toPut(`k${number}`, record), right.toPut(`k${number}`, record)])
    }),
  )
  process.stdout.write(`${first + 15}\n`)
}
