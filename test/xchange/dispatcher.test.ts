import { pack } from 'msgpackr'
import t from 'tap'
import { encodeMap } from '../../lib/frames/index.ts'
import { createLogger, LsxError } from '../../lib/runtime/index.ts'
import { HandlerError, InDoubtError, NotReachedError } from '../../lib/xchange/handler.ts'
import type { OnceOnlyTable } from '../../lib/xchange/once-only.ts'
import { DispatcherHarness, deferred, requestOf } from '../support/dispatcher-harness.ts'

t.test('each way in which a request can end', async (t) => {
  const harness = new DispatcherHarness(
    {
      echo: (payload, context) => ({ payload, bankCode: context.bankCode, key: context.key, method: context.method }),
      later: async (payload) => payload,
      nothing: () => undefined,
      own: () => {
        throw new HandlerError('FUNDS_INSUFFICIENT', 'the balance is too low', { missingMinor: 5, code: 'SPOOFED' })
      },
      broken: () => {
        throw new TypeError('db password is hunter2')
      },
      brokenLater: async () => {
        throw 'no error at all'
      },
      away: () => {
        throw new NotReachedError('connection refused')
      },
      doubtful: () => {
        throw new InDoubtError('no answer')
      },
      large: () => 'x'.repeat(2_000),
      largeError: () => {
        throw new HandlerError('BIG', 'big', { text: 'x'.repeat(2_000) })
      },
      cyclic: () => {
        const cyclic: Record<string, unknown> = {}
        cyclic.self = cyclic
        return cyclic
      },
    },
    { maxPayloadBytes: 1_000 },
  )
  const ends = async (method: string) => {
    const { status, value, code } = await harness.ask({ id: harness.responses.length, method, payload: { n: 1 } })
    return { status, value, code }
  }

  t.match(await ends('echo'), {
    status: 'ok',
    value: { payload: { n: 1 }, bankCode: '044', key: 'key-0', method: 'echo' },
    code: undefined,
  })
  t.same(await ends('later'), { status: 'ok', value: { n: 1 }, code: undefined })
  t.same(await ends('nothing'), { status: 'ok', value: null, code: undefined })
  t.same(await ends('own'), {
    status: 'failed',
    value: { code: 'FUNDS_INSUFFICIENT', message: 'the balance is too low', missingMinor: 5 },
    code: undefined,
  })
  const told = { code: 'HANDLER_FAILED', message: 'the handler failed' }
  t.same(await ends('broken'), { status: 'failed', value: told, code: undefined }, 'the peer is told little')
  t.same(await ends('brokenLater'), { status: 'failed', value: told, code: undefined })
  t.same(await ends('away'), { status: 'refused', value: undefined, code: 'BUSY' })
  t.same(await ends('doubtful'), { status: 'inDoubt', value: undefined, code: 'IN_DOUBT' })
  t.match(await ends('large'), { status: 'failed', value: { code: 'TOO_LARGE' } }, 'it ran, so it is not refused')
  t.same(await ends('largeError'), { status: 'failed', value: { code: 'BIG', message: 'big' }, code: undefined })
  t.match(await ends('cyclic'), { status: 'failed', value: { code: 'HANDLER_FAILED', message: /finished/ } })
  t.same(await ends('unheard-of'), { status: 'refused', value: undefined, code: 'UNKNOWN_METHOD' })
  t.equal(harness.dispatcher.inFlight, 0)
})

