import t from 'tap'
import { daysLeft } from '../../lib/certs/index.ts'

t.test('SEC-2 days left are whole days, rounded down, negative once expired', (t) => {
  const notAfter = new Date(Date.UTC(2026, 4, 17, 12))
  const at = (text: string) => daysLeft({ notAfter }, Date.parse(text))
  t.equal(at('2026-05-07T12:00:00Z'), 10)
  t.equal(at('2026-05-07T12:00:01Z'), 9)
  t.equal(at('2026-05-17T11:59:59Z'), 0)
  t.equal(at('2026-05-17T12:00:00Z'), 0)
  t.equal(at('2026-05-17T12:00:01Z'), -1)
  t.equal(at('2026-05-20T00:00:00Z'), -3)
  t.end()
})
