// Program started by durable-once-only.test.ts and ended by SIGKILL: says each promise of the table once it is kept.
// Argument: path of the store.
import { ResponseStatus } from '../../lib/frames/index.ts'
import { silentLogger, systemClock } from '../../lib/runtime/index.ts'
import { DurableOnceOnlyTable } from '../../lib/xchange/durable-once-only.ts'
import { requestDigest } from '../../lib/xchange/once-only.ts'
import { openSealedStore } from '../support/sealed-store.ts'

const table = new DurableOnceOnlyTable({
  store: openSealedStore(process.argv[2] ?? ''),
  clock: systemClock,
  logger: silentLogger,
})
await table.start(new AbortController().signal)

/** Every third key is begun and never finished; that it would be executed is said before the answer is. */
async function execute(number: number): Promise<void> {
  const key = `${process.pid}-${number}`
  const { kind } = await table.begin(key, requestDigest({ method: 'pay', payload: Buffer.from(key) }))
  process.stdout.write(`${kind} ${key} .\n`)
  if (number % 3 === 0) return
  await table.finish(key, { status: ResponseStatus.ok, payload: Buffer.from(`paid ${key}`), meta: undefined })
  process.stdout.write(`done ${key} .\n`)
}

let next = 0
await Promise.all(
  Array.from({ length: 64 }, async () => {
    for (;;) await execute(next++)
  }),
)
