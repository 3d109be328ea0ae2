import { getRandomValues } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { Backoff } from '../../lib/channel/backoff.ts'

const TERMS = { minDelayMs: 100, maxDelayMs: 30_000, stableAfterMs: 60_000, promptForMs: 15_000 }

function newBackoff(random: () => number, terms = TERMS): Backoff {
  return new Backoff(terms, random)
}

function delays(backoff: Backoff, count: number): number[] {
  return Array.from({ length: count }, () => backoff.nextDelayMs(1_000_000))
}

t.test('the bound doubles from the least to the greatest delay, and stays there', async (t) => {
  const bounds = delays(
    newBackoff(() => 1),
    12,
  )
  t.same(bounds, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000])
})

t.test(
  'the jitter is full, and drawn after the cap: a fleet that failed together does not come back in step',
  async (t) => {
    t.same(
      delays(
        newBackoff(() => 0),
        3,
      ),
      [0, 0, 0],
    )
    const fleet = 4_000
    const random = () => (getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32
    const drawn = Array.from({ length: fleet }, () => delays(newBackoff(random), 15).at(-1) ?? 0)
    const tenths = new Array<number>(10).fill(0)
    for (const delayMs of drawn) {
      const tenth = Math.floor((delayMs / TERMS.maxDelayMs) * 10)
      tenths[tenth] = (tenths[tenth] ?? 0) + 1
    }
    // Expected 400 in each tenth with a deviation of 19; 8 deviations make chance no explanation.
    for (const count of tenths) t.ok(Math.abs(count - fleet / 10) < 152, `${count} in a tenth`)
    t.equal(new Set(drawn).size > fleet * 0.99, true, 'hardly two at the same moment')
  },
)

t.test('a connection that was stable starts the delays afresh; one that was not goes on', async (t) => {
  const backoff = newBackoff(() => 1)
  delays(backoff, 6)
  backoff.connectionEnded({ upSinceMs: 0, nowMs: 59_999 })
  t.equal(backoff.nextDelayMs(59_999 + TERMS.promptForMs), 6_400)
  backoff.connectionEnded({ upSinceMs: 0, nowMs: 60_000 })
  t.equal(backoff.nextDelayMs(60_000 + TERMS.promptForMs), 100)
})

t.test(
  'LS-13 for a while after the loss of a channel that served, no delay is long, however often it was lost',
  async (t) => {
    const backoff = newBackoff(() => 1)
    delays(backoff, 8)
    for (let lostAtMs = 2_000; lostAtMs < 2_000_000; lostAtMs += 20_000) {
      backoff.connectionEnded({ upSinceMs: lostAtMs - 1_000, nowMs: lostAtMs })
      t.equal(backoff.nextDelayMs(lostAtMs), 500)
      t.equal(backoff.nextDelayMs(lostAtMs + TERMS.promptForMs - 1), 500)
    }
    t.equal(backoff.nextDelayMs(4_000_000), 25_600, 'and then the delays go on where they were')
  },
)

t.test('LS-13 the prompt delays begin small and end with the outage that lasts', async (t) => {
  const backoff = newBackoff(() => 1)
  backoff.connectionEnded({ upSinceMs: 0, nowMs: 100_000 })
  const delaysMs = [0, 100, 300, 700, 1_200, 14_999, 15_000, 15_800].map((atMs) => backoff.nextDelayMs(100_000 + atMs))
  t.same(delaysMs, [100, 200, 400, 500, 500, 500, 800, 1_600])
})

t.test('a channel that ends as soon as it is up is dialled ever more slowly', async (t) => {
  const backoff = newBackoff(() => 1)
  const waits: number[] = []
  let nowMs = 0
  for (let loss = 0; loss < 10; loss++) {
    backoff.connectionEnded({ upSinceMs: nowMs, nowMs: nowMs + 999 })
    const delayMs = backoff.nextDelayMs(nowMs + 999)
    waits.push(delayMs)
    nowMs += 999 + delayMs
  }
  t.same(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000])
})

t.test('a delay is never negative, infinite or over its bound, after however many failures', async (t) => {
  const terms = fc.record({
    minDelayMs: fc.integer({ min: 1, max: 60_000 }),
    maxDelayMs: fc.integer({ min: 1, max: 3_600_000 }),
    stableAfterMs: fc.constant(60_000),
    promptForMs: fc.constant(0),
  })
  fc.assert(
    fc.property(terms, fc.double({ min: 0, max: 1, noNaN: true }), fc.nat({ max: 3_000 }), (terms, drawn, failures) => {
      const delayMs =
        delays(
          newBackoff(() => drawn, terms),
          failures + 1,
        ).at(-1) ?? -1
      return delayMs >= 0 && delayMs <= terms.maxDelayMs
    }),
  )
  t.pass()
})
