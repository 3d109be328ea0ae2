import t from 'tap'
import { attemptsOf } from '../../chaos/history.ts'
import { KeyState } from '../../chaos/key-state.ts'
import { percentile, recoveryTimesMs } from '../../chaos/recovery.ts'

t.test('an attempt without an end is lost: its app was killed', async (t) => {
  const attempts = attemptsOf('app0', [
    { e: 'submit', t: 1, key: 'a', n: 1, timeoutMs: 100 },
    { e: 'submit', t: 2, key: 'b', n: 2, timeoutMs: 100, altered: true },
    { e: 'end', t: 3, key: 'a', n: 1, outcome: 'answered', receipt: 'r', echo: 'a' },
    { e: 'end', t: 4, key: 'c', n: 9, outcome: 'refused' },
  ])
  t.match(attempts, [
    { app: 'app0', key: 'a', submittedAtMs: 1, endedAtMs: 3, outcome: 'answered', receipt: 'r', altered: false },
    { app: 'app0', key: 'b', submittedAtMs: 2, endedAtMs: undefined, outcome: 'lost', altered: true },
  ])
})

t.test('when an app need not ask any more', async (t) => {
  const isFinal = (...ends: Parameters<KeyState['note']>[0][]) => {
    const state = new KeyState('k')
    for (const end of ends) state.note(end)
    return state.isFinal
  }
  t.ok(isFinal('answered'))
  t.ok(isFinal('refused'))
  t.ok(isFinal('not-sent', 'not-sent'))
  t.ok(isFinal('lost', 'answered', 'not-sent'), 'an answer stands')
  t.notOk(isFinal('lost'))
  t.notOk(isFinal('in-doubt'))
  t.notOk(isFinal('lost', 'not-sent'), 'the first attempt may have run')
  t.notOk(isFinal('unsent'))
})

t.test('recovery is measured from the end of a process to the first answer to a later question', async (t) => {
  const answered = (submittedAtMs: number, endedAtMs: number, key = '044-a') => ({
    app: 'app0',
    key,
    n: 1,
    submittedAtMs,
    endedAtMs,
    outcome: 'answered' as const,
    code: undefined,
    receipt: 'r',
    echo: key,
    altered: false,
  })
  const times = recoveryTimesMs(
    [
      { atMs: 100, bankCodes: ['044', '058'] },
      { atMs: 900, bankCodes: ['044'] },
    ],
    [answered(90, 110), answered(120, 400), answered(150, 300), answered(130, 180, '058-a')],
    (key) => key.slice(0, 3),
  )
  t.same(times, [80, 200], 'nothing was answered after the last one')
  t.equal(percentile(times, 0.5), 80)
  t.equal(percentile(times, 0.99), 200)
  t.equal(percentile([], 0.5), 0)
})
