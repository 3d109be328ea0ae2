import t from 'tap'
import { HOUR_MS, Schedule } from '../../../lib/ls/uptime/schedule.ts'
import type { Clock } from '../../../lib/runtime/index.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const MINUTE_MS = 60_000

t.test('a task runs at each full hour of wall time', async (t) => {
  const clock = new VirtualClock(1_800_000_000_000 + 17 * MINUTE_MS)
  const runs: number[] = []
  const schedule = new Schedule({
    clock,
    intervalMs: HOUR_MS,
    task: async () => {
      runs.push(clock.nowMs())
    },
    onError: (error) => t.fail(String(error)),
  })
  schedule.start()
  schedule.start()
  await clock.advance(3 * HOUR_MS)
  t.same(
    runs.map((atMs) => atMs % HOUR_MS),
    [0, 0, 0],
  )
  await schedule.stop()
  t.equal(clock.pendingTimers, 0)
  await clock.advance(2 * HOUR_MS)
  t.equal(runs.length, 3)
})

t.test('a task that takes long is not run twice at once; stopping aborts it and waits', async (t) => {
  const clock = new VirtualClock()
  let begun = 0
  let ended = false
  const schedule = new Schedule({
    clock,
    intervalMs: MINUTE_MS,
    task: async (signal) => {
      begun++
      await new Promise((_, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
      ).finally(() => {
        ended = true
      })
    },
    onError: (error) => t.fail(String(error)),
  })
  schedule.start()
  await clock.advance(10 * MINUTE_MS)
  t.equal(begun, 1)
  await schedule.stop()
  t.ok(ended)
})

t.test('a task that fails is reported and runs again', async (t) => {
  const clock = new VirtualClock()
  const errors: unknown[] = []
  const schedule = new Schedule({
    clock,
    intervalMs: MINUTE_MS,
    task: () => Promise.reject(new Error('no')),
    onError: (error) => errors.push(error),
  })
  schedule.start()
  await clock.advance(2 * MINUTE_MS)
  t.match(errors, [{ message: 'no' }, { message: 'no' }])
  await schedule.stop()
})

t.test('a timer that fires a little early does not make the task run twice', async (t) => {
  const virtual = new VirtualClock()
  const early: Clock = {
    nowMs: () => virtual.nowMs(),
    monotonicMs: () => virtual.monotonicMs(),
    startTimer: (delayMs, fire) => virtual.startTimer(delayMs > 10 ? delayMs - 3 : delayMs, fire),
    cancelTimer: (timer) => virtual.cancelTimer(timer),
  }
  let runs = 0
  const schedule = new Schedule({
    clock: early,
    intervalMs: MINUTE_MS,
    task: async () => {
      runs++
    },
    onError: (error) => t.fail(String(error)),
  })
  schedule.start()
  await virtual.advance(3 * MINUTE_MS)
  t.equal(runs, 3)
  await schedule.stop()
})
