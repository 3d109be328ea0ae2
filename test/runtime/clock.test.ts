import t from 'tap'
import { sleep, systemClock } from '../../lib/runtime/index.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const REASON = new Error('enough')

t.test('a sleep ends after its time', async (t) => {
  const clock = new VirtualClock()
  let done = false
  const slept = sleep(clock, 100).then(() => {
    done = true
  })
  await clock.advance(99)
  t.notOk(done)
  await clock.advance(1)
  await slept
  t.equal(clock.pendingTimers, 0)
})

t.test('a sleep ends at once when its signal aborts, with the reason and without a timer left', async (t) => {
  const clock = new VirtualClock()
  const abort = new AbortController()
  const slept = sleep(clock, 100, abort.signal)
  abort.abort(REASON)
  await t.rejects(slept, REASON)
  t.equal(clock.pendingTimers, 0)
  await t.rejects(sleep(clock, 100, abort.signal), REASON, 'before it begins, too')
  t.equal(clock.pendingTimers, 0)
})

t.test('a sleep that is over has nothing to do with its signal any more', async (t) => {
  const clock = new VirtualClock()
  const abort = new AbortController()
  const slept = sleep(clock, 100, abort.signal)
  await clock.advance(100)
  await slept
  abort.abort(REASON)
  await clock.advance(100)
  t.equal(clock.pendingTimers, 0)
})

t.test('the system clock: wall time, a monotonic one, and timers that keep no process alive', async (t) => {
  t.ok(Math.abs(systemClock.nowMs() - Date.now()) < 1_000)
  const before = systemClock.monotonicMs()
  const fired: string[] = []
  await new Promise<void>((resolve) => {
    const cancelled = systemClock.startTimer(0, () => fired.push('cancelled'))
    systemClock.cancelTimer(cancelled)
    systemClock.cancelTimer(cancelled)
    systemClock.startTimer(-5, () => {
      fired.push('past')
      resolve()
    })
    // Timers of the clock do not wait for themselves.
    setImmediate(() => setTimeout(() => {}, 50))
  })
  t.strictSame(fired, ['past'])
  t.ok(systemClock.monotonicMs() >= before)
  const timer = systemClock.startTimer(1_000, () => {}) as NodeJS.Timeout
  t.equal(timer.hasRef(), false)
  systemClock.cancelTimer(timer)
})

t.test('a timer that is longer than node can count does not fire at once', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  let fired = false
  const timers = [2 ** 31, 30 * 86_400_000, Number.MAX_SAFE_INTEGER].map((delayMs) =>
    systemClock.startTimer(delayMs, () => {
      fired = true
    }),
  )
  await new Promise((resolve) => setTimeout(resolve, 20))
  for (const timer of timers) systemClock.cancelTimer(timer)
  process.off('warning', onWarning)
  t.notOk(fired)
  t.strictSame(warnings, [])
})
