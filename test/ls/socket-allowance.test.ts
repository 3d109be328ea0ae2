import t from 'tap'
import { SocketAllowance } from '../../lib/ls/socket-allowance.ts'

function takeAll(allowance: SocketAllowance, nowMs: number): number {
  let taken = 0
  while (allowance.take(nowMs)) taken++
  return taken
}

t.test('some sockets at once, then so many a second', async (t) => {
  const allowance = new SocketAllowance(5_000)
  t.equal(takeAll(allowance, 5_000), 120)
  t.equal(takeAll(allowance, 5_400), 0)
  t.equal(takeAll(allowance, 5_500), 1)
  t.equal(takeAll(allowance, 8_000), 5)
})

t.test('a bank that was quiet has its burst again, and no more than that', async (t) => {
  const allowance = new SocketAllowance(0)
  takeAll(allowance, 0)
  t.equal(takeAll(allowance, 86_400_000), 120)
})