t.test('what cannot be decoded is refused and never reaches the handler', async (t) => {
  let runs = 0
  const harness = new DispatcherHarness({ echo: () => ++runs }, { maxPayloadBytes: 300 })
  const refused = async (fields: { bytes?: Buffer; meta?: Buffer; payload?: unknown }) => {
    const response = await harness.ask({ id: harness.responses.length, method: 'echo', ...fields })
    return response.status === 'refused' ? response.code : response.status
  }
  t.equal(await refused({ bytes: Buffer.from([0x81]) }), 'BAD_REQUEST', 'cut short')
  t.equal(await refused({ bytes: Buffer.from([0xc0, 0xc0]) }), 'BAD_REQUEST', 'two values')
  t.equal(await refused({ bytes: pack(new Date()) }), 'BAD_REQUEST', 'an extension')
  t.equal(await refused({ bytes: Buffer.from('81a95f5f70726f746f5f5f80', 'hex') }), 'BAD_REQUEST', '__proto__')
  t.equal(await refused({ bytes: Buffer.from('82a16101a16102', 'hex') }), 'BAD_REQUEST', 'a key twice')
  t.equal(await refused({ meta: Buffer.from([0x81]) }), 'BAD_REQUEST', 'broken meta')
  t.equal(await refused({ payload: 'x'.repeat(400) }), 'TOO_LARGE')
  t.equal(runs, 0)
})

t.test('payload and meta reach the handler', async (t) => {
  const harness = new DispatcherHarness({ look: (payload, { meta }) => ({ type: typeof payload, payload, meta }) })
  t.match(await harness.ask({ id: 1, method: 'look', bytes: Buffer.alloc(0) }), {
    value: { type: 'undefined', meta: {} },
  })
  const meta = encodeMap({ traceparent: 'tp', type: 'application/jose' })
  const raw = await harness.ask({ id: 2, method: 'look', bytes: Buffer.from('a.b.c'), meta })
  t.same(raw.value, {
    type: 'object',
    payload: Buffer.from('a.b.c'),
    meta: { traceparent: 'tp', type: 'application/jose' },
  })
})

t.test('BEY-3 a request that cannot be finished within its budget is refused', async (t) => {
  t.test('less than the least', async (t) => {
    let runs = 0
    const harness = new DispatcherHarness({ pay: () => ++runs }, { minBudgetMs: 5 })
    t.match(await harness.ask({ id: 1, method: 'pay', budgetMs: 4 }), { status: 'refused', code: 'DEADLINE_EXCEEDED' })
    t.match(await harness.ask({ id: 2, method: 'pay', budgetMs: 0 }), { status: 'refused', code: 'DEADLINE_EXCEEDED' })
    t.equal(runs, 0)
    t.match(
      await harness.ask({ id: 1, method: 'pay', budgetMs: 5 }),
      { status: 'ok', value: 1 },
      'the key was not used up',
    )
  })

  t.test('less than the method is configured to take', async (t) => {
    const harness = new DispatcherHarness({ settle: { handler: () => 'done', expectedMs: 400 }, look: () => 'done' })
    t.match(await harness.ask({ id: 1, method: 'settle', budgetMs: 399 }), { code: 'DEADLINE_EXCEEDED' })
    t.match(await harness.ask({ id: 2, method: 'settle', budgetMs: 400 }), { status: 'ok' })
    t.match(await harness.ask({ id: 3, method: 'look', budgetMs: 399 }), { status: 'ok' }, 'per method')
  })

  t.test('less than the method was seen to take', async (t) => {
    const harness = new DispatcherHarness({
      settle: async () => harness.clock.advance(300),
      measured: { handler: async () => harness.clock.advance(300), expectedMs: 0 },
    })
    for (let id = 0; id < 20; id++) {
      await harness.ask({ id, method: 'settle', budgetMs: 1_000 })
      await harness.ask({ id: 100 + id, method: 'measured', budgetMs: 1_000 })
    }
    t.match(await harness.ask({ id: 50, method: 'settle', budgetMs: 299 }), { code: 'DEADLINE_EXCEEDED' })
    t.match(await harness.ask({ id: 51, method: 'settle', budgetMs: 350 }), { status: 'ok' })
    t.match(await harness.ask({ id: 52, method: 'measured', budgetMs: 10 }), { status: 'ok' }, '0 turns learning off')
    await harness.clock.advance(31_000)
    t.match(await harness.ask({ id: 53, method: 'settle', budgetMs: 299 }), { status: 'ok' }, 'forgotten, tried again')
  })

  t.test('a bank that is not reached teaches nothing about its speed', async (t) => {
    const harness = new DispatcherHarness({
      settle: async () => {
        await harness.clock.advance(300)
        throw new NotReachedError('away')
      },
    })
    for (let id = 0; id < 30; id++) await harness.ask({ id, method: 'settle' })
    t.match(await harness.ask({ id: 50, method: 'settle', budgetMs: 20 }), { code: 'BUSY' }, 'it was tried')
  })
})

