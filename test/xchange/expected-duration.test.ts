import t from 'tap'
import { ExpectedDuration } from '../../lib/xchange/expected-duration.ts'

t.test('BEY-3 how long a method takes is learned', async (t) => {
  t.test('not from a few runs', async (t) => {
    const learned = new ExpectedDuration()
    for (let n = 0; n < 19; n++) learned.add(5_000, n)
    t.equal(learned.expectedMs(19), 0)
    learned.add(5_000, 19)
    t.equal(learned.expectedMs(20), 5_000)
  })

  t.test('nine in ten runs are within it, whatever the rest takes', async (t) => {
    const learned = new ExpectedDuration()
    for (let n = 0; n < 64; n++) learned.add(n % 20 === 0 ? 60_000 : 10, n)
    t.equal(learned.expectedMs(64), 10, 'one slow run in twenty does not count')
    const slower = new ExpectedDuration()
    for (let n = 0; n < 64; n++) slower.add(n % 5 === 0 ? 60_000 : 10, n)
    t.equal(slower.expectedMs(64), 60_000, 'one in five does')
  })

  t.test('from the last runs only', async (t) => {
    const learned = new ExpectedDuration()
    for (let n = 0; n < 200; n++) learned.add(1_000, n)
    for (let n = 0; n < 64; n++) learned.add(20, 200 + n)
    t.equal(learned.expectedMs(264), 20)
  })

  t.test('and forgotten when nothing has run for a while', async (t) => {
    const learned = new ExpectedDuration()
    for (let n = 0; n < 30; n++) learned.add(1_000, n)
    t.equal(learned.expectedMs(30_029), 1_000)
    t.equal(learned.expectedMs(30_030), 0)
    learned.add(1_000, 40_000)
    t.equal(learned.expectedMs(40_000), 0, 'one run after that is one run')
  })
})

t.test('it is the 90th percentile of the last 64, whatever their order', async (t) => {
  const durations = Array.from({ length: 400 }, (_, index) => (index * 7_919) % 1_009)
  const learned = new ExpectedDuration()
  for (const [index, durationMs] of durations.entries()) {
    learned.add(durationMs, 0)
    const count = index + 1
    if (count < 24 || count % 8 !== 0) continue
    const sorted = durations.slice(Math.max(0, count - 64), count).sort((a, b) => a - b)
    t.equal(learned.expectedMs(0), sorted[Math.floor((sorted.length - 1) * 0.9)], `${count} runs`)
  }
})
