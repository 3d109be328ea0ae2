import fc from 'fast-check'
import t from 'tap'
import { LatencyHistogram } from '../../lib/runtime/index.ts'

t.test('nothing recorded is 0 everywhere', async (t) => {
  const histogram = new LatencyHistogram()
  t.strictSame([histogram.count, histogram.maxMs, histogram.meanMs, histogram.quantileMs(0.5)], [0, 0, 0, 0])
})

t.test('quantiles of known values', async (t) => {
  const histogram = new LatencyHistogram()
  for (let ms = 1; ms <= 1_000; ms++) histogram.record(ms)
  t.equal(histogram.count, 1_000)
  t.equal(histogram.maxMs, 1_000)
  t.equal(histogram.meanMs, 500.5)
  for (const share of [0.01, 0.5, 0.9, 0.99, 0.999]) {
    const found = histogram.quantileMs(share)
    t.ok(Math.abs(found - share * 1_000) <= share * 1_000 * 0.01, `${share}: ${found}`)
  }
  t.equal(histogram.quantileMs(1), 1_000)
  histogram.clear()
  t.strictSame([histogram.count, histogram.maxMs, histogram.quantileMs(1)], [0, 0, 0])
})

t.test('values out of range count as the nearest that is in it', async (t) => {
  const histogram = new LatencyHistogram()
  histogram.record(-1)
  t.equal(histogram.quantileMs(1), 0)
  histogram.record(10_000_000)
  t.equal(histogram.count, 2)
  t.ok(histogram.quantileMs(1) > 1_000_000)
})

t.test('every quantile is within 1 % or a quarter of a microsecond of the sorted list', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1_000_000, noNaN: true }), { minLength: 1, maxLength: 200 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, share) => {
        const histogram = new LatencyHistogram()
        for (const ms of values) histogram.record(ms)
        const sorted = [...values].sort((a, b) => a - b)
        const exact = sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1] ?? 0
        return Math.abs(histogram.quantileMs(share) - exact) <= Math.max(exact * 0.01, 0.000_25)
      },
    ),
  )
  t.pass('for all values')
})
