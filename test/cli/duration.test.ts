import t from 'tap'
import { durationOption, formatDuration, formatMilliseconds, parseDuration } from '../../lib/cli/duration.ts'

t.test('durations are a number and a unit', (t) => {
  const durations: readonly (readonly [string, number | undefined])[] = [
    ['500ms', 500],
    ['5s', 5_000],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    ['1.5h', 5_400_000],
    ['0s', 0],
    ['5', undefined],
    ['', undefined],
    ['s', undefined],
    ['-5s', undefined],
    ['5 s', undefined],
    ['5S', undefined],
    ['1h30m', undefined],
    ['1e3s', undefined],
    ['.5s', undefined],
  ]
  for (const [text, durationMs] of durations) t.equal(parseDuration(text), durationMs, text)
  t.end()
})

t.test('an option has bounds, and says what it takes', (t) => {
  const parse = durationOption(1, 600_000)
  t.equal(parse('10m'), 600_000)
  t.throws(() => parse('11m'), { message: 'Give 1ms to 10m.' })
  t.throws(() => parse('0s'), { message: 'Give 1ms to 10m.' })
  t.throws(() => parse('soon'), { message: /such as 500ms, 5s, 2m, 1h or 7d/ })
  t.end()
})

t.test('durations for people never round up', (t) => {
  const durations: readonly (readonly [number, string])[] = [
    [0, '0ms'],
    [-5, '0ms'],
    [999.9, '999ms'],
    [1_000, '1s'],
    [59_999, '59.9s'],
    [60_000, '1m'],
    [65_000, '1m05s'],
    [3_599_999, '59m59s'],
    [7_500_000, '2h05m'],
    [86_399_999, '23h59m'],
    [86_400_000, '1d'],
    [442_800_000, '5d3h'],
  ]
  for (const [durationMs, text] of durations) t.equal(formatDuration(durationMs), text)
  t.equal(formatMilliseconds(undefined), '-')
  t.equal(formatMilliseconds(0.842), '0.84 ms')
  t.equal(formatMilliseconds(12.34), '12.3 ms')
  t.equal(formatMilliseconds(3_210.4), '3210 ms')
  t.end()
})
