// Program started by ledger.test.ts and ended by SIGKILL: one bank connected, one not, heartbeats until minute 35.
import { join } from 'node:path'
import { RollingLog, UptimeLedger } from '../../../lib/ls/uptime/index.ts'
import { silentLogger } from '../../../lib/runtime/index.ts'
import { openStore } from '../../../lib/store/index.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { lifeOf, MINUTE_MS, START_MS } from './scenario.ts'

const dir = process.argv[2] ?? ''
const clock = new VirtualClock(START_MS)
const ledger = new UptimeLedger({
  store: openStore({ path: join(dir, 'store'), minFreeBytes: 0 }),
  log: new RollingLog({ dir: join(dir, 'unread-logs'), name: 'uptime', logger: silentLogger }),
  logger: silentLogger,
  clock,
})
await ledger.start(AbortSignal.timeout(10_000))
const life = [
  ...lifeOf('044', [
    [START_MS, 'dialing'],
    [START_MS + 10 * MINUTE_MS, 'connected'],
  ]),
  ...lifeOf('058', [[START_MS + 11 * MINUTE_MS, 'dialing']]),
]
for (const transition of life) {
  await clock.advance(transition.atMs - clock.nowMs())
  ledger.record(transition)
}
while (clock.nowMs() < START_MS + 35 * MINUTE_MS) {
  await clock.advance(MINUTE_MS)
  await ledger.flush()
}
await clock.advance(20_000)
process.stdout.write('ready\n')
setInterval(() => {}, 60_000)
