import t from 'tap'
import { RepeatedLine } from '../../lib/runtime/index.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

t.test('a line at once and again and again, until it is stopped', async (t) => {
  const clock = new VirtualClock()
  const saidAtMs: number[] = []
  const line = new RepeatedLine({ clock, intervalMs: 1_000, say: () => saidAtMs.push(clock.monotonicMs()) })
  await line.start()
  await clock.advance(2_500)
  await line.stop()
  await clock.advance(5_000)
  t.strictSame(saidAtMs, [0, 1_000, 2_000])
  t.equal(clock.pendingTimers, 0)
})
