import t from 'tap'
import { enforceSecurityMode, openRangeWeakness, verifyWeakness } from '../../lib/config/index.ts'

const WEAK = [
  { path: 'kx.channelBinding', message: 'off' },
  { path: 'banks.044.allow', message: 'open' },
]

t.test('SEC-1 strict takes no weakness, and names each with its path', async (t) => {
  enforceSecurityMode({ mode: 'strict', hasFlag: false, weaknesses: [] })
  t.throws(() => enforceSecurityMode({ mode: 'strict', hasFlag: false, weaknesses: WEAK }), {
    code: 'REFUSED',
    party: 'self',
    message: /kx\.channelBinding: off\n {2}banks\.044\.allow: open/,
    facts: { weaknesses: WEAK },
  })
})

t.test('SEC-1 permissive must be asked for twice: either alone is refused, and says what to do', async (t) => {
  enforceSecurityMode({ mode: 'permissive', hasFlag: true, weaknesses: WEAK })
  t.throws(() => enforceSecurityMode({ mode: 'permissive', hasFlag: false, weaknesses: [] }), {
    code: 'REFUSED',
    message: /start with --permissive-i-know as well/,
  })
  t.throws(() => enforceSecurityMode({ mode: 'strict', hasFlag: true, weaknesses: [] }), {
    code: 'REFUSED',
    message: /security\.mode is strict/,
  })
})

t.test('SEC-1 what is weak', async (t) => {
  t.strictSame(openRangeWeakness('allow', ['10.0.0.0/8', '::1', '192.0.2.0']), [])
  t.match(openRangeWeakness('allow', ['0.0.0.0/0', '::/0']), [{ path: 'allow', message: /0\.0\.0\.0\/0 and ::\/0/ }])
  t.strictSame(verifyWeakness('signing.verify', 'required'), [])
  t.equal(verifyWeakness('signing.verify', 'when-present').length, 1)
  t.equal(verifyWeakness('signing.verify', 'off').length, 1)
})
