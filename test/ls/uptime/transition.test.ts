import t from 'tap'
import { keptTransition, validateTransition } from '../../../lib/ls/uptime/transition.ts'

const transition = { atMs: 1_800_000_000_000, bankCode: '044', from: 'dialing', to: 'idle', durationMs: 12 } as const

t.test('a transition is kept with whole milliseconds, a short detail and no empty fields', async (t) => {
  t.same(
    keptTransition({
      ...transition,
      atMs: 1_800_000_000_000.4,
      durationMs: 11.6,
      cause: undefined,
      detail: 'x'.repeat(10_000),
    }),
    { ...transition, detail: 'x'.repeat(500) },
  )
  t.same(keptTransition({ ...transition, durationMs: -3 }).durationMs, 0)
})

t.test('what is not a transition is refused', async (t) => {
  const wrong = [
    undefined,
    {},
    { ...transition, bankCode: '044/../058' },
    { ...transition, bankCode: '' },
    { ...transition, atMs: Number.NaN },
    { ...transition, from: 'Connected!' },
    { ...transition, cause: 'weather' },
    { ...transition, code: 'NO_SUCH_CODE' },
    { ...transition, sessionId: 'zz' },
    { ...transition, payload: 'secret' },
  ]
  for (const value of wrong) t.throws(() => validateTransition(value))
  const full = {
    ...transition,
    cause: 'tcp',
    code: 'CHANNEL_DOWN',
    detail: 'refused',
    sessionId: 'ab'.repeat(16),
    epoch: 3,
  }
  t.same(validateTransition(full), full)
})
