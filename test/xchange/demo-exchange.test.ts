import t from 'tap'
import demoExchange from '../../handlers/demo-exchange.ts'
import { silentLogger } from '../../lib/runtime/index.ts'
import { HandlerModules } from '../../lib/xchange/handler-modules.ts'
import { DispatcherHarness } from '../support/dispatcher-harness.ts'

const NEVER = new AbortController().signal

async function demo() {
  const module = demoExchange({ bankCode: '044' })
  const handlers = new HandlerModules([{ file: 'demo-exchange.js', module }], { bankCode: '044', logger: silentLogger })
  await handlers.start(NEVER)
  const harness = new DispatcherHarness(Object.fromEntries(handlers.routes))
  let lastId = 0
  const call = async (method: string, payload: unknown, key?: string) => {
    lastId += 1
    const { status, value } = await harness.ask({ id: lastId, key: key ?? `key-${lastId}`, method, payload })
    return status === 'failed' ? { failed: (value as { code: string }).code } : value
  }
  return { call, handlers, harness }
}

const TRANSFER = { from: '0123456789', to: '9876543210', amountMinor: 250_000, currency: 'NGN', reference: 'rent' }

t.test('LS-18 the demo xchange keeps accounts', async (t) => {
  const { call } = await demo()
  t.same(await call('balance', { account: '0123456789' }), {
    account: '0123456789',
    currency: 'NGN',
    balanceMinor: 100_000_000,
  })
  t.same(await call('transfer', TRANSFER, 'key-t1'), {
    transferId: '044-key-t1',
    from: '0123456789',
    to: '9876543210',
    amountMinor: 250_000,
    currency: 'NGN',
    balanceMinor: 99_750_000,
  })
  t.match(await call('balance', { account: '0123456789' }), { balanceMinor: 99_750_000 })
  t.match(await call('balance', { account: '9876543210' }), { balanceMinor: 50_250_000 })
})

t.test('LS-18 a repeated transfer moves the money once', async (t) => {
  const { call } = await demo()
  const first = await call('transfer', TRANSFER, 'key-t1')
  t.same(await call('transfer', TRANSFER, 'key-t1'), first)
  t.match(await call('balance', { account: '0123456789' }), { balanceMinor: 99_750_000 })
})

t.test('LS-18 statements, newest first', async (t) => {
  const { call } = await demo()
  for (let n = 1; n <= 12; n++) await call('transfer', { ...TRANSFER, amountMinor: n, reference: undefined }, `t${n}`)
  const statement = (await call('statement', { account: '9876543210' })) as { entries: { amountMinor: number }[] }
  t.same(
    statement.entries.map(({ amountMinor }) => amountMinor),
    [12, 11, 10, 9, 8, 7, 6, 5, 4, 3],
  )
  t.match(await call('statement', { account: '0123456789', limit: 1 }), {
    account: '0123456789',
    entries: [
      { transferId: '044-t12', amountMinor: -12, balanceMinor: 99_999_922, counterparty: '9876543210', atMs: Number },
    ],
  })
  t.same(await call('statement', { account: '5555500000' }), { account: '5555500000', currency: 'NGN', entries: [] })
})

t.test('LS-18 what the demo xchange refuses to do', async (t) => {
  const { call } = await demo()
  const failsWith = async (method: string, payload: unknown, code: string) =>
    t.same(await call(method, payload), { failed: code }, `${method} ${JSON.stringify(payload)}`)
  await failsWith('balance', { account: '0000000000' }, 'ACCOUNT_UNKNOWN')
  await failsWith('balance', { account: 'constructor' }, 'ACCOUNT_UNKNOWN')
  await failsWith('balance', {}, 'BAD_REQUEST')
  await failsWith('balance', 7, 'BAD_REQUEST')
  await failsWith('balance', [], 'BAD_REQUEST')
  await failsWith('balance', { account: 123456789 }, 'BAD_REQUEST')
  await failsWith('statement', { account: '0123456789', limit: 101 }, 'BAD_REQUEST')
  await failsWith('transfer', { ...TRANSFER, to: '0000000000' }, 'ACCOUNT_UNKNOWN')
  await failsWith('transfer', { ...TRANSFER, to: TRANSFER.from }, 'BAD_REQUEST')
  await failsWith('transfer', { ...TRANSFER, amountMinor: 100_000_001 }, 'FUNDS_INSUFFICIENT')
  await failsWith('transfer', { ...TRANSFER, currency: 'USD' }, 'CURRENCY_UNSUPPORTED')
  for (const amountMinor of [0, -1, 1.5, '250000', 2 ** 60, Number.NaN, undefined]) {
    await failsWith('transfer', { ...TRANSFER, amountMinor }, 'BAD_REQUEST')
  }
  await failsWith('fail', {}, 'DEMO_FAILURE')
  await failsWith('fail', { code: 'CARD_STOLEN' }, 'CARD_STOLEN')
  await failsWith('slow', { ms: 60_001 }, 'BAD_REQUEST')
  t.match(await call('balance', { account: '0123456789' }), { balanceMinor: 100_000_000 }, 'nothing moved')
})

t.test('LS-18 two demo xchanges share nothing', async (t) => {
  const [one, other] = [await demo(), await demo()]
  await one.call('transfer', TRANSFER)
  t.match(await other.call('balance', { account: '0123456789' }), { balanceMinor: 100_000_000 })
})

t.test('LS-18 slow answers in its time, and stop wakes it', async (t) => {
  const { call, handlers, harness } = await demo()
  t.same(await call('slow', { ms: 1 }), { sleptMs: 1 })
  const sleeping = call('slow', { ms: 60_000 })
  t.equal(harness.dispatcher.inFlight, 1)
  await handlers.stop(NEVER)
  t.same(await sleeping, { failed: 'HANDLER_FAILED' })
})

t.test('SEC-6 the demo bank moves no other amount than the one that its fulfilment would prove', async (t) => {
  const { transfer } = demoExchange({ bankCode: '044' }).methods
  const call = (amount: bigint | undefined) => {
    const ilp = amount === undefined ? undefined : { amount }
    return transfer?.(TRANSFER, { key: 'k', nowMs: () => 0, ilp } as never)
  }
  t.throws(() => call(250_001n), { code: 'AMOUNT_MISMATCH' })
  for (const amount of [250_000n, 0n, undefined]) t.match(call(amount), { amountMinor: 250_000 })
})
