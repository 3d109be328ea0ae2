// Program started by crash.test.ts and ended by SIGKILL: says each promise of the journal once it is kept.
// Argument: path of the store.
import { RequestJournal } from '../../../lib/ls/journal/index.ts'
import { silentLogger, systemClock } from '../../../lib/runtime/index.ts'
import { openSealedStore } from '../../support/sealed-store.ts'
import { newRequest, responseTo } from './journal-harness.ts'

const store = openSealedStore(process.argv[2] ?? '')
const journal = new RequestJournal({ store, clock: systemClock, logger: silentLogger, sentMarkDelayMs: 1 })
await journal.start(new AbortController().signal)

/** Of four: one is answered, one refused, one in doubt, one stays open. */
async function request(number: number): Promise<void> {
  const key = `${process.pid}-${number}`
  await journal.accept(newRequest(key, { bankCode: number % 2 === 0 ? '044' : '058' }))
  process.stdout.write(`accepted ${key} .\n`)
  journal.markSent(key, 'boot-1')
  if (number % 4 === 0) {
    await journal.settle(key, { outcome: 'answered', response: responseTo(key) })
    process.stdout.write(`answered ${key} .\n`)
  } else if (number % 4 === 1) {
    await journal.settle(key, { outcome: 'refused', code: 'BUSY' })
    process.stdout.write(`refused ${key} .\n`)
  } else if (number % 4 === 2) {
    await journal.settle(key, { outcome: 'in-doubt', code: 'IN_DOUBT' })
    process.stdout.write(`in-doubt ${key} .\n`)
  }
}

let next = 0
await Promise.all(
  Array.from({ length: 64 }, async () => {
    for (;;) await request(next++)
  }),
)