t.test('BEY-3 the signal aborts at the end of the budget, and a late answer is still delivered', async (t) => {
  const answer = deferred<string>()
  const aborts: unknown[] = []
  const harness = new DispatcherHarness({
    slow: (_payload, { signal, deadlineMs, monotonicMs }) => {
      t.equal(deadlineMs - monotonicMs(), 200)
      signal.addEventListener('abort', () => aborts.push(signal.reason))
      return answer.promise
    },
  })
  const asked = harness.ask({ method: 'slow', budgetMs: 200 })
  await harness.clock.advance(199)
  t.same(aborts, [])
  await harness.clock.advance(1)
  t.match(aborts, [{ code: 'DEADLINE_EXCEEDED' }])
  await harness.clock.advance(5_000)
  t.same(harness.responses, [], 'nothing is sent in place of the answer')
  answer.resolve('late')
  t.match(await asked, { status: 'ok', value: 'late' })
  t.match(await harness.ask({ id: 2, key: 'key-1', method: 'slow', budgetMs: 200 }), { value: 'late' }, 'kept')
})

t.test('the signal', async (t) => {
  t.test('has aborted already when it is first looked at too late', async (t) => {
    const go = deferred<void>()
    const harness = new DispatcherHarness({
      slow: async (_payload, context) => {
        await go.promise
        return context.signal.aborted
      },
    })
    const asked = harness.ask({ method: 'slow', budgetMs: 100 })
    await harness.clock.advance(100)
    go.resolve()
    t.match(await asked, { value: true })
  })

  t.test('a budget beyond the longest timer does not abort at once', async (t) => {
    const harness = new DispatcherHarness({ look: (_payload, context) => context.deadlineMs - context.monotonicMs() })
    t.match(await harness.ask({ method: 'look', budgetMs: 0xffffffff }), { value: 600_000 })
  })

  t.test('leaves no timer behind', async (t) => {
    const harness = new DispatcherHarness({ look: (_payload, { signal }) => signal.aborted })
    await harness.ask({ method: 'look' })
    harness.dispatcher.stop()
    t.equal(harness.clock.pendingTimers, 0)
  })

  t.test('what a handler throws because it was told to stop leaves the request in doubt', async (t) => {
    const harness = new DispatcherHarness({
      pay: (_payload, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    })
    const asked = harness.ask({ method: 'pay', budgetMs: 100 })
    await harness.clock.advance(100)
    t.match(await asked, { status: 'inDoubt', code: 'IN_DOUBT' }, 'the bank may have paid')
    t.match(await harness.ask({ method: 'pay', budgetMs: 100 }), { status: 'inDoubt' }, 'and is not asked again')
  })
})

t.test('BEY-2 a key is executed once', async (t) => {
  t.test('a repetition gets the stored answer, whatever it was', async (t) => {
    let runs = 0
    const harness = new DispatcherHarness({
      pay: () => ({ run: ++runs }),
      fail: () => {
        runs += 1
        throw new HandlerError('NO', 'no')
      },
    })
    await harness.ask({ id: 1, key: 'a', method: 'pay' })
    t.match(await harness.ask({ id: 2, key: 'a', method: 'pay' }), { id: 2, status: 'ok', value: { run: 1 } })
    await harness.ask({ id: 3, key: 'b', method: 'fail' })
    t.match(await harness.ask({ id: 4, key: 'b', method: 'fail' }), { id: 4, status: 'failed', value: { code: 'NO' } })
    t.equal(runs, 2)
  })

  t.test('a repetition while it runs waits for the same answer', async (t) => {
    const answer = deferred<string>()
    let runs = 0
    const harness = new DispatcherHarness(
      {
        pay: () => {
          runs += 1
          return answer.promise
        },
      },
      { maxRepetitionsWaiting: 2 },
    )
    for (const id of [1, 2, 3, 4]) harness.send({ id, key: 'a', method: 'pay' })
    t.match(harness.responses, [{ id: 4, status: 'inDoubt', code: 'IN_DOUBT' }], 'those who wait are bounded')
    t.equal(harness.dispatcher.inFlight, 1)
    answer.resolve('paid')
    await harness.clock.advance(0)
    t.match(harness.responses.slice(1), [
      { id: 1, status: 'ok', value: 'paid' },
      { id: 2, status: 'ok', value: 'paid' },
      { id: 3, status: 'ok', value: 'paid' },
    ])
    t.equal(runs, 1)
  })

  t.test('the same key with another body or method is a mismatch, running and finished', async (t) => {
    const answer = deferred<string>()
    const harness = new DispatcherHarness({ pay: () => answer.promise, refund: () => 'refunded' })
    harness.send({ id: 1, key: 'a', method: 'pay', payload: { amountMinor: 1 } })
    const mismatch = { status: 'refused', code: 'DUPLICATE_MISMATCH' }
    t.match(await harness.ask({ id: 2, key: 'a', method: 'pay', payload: { amountMinor: 2 } }), mismatch)
    answer.resolve('paid')
    await harness.clock.advance(0)
    t.match(await harness.ask({ id: 3, key: 'a', method: 'pay', payload: { amountMinor: 2 } }), mismatch)
    t.match(await harness.ask({ id: 4, key: 'a', method: 'refund', payload: { amountMinor: 1 } }), mismatch)
  })

  t.test('a refusal is never given for a key that was executed', async (t) => {
    const forever = deferred<string>()
    const harness = new DispatcherHarness({ pay: () => 'paid', hang: () => forever.promise }, { maxConcurrent: 1 })
    await harness.ask({ id: 1, key: 'a', method: 'pay' })
    t.match(await harness.ask({ id: 2, key: 'a', method: 'pay', budgetMs: 0 }), { value: 'paid' }, 'no time left')
    harness.send({ id: 3, key: 'h', method: 'hang' })
    t.match(await harness.ask({ id: 4, key: 'b', method: 'pay' }), { code: 'BUSY' })
    t.match(await harness.ask({ id: 5, key: 'a', method: 'pay' }), { value: 'paid' }, 'busy')
    t.match(await harness.ask({ id: 6, key: 'a', method: 'pay', payload: 2 }), { code: 'DUPLICATE_MISMATCH' })
    harness.dispatcher.stop()
    t.match(await harness.ask({ id: 7, key: 'a', method: 'pay' }), { value: 'paid' }, 'shutting down')
    harness.send({ id: 8, key: 'h', method: 'hang' })
    forever.resolve('hung')
    await harness.clock.advance(0)
    t.match(harness.responses.slice(-2), [
      { id: 3, value: 'hung' },
      { id: 8, value: 'hung' },
    ])
  })

  t.test('a refusal by the bank leaves the key free', async (t) => {
    let up = false
    const harness = new DispatcherHarness({
      pay: () => {
        if (!up) throw new NotReachedError('away')
        return 'paid'
      },
    })
    t.match(await harness.ask({ method: 'pay' }), { status: 'refused', code: 'BUSY' })
    up = true
    t.match(await harness.ask({ method: 'pay' }), { status: 'ok', value: 'paid' })
  })
})

t.test('BEY-2 a key in doubt is settled by the inquiry, and never run without it', async (t) => {
  const inDoubtThen = (answer: unknown) => {
    let runs = 0
    const harness = new DispatcherHarness({
      pay: {
        handler: () => {
          runs += 1
          if (runs === 1) throw new InDoubtError('no answer')
          return `run ${runs}`
        },
        inquire: async (key) => {
          if (answer instanceof Error) throw answer
          t.equal(key, 'key-1')
          return answer as { done: false }
        },
      },
    })
    return { harness, runs: () => runs }
  }
  const repeated = async (answer: unknown) => {
    const { harness, runs } = inDoubtThen(answer)
    t.match(await harness.ask({ method: 'pay' }), { status: 'inDoubt' })
    const { status, value } = await harness.ask({ method: 'pay' })
    return { status, value, runs: runs(), again: (await harness.ask({ method: 'pay' })).status }
  }
  t.same(await repeated({ done: true, payload: 'paid' }), { status: 'ok', value: 'paid', runs: 1, again: 'ok' })
  t.same(await repeated({ done: false }), { status: 'ok', value: 'run 2', runs: 2, again: 'ok' })
  const stays = { status: 'inDoubt', value: undefined, runs: 1, again: 'inDoubt' }
  t.same(await repeated(undefined), stays)
  t.same(await repeated(null), stays)
  t.same(await repeated(new Error('core banking is down')), stays)
})

t.test('BEY-2 a key in doubt is settled by the inquiry also when its own time is over', async (t) => {
  const later = async (answer: unknown) => {
    let runs = 0
    const harness = new DispatcherHarness({
      pay: {
        handler: () => {
          runs += 1
          if (runs === 1) throw new InDoubtError('no answer')
          return `run ${runs}`
        },
        inquire: async () => answer as { done: false },
        expectedMs: 50,
      },
    })
    await harness.ask({ method: 'pay' })
    const { status, value, code } = await harness.ask({ method: 'pay', budgetMs: 0 })
    return { status, value, code, runs, again: (await harness.ask({ method: 'pay' })).status }
  }
  t.same(
    await later({ done: true, payload: 'paid' }),
    { status: 'ok', value: 'paid', code: undefined, runs: 1, again: 'ok' },
    'the answer of the bank is fetched',
  )
  t.same(
    await later({ done: false }),
    { status: 'refused', value: undefined, code: 'DEADLINE_EXCEEDED', runs: 1, again: 'ok' },
    'it did not happen, and there is no time to do it',
  )
  t.match(await later(undefined), { status: 'inDoubt', runs: 1, again: 'inDoubt' })
})

t.test('BEY-2 with a once-only table that answers later', async (t) => {
  const slowTable = (overrides: Record<string, () => Promise<unknown>>) => {
    const begun = deferred<{ kind: 'new' }>()
    let runs = 0
    const released: string[] = []
    const harness = new DispatcherHarness(
      { pay: () => ({ run: ++runs }) },
      {
        onceOnly: {
          begin: () => begun.promise,
          find: async () => undefined,
          finish: async () => {},
          release: async (key) => {
            released.push(key)
          },
          ...overrides,
        } as OnceOnlyTable,
      },
    )
    return { harness, begun, released, runs: () => runs }
  }

  t.test('a repetition that comes before the key is recorded joins the first', async (t) => {
    const { harness, begun, runs } = slowTable({})
    harness.send({ id: 1, key: 'a', method: 'pay' })
    harness.send({ id: 2, key: 'a', method: 'pay' })
    begun.resolve({ kind: 'new' })
    await harness.clock.advance(0)
    t.match(harness.responses, [
      { id: 1, value: { run: 1 } },
      { id: 2, value: { run: 1 } },
    ])
    t.equal(runs(), 1)
  })

  t.test('BEY-3 the budget that the table used up is not there for the handler', async (t) => {
    const { harness, begun, released, runs } = slowTable({})
    const asked = harness.ask({ key: 'a', method: 'pay', budgetMs: 100 })
    await harness.clock.advance(99)
    begun.resolve({ kind: 'new' })
    t.match(await asked, { status: 'refused', code: 'DEADLINE_EXCEEDED' })
    t.equal(runs(), 0)
    t.same(released, ['a'])
  })

  t.test('stopped meanwhile', async (t) => {
    const { harness, begun, released } = slowTable({})
    const asked = harness.ask({ key: 'a', method: 'pay' })
    harness.dispatcher.stop()
    begun.resolve({ kind: 'new' })
    t.match(await asked, { status: 'refused', code: 'SHUTTING_DOWN' })
    t.same(released, ['a'])
  })

  t.test('a table that cannot record the key: nothing runs', async (t) => {
    const full = slowTable({ begin: () => Promise.reject(new LsxError('STORE_FULL', 'full')) })
    t.match(await full.harness.ask({ method: 'pay' }), { status: 'refused', code: 'STORE_FULL' })
    const broken = slowTable({ begin: () => Promise.reject(new Error('disk')) })
    t.match(await broken.harness.ask({ method: 'pay' }), { status: 'inDoubt' }, 'the key may have been executed before')
    t.equal(full.runs() + broken.runs(), 0)
    t.equal(broken.harness.dispatcher.inFlight, 0)
  })

  t.test('a table that cannot be read: no refusal', async (t) => {
    const { harness } = slowTable({ find: () => Promise.reject(new Error('disk')) })
    t.match(await harness.ask({ method: 'unheard-of' }), { status: 'inDoubt' })
  })

  t.test('a table that cannot keep or release: the truth is answered all the same', async (t) => {
    const { harness, begun } = slowTable({ finish: () => Promise.reject(new Error('disk')) })
    begun.resolve({ kind: 'new' })
    t.match(await harness.ask({ method: 'pay' }), { status: 'ok', value: { run: 1 } })
    const late = slowTable({ release: () => Promise.reject(new Error('disk')) })
    const asked = late.harness.ask({ method: 'pay', budgetMs: 100 })
    await late.harness.clock.advance(100)
    late.begun.resolve({ kind: 'new' })
    t.match(await asked, { status: 'refused' })
  })

  t.test('a key that runs elsewhere on the same table is in doubt here', async (t) => {
    const elsewhere = slowTable({ begin: async () => ({ kind: 'running' }) })
    t.match(await elsewhere.harness.ask({ method: 'pay' }), { status: 'inDoubt' })
  })
})

t.test('more than maxConcurrent at once is refused with BUSY', async (t) => {
  const answers = [deferred<number>(), deferred<number>()]
  let runs = 0
  const harness = new DispatcherHarness({ pay: () => answers[runs++]?.promise ?? 'third' }, { maxConcurrent: 2 })
  harness.send({ id: 1, method: 'pay' })
  harness.send({ id: 2, method: 'pay' })
  t.match(await harness.ask({ id: 3, method: 'pay' }), { id: 3, status: 'refused', code: 'BUSY' })
  t.equal(harness.dispatcher.inFlight, 2)
  answers[0]?.resolve(1)
  await harness.clock.advance(0)
  t.match(await harness.ask({ id: 4, method: 'pay' }), { id: 4, status: 'ok', value: 'third' })
  answers[1]?.resolve(2)
  await harness.clock.advance(0)
  t.equal(harness.dispatcher.inFlight, 0)
})

t.test('drain takes nothing new and waits for what runs', async (t) => {
  const answer = deferred<string>()
  const harness = new DispatcherHarness({ pay: () => answer.promise })
  harness.send({ id: 1, method: 'pay' })
  const order: string[] = []
  const drained = harness.dispatcher.drain(new AbortController().signal).then(() => order.push('drained'))
  t.match(await harness.ask({ id: 2, method: 'pay' }), { status: 'refused', code: 'SHUTTING_DOWN' })
  t.same(order, [])
  answer.resolve('paid')
  await drained
  t.match(harness.responses.at(-1), { id: 1, status: 'ok', value: 'paid' }, 'answered before drain ends')
  await harness.dispatcher.drain(AbortSignal.abort())
})

t.test('drain ends with its signal, and stop tells the handlers', async (t) => {
  const reasons: unknown[] = []
  const answer = deferred<string>()
  const harness = new DispatcherHarness({
    pay: (_payload, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason))
      return answer.promise
    },
    deaf: () => answer.promise,
  })
  harness.send({ id: 1, method: 'pay' })
  harness.send({ id: 2, method: 'deaf' })
  const patience = new AbortController()
  const drained = harness.dispatcher.drain(patience.signal)
  patience.abort(new LsxError('SHUTTING_DOWN', 'no more time'))
  await t.rejects(drained, { message: 'no more time' })
  await t.rejects(harness.dispatcher.drain(patience.signal), { message: 'no more time' })
  harness.dispatcher.stop()
  t.match(reasons, [{ code: 'SHUTTING_DOWN' }])
  t.equal(harness.clock.pendingTimers, 0, 'no timer outlives it')
  answer.resolve('paid')
  await harness.clock.advance(0)
  t.match(
    harness.responses,
    [
      { id: 1, value: 'paid' },
      { id: 2, value: 'paid' },
    ],
    'late answers are passed on',
  )
})

