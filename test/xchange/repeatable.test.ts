import t from 'tap'
import { ResponseStatus } from '../../lib/frames/index.ts'
import type { Handler } from '../../lib/xchange/handler.ts'
import { InDoubtError } from '../../lib/xchange/handler.ts'
import { RecentAnswers } from '../../lib/xchange/recent-answers.ts'
import { DispatcherHarness, deferred } from '../support/dispatcher-harness.ts'

function counting(handler: Handler): { handler: Handler; readonly runs: number } {
  const counted = {
    runs: 0,
    handler: (payload: unknown, context: Parameters<Handler>[1]) => {
      counted.runs++
      return handler(payload, context)
    },
  }
  return counted
}

t.test('a repeatable method is answered again from memory, and nothing of it is recorded', async (t) => {
  const balance = counting(() => ({ balanceMinor: 5 }))
  const harness = new DispatcherHarness({ balance: { handler: balance.handler, repeatable: true } })
  const ask = (fields: { id: number; payload?: unknown }) => harness.ask({ key: 'k', method: 'balance', ...fields })
  t.match(await ask({ id: 1 }), { status: 'ok', value: { balanceMinor: 5 } })
  t.equal(harness.dispatcher.stateOf('k'), 'done')
  t.match(await ask({ id: 2 }), { id: 2, status: 'ok', value: { balanceMinor: 5 } })
  t.equal(balance.runs, 1)
  t.equal(harness.onceOnly.size, 0)
  t.match(await ask({ id: 3, payload: { other: true } }), { status: 'refused', code: 'DUPLICATE_MISMATCH' })
  t.equal(harness.dispatcher.stateOf('other'), undefined)
})

t.test('a repetition of a repeatable key that runs waits for the same answer', async (t) => {
  const answer = deferred<unknown>()
  const slow = counting(() => answer.promise)
  const harness = new DispatcherHarness({ slow: { handler: slow.handler, repeatable: true } })
  const both = [harness.ask({ id: 1, key: 'k', method: 'slow' }), harness.ask({ id: 2, key: 'k', method: 'slow' })]
  t.equal(harness.dispatcher.stateOf('k'), 'begun')
  answer.resolve('done')
  t.match(await Promise.all(both), [
    { id: 1, value: 'done' },
    { id: 2, value: 'done' },
  ])
  t.equal(slow.runs, 1)
})

t.test('BEY-2 a key of a repeatable method is not that of another request', async (t) => {
  const transfer = counting(() => 'moved')
  const balance = counting(() => 5)
  const harness = new DispatcherHarness({
    transfer: transfer.handler,
    balance: { handler: balance.handler, repeatable: true },
  })
  const ask = async (key: string, method: string) => {
    const { status, code } = await harness.ask({ key, method })
    return code ?? status
  }
  t.equal(await ask('a', 'transfer'), 'ok')
  t.equal(await ask('a', 'balance'), 'DUPLICATE_MISMATCH')
  t.equal(await ask('b', 'balance'), 'ok')
  t.equal(await ask('b', 'transfer'), 'DUPLICATE_MISMATCH')
  t.same([transfer.runs, balance.runs], [1, 1])
})

t.test('a repeatable request that ended in doubt runs again', async (t) => {
  const flaky = counting(() => {
    if (flaky.runs === 1) throw new InDoubtError('no answer')
    return 'well'
  })
  const harness = new DispatcherHarness({ flaky: { handler: flaky.handler, repeatable: true } })
  t.match(await harness.ask({ id: 1, key: 'k', method: 'flaky' }), { status: 'inDoubt' })
  t.match(await harness.ask({ id: 2, key: 'k', method: 'flaky' }), { status: 'ok', value: 'well' })
})

t.test('a refusal of a repeated key gives the answer that it had', async (t) => {
  const harness = new DispatcherHarness({ balance: { handler: () => 5, repeatable: true } })
  await harness.ask({ id: 1, key: 'k', method: 'balance' })
  t.match(await harness.ask({ id: 2, key: 'k', method: 'balance', budgetMs: 0 }), { status: 'ok', value: 5 })
})

t.test('the latest answers are bounded in number and bytes', async (t) => {
  const request = { method: 'm', payload: Buffer.from('p') }
  const response = { status: ResponseStatus.ok, payload: Buffer.alloc(100), meta: undefined }
  const few = new RecentAnswers({ entries: 10 })
  for (let index = 0; index < 1_000; index++) few.keep(`key-${index}`, request, response)
  t.ok(few.size >= 10 && few.size <= 20, `${few.size} are kept`)
  t.same(few.find('key-999', request), { kind: 'done', response })
  t.equal(few.find('key-0', request), undefined)

  const small = new RecentAnswers({ bytes: 4_000 })
  for (let index = 0; index < 1_000; index++) small.keep(`key-${index}`, request, response)
  t.ok(small.size >= 10 && small.size <= 22, `${small.size} are kept`)
  small.keep('large', request, { ...response, payload: Buffer.alloc(5_000) })
  t.notOk(small.has('large'))
})

t.test('what is kept does not hold the frame that it came in', async (t) => {
  const recent = new RecentAnswers()
  const frame = Buffer.from('payload and more')
  const request = { method: 'm', payload: frame.subarray(0, 7) }
  recent.keep('k', request, { status: ResponseStatus.ok, payload: Buffer.alloc(0), meta: undefined })
  frame.fill(0)
  t.match(recent.find('k', { method: 'm', payload: Buffer.from('payload') }), { kind: 'done' })
})
