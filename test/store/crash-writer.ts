// Program started by store.test.ts and ended by SIGKILL: says the number of each record once it is durable.
import { openSampleStore, sampleTable } from './records.ts'

const table = sampleTable(openSampleStore(process.argv[2] ?? ''))
for (let first = 0; ; first += 8) {
  const numbers = Array.from({ length: 8 }, (_, index) => first + index)
  await Promise.all(numbers.map((number) => table.put(`k${number}`, { text: 'written', amountMinor: number })))
  process.stdout.write(`${first + 7}\n`)
}
