import fc from 'fast-check'
import t from 'tap'
import { advanceEcho, echoAnswered, echoDeadlineMs, startEcho } from '../../lib/channel/echo.ts'

const TERMS = { echoIntervalMs: 10_000, echoTimeoutMs: 5_000 }

t.test('an echo is sent when its time has come, and its reply clears the misses', async (t) => {
  let echo = startEcho(1_000)
  t.equal(echoDeadlineMs(echo), 1_000)
  t.same(advanceEcho(echo, TERMS, 999), { echo }, 'not before')
  const sent = advanceEcho(echo, TERMS, 1_000)
  t.equal(sent.send, 0)
  t.equal(echoDeadlineMs(sent.echo), 6_000, 'a reply is due')
  const answered = echoAnswered(sent.echo, { number: 0, sessionMatches: true }, 1_042)
  t.equal(answered.roundTripMs, 42)
  t.equal(echoDeadlineMs(answered.echo), 11_000, 'the next goes out an interval after the last')
  echo = advanceEcho(answered.echo, TERMS, 11_000).echo
  t.equal(advanceEcho(echo, TERMS, 16_000).echo.missed, 1)
})

t.test('the number of an echo wraps after 32 bits', async (t) => {
  const last = { ...startEcho(0), nextNumber: 0xffffffff }
  const sent = advanceEcho(last, TERMS, 0)
  t.equal(sent.send, 0xffffffff)
  t.equal(sent.echo.nextNumber, 0)
})

t.test('a reply that names another session counts as a miss; one to another number as nothing', async (t) => {
  const { echo } = advanceEcho(startEcho(0), TERMS, 0)
  t.same(echoAnswered(echo, { number: 1, sessionMatches: true }, 1), { echo })
  const mismatch = echoAnswered(echo, { number: 0, sessionMatches: false }, 1)
  t.match(mismatch.echo, { missed: 1, awaited: undefined })
  t.equal(mismatch.roundTripMs, undefined)
  const again = echoAnswered(mismatch.echo, { number: 0, sessionMatches: false }, 2)
  t.same(again.echo, mismatch.echo, 'and only once')
})

t.test('LS-11 a peer that falls silent has missed two echoes within two intervals and a time-out', async (t) => {
  const terms = fc.record({
    echoIntervalMs: fc.integer({ min: 1, max: 100_000 }),
    // Longer than the interval, too: nothing forbids it, and each echo must count all the same.
    echoTimeoutMs: fc.integer({ min: 1, max: 1_000_000 }),
  })
  fc.assert(
    fc.property(terms, fc.integer({ min: 1, max: 5 }), (terms, answered) => {
      let echo = startEcho(0)
      let nowMs = 0
      let lastAnsweredMs = 0
      for (let step = 0; step < 30 && echo.missed < 2; step++) {
        nowMs = echoDeadlineMs(echo)
        const advanced = advanceEcho(echo, terms, nowMs)
        echo = advanced.echo
        if (advanced.send === undefined || advanced.send >= answered) continue
        echo = echoAnswered(echo, { number: advanced.send, sessionMatches: true }, nowMs).echo
        lastAnsweredMs = nowMs
      }
      if (echo.missed < 2) throw new Error(`${echo.missed} missed after 30 steps`)
      const boundMs = 2 * terms.echoIntervalMs + Math.min(terms.echoTimeoutMs, terms.echoIntervalMs)
      if (nowMs - lastAnsweredMs > boundMs) throw new Error(`found after ${nowMs - lastAnsweredMs} ms`)
    }),
  )
  t.pass()
})

t.test('time never stands still: every look at a due echo moves its next deadline on', async (t) => {
  const numbers = fc.integer({ min: 1, max: 50 })
  fc.assert(
    fc.property(numbers, numbers, fc.array(fc.boolean(), { maxLength: 30 }), (interval, timeout, answers) => {
      const terms = { echoIntervalMs: interval, echoTimeoutMs: timeout }
      let echo = startEcho(0)
      for (const answer of answers) {
        const nowMs = echoDeadlineMs(echo)
        const advanced = advanceEcho(echo, terms, nowMs)
        echo = advanced.echo
        if (echoDeadlineMs(echo) <= nowMs) throw new Error('it stands')
        if (advanced.send !== undefined && answer)
          echo = echoAnswered(echo, { number: advanced.send, sessionMatches: true }, nowMs).echo
      }
    }),
  )
  t.pass()
})