t.test('a handler that does not come back loses its place, and its answer counts if it comes after all', async (t) => {
  const answer = deferred<string>()
  let runs = 0
  const harness = new DispatcherHarness(
    {
      pay: () => {
        runs += 1
        return answer.promise
      },
    },
    { maxConcurrent: 1, abandonAfterMs: 10_000 },
  )
  harness.send({ id: 1, key: 'a', method: 'pay', budgetMs: 1_000 })
  await harness.clock.advance(10_000)
  t.equal(harness.dispatcher.inFlight, 1)
  await harness.clock.advance(4_000)
  t.equal(harness.dispatcher.inFlight, 0)
  t.same(harness.responses, [], 'nothing is sent in its place')
  t.equal(harness.clock.pendingTimers, 0)
  t.match(await harness.ask({ id: 2, key: 'a', method: 'pay' }), { status: 'inDoubt' })
  answer.resolve('paid')
  await harness.clock.advance(0)
  t.match(harness.responses.at(-1), { id: 1, status: 'ok', value: 'paid' })
  t.match(await harness.ask({ id: 3, key: 'a', method: 'pay' }), { status: 'ok', value: 'paid' })
  t.equal(runs, 1)
})

t.test('a channel that takes no response harms nobody', async (t) => {
  const harness = new DispatcherHarness({ pay: () => 'paid' })
  t.doesNotThrow(() =>
    harness.dispatcher.dispatch(requestOf({ id: 1, method: 'pay' }), () => {
      throw new Error('closed')
    }),
  )
  t.equal(harness.dispatcher.inFlight, 0)
  t.match(await harness.ask({ id: 2, key: 'key-1', method: 'pay' }), { value: 'paid' })
})

t.test('the log has the details and no payload', async (t) => {
  const lines: string[] = []
  const logger = createLogger({ name: 'x', level: 'debug', destination: { write: (line) => lines.push(line) } })
  const harness = new DispatcherHarness(
    {
      broken: () => {
        throw new TypeError('no such column')
      },
    },
    { logger },
  )
  await harness.ask({ key: 'k-1', method: 'broken', payload: { pin: 'canary-9917' } })
  await harness.ask({ key: 'k-2', method: 'broken', bytes: Buffer.from('canary-9917') })
  const log = lines.join('')
  t.match(log, /no such column/)
  t.match(log, /"idempotencyKey":"k-1"/)
  t.match(log, /"idempotencyKey":"k-2"/)
  t.notMatch(log, /canary-9917/)
})
