import t from 'tap'
import { decodeMeta, encodeMap, type ResponseRecord, ResponseStatus } from '../../lib/frames/index.ts'
import { IlpSecret, isFulfilled, makePair } from '../../lib/message/ilp/index.ts'
import type { DispatcherOptions } from '../../lib/xchange/dispatcher.ts'
import { type Handler, HandlerError, InDoubtError, NotReachedError } from '../../lib/xchange/handler.ts'
import { IlpReceiver } from '../../lib/xchange/ilp-receiver.ts'
import type { Route } from '../../lib/xchange/route.ts'
import { DispatcherHarness, requestOf } from '../support/dispatcher-harness.ts'

const secret = new IlpSecret(Buffer.from('what this bank fulfils with'))
const older = new IlpSecret(Buffer.from('what this bank fulfilled with'))
const SKEW_MS = 1_000

/** A dispatcher whose `transfer` needs a packet. */
class Bank extends DispatcherHarness {
  readonly raw: ResponseRecord[] = []

  constructor(transfer: Handler | Route, options: Partial<DispatcherOptions> = {}) {
    const late: { receiver?: IlpReceiver } = {}
    const routes = { transfer, balance: () => 1 }
    super(routes, { ilp: new Proxy({} as IlpReceiver, forwardTo(late)), ...options })
    late.receiver = new IlpReceiver(
      { methods: new Set(['transfer']), secrets: [secret, older], clockSkewMs: SKEW_MS },
      { bankCode: '044', clock: this.clock },
    )
  }

  ilp(options: { version?: 1 | 4; expiresInMs?: number; with?: IlpSecret; transaction?: string } = {}) {
    const { version = 4, expiresInMs = 30_000, transaction = '{"quoteId":"q-1"}' } = options
    const expiresAtMs = this.clock.nowMs() + expiresInMs
    const terms = { version, amount: 700n, destination: 'g.044.a', expiresAtMs, transaction }
    const pair = makePair(terms, options.with ?? secret)
    const { packet, condition } = pair
    const fields = { packet, condition, ...(version === 1 ? { expiresAt: expiresAtMs } : {}) }
    return { pair, fields, meta: encodeMap({ ilp: fields }) }
  }

  transfer(fields: Partial<Parameters<typeof requestOf>[0]> = {}): Promise<ResponseRecord> {
    return new Promise((resolve) => {
      this.dispatcher.dispatch(requestOf({ method: 'transfer', budgetMs: 60_000, ...fields }), (response) => {
        this.raw.push(response)
        resolve(response)
      })
    })
  }
}

/** The harness makes its clock itself, and the receiver needs it. */
function forwardTo(late: { receiver?: IlpReceiver }): ProxyHandler<IlpReceiver> {
  return {
    get: (_target, name) => {
      const { receiver } = late
      const value: unknown = receiver === undefined ? undefined : Reflect.get(receiver, name)
      return typeof value === 'function' ? value.bind(receiver) : value
    },
  }
}

function fulfilOf(response: ResponseRecord): { fulfilment: Buffer; fulfilledAt: number } | undefined {
  return decodeMeta(response.meta).ilp as { fulfilment: Buffer; fulfilledAt: number } | undefined
}

t.test('SEC-6 an ok answer brings the fulfilment and its time; the handler gets the packet', async (t) => {
  const seen: unknown[] = []
  const bank = new Bank((_payload, { ilp }) => {
    seen.push(ilp)
    return { done: true }
  })
  for (const version of [1, 4] as const) {
    for (const one of [secret, older]) {
      const { pair, fields, meta } = bank.ilp({ version, with: one })
      const response = await bank.transfer({ key: `${version}-${one === secret}`, meta })
      t.equal(response.status, ResponseStatus.ok)
      t.strictSame(fulfilOf(response), { fulfilment: pair.fulfilment, fulfilledAt: bank.clock.nowMs() })
      t.match(seen.at(-1), { version, amount: 700n, destination: 'g.044.a', packet: fields.packet })
    }
  }
})

t.test('SEC-6 what is not ok brings none', async (t) => {
  const thrown = [
    new HandlerError('FUNDS_INSUFFICIENT', 'no'),
    new NotReachedError('no'),
    new InDoubtError('no'),
    new Error('no'),
  ]
  for (const error of thrown) {
    const bank = new Bank(() => {
      throw error
    })
    const response = await bank.transfer({ meta: bank.ilp().meta })
    t.not(response.status, ResponseStatus.ok)
    t.equal(fulfilOf(response), undefined, error.message)
  }
  const bank = new Bank(() => Buffer.alloc(100_000))
  const tooLarge = await bank.transfer({ meta: bank.ilp().meta })
  t.equal(tooLarge.status, ResponseStatus.inDoubt, 'made, but with an answer that no frame carries')
  t.equal(fulfilOf(tooLarge), undefined)
})

t.test('SEC-6 nothing is run that could not be proven', async (t) => {
  let runs = 0
  const bank = new Bank(() => ++runs)
  const { fields } = bank.ilp()
  const named = (fields: Record<string, string>) =>
    JSON.stringify({ bankCode: '044', idempotencyKey: 'named', method: 'transfer', payloadSha256: 'x', ...fields })
  const cases: Record<string, [Record<string, unknown> | undefined, string]> = {
    'no packet': [undefined, 'BAD_REQUEST'],
    'no map': [{ ilp: 7 }, 'BAD_REQUEST'],
    'a packet that is cut short': [{ ilp: { ...fields, packet: fields.packet.subarray(1) } }, 'BAD_REQUEST'],
    'another condition than in the packet': [{ ilp: { ...fields, condition: Buffer.alloc(32) } }, 'BAD_REQUEST'],
    'a condition of another bank': [
      { ilp: bank.ilp({ with: new IlpSecret(Buffer.from('another bank altogether')) }).fields },
      'FULFILMENT_INVALID',
    ],
    'a version 1 packet of another bank': [
      { ilp: bank.ilp({ version: 1, with: new IlpSecret(Buffer.from('another bank altogether')) }).fields },
      'FULFILMENT_INVALID',
    ],
    'a packet that names another payload': [{ ilp: bank.ilp({ transaction: named({}) }).fields }, 'FULFILMENT_INVALID'],
    'an expired one': [{ ilp: bank.ilp({ expiresInMs: -SKEW_MS - 1 }).fields }, 'DEADLINE_EXCEEDED'],
    'an expired one of version 1': [
      { ilp: bank.ilp({ version: 1, expiresInMs: -SKEW_MS - 1 }).fields },
      'DEADLINE_EXCEEDED',
    ],
  }
  for (const [name, [meta, code]] of Object.entries(cases)) {
    const response = await bank.transfer({ key: 'named', ...(meta === undefined ? {} : { meta: encodeMap(meta) }) })
    t.equal(response.status, ResponseStatus.refused, name)
    t.strictSame(decodeMeta(response.meta), { code }, name)
  }
  t.equal(runs, 0)
  t.match(await bank.ask({ method: 'balance' }), { status: 'ok' }, 'other methods need none')
  const allowed = await bank.transfer({ key: 'skewed', meta: bank.ilp({ expiresInMs: 5 - SKEW_MS }).meta })
  t.equal(allowed.status, ResponseStatus.ok, 'within the allowance for clocks')
})

t.test('SEC-6 a repeated key gets its stored fulfilment, whatever its packet says by now', async (t) => {
  let runs = 0
  const bank = new Bank(() => ++runs)
  const { meta, pair } = bank.ilp({ expiresInMs: 2_000 })
  const first = await bank.transfer({ key: 'k', meta })
  const doneAtMs = bank.clock.nowMs()
  await bank.clock.advance(60_000)
  const again = await bank.transfer({ key: 'k', id: 2, meta })
  t.strictSame(again.meta, first.meta)
  t.strictSame(fulfilOf(again), { fulfilment: pair.fulfilment, fulfilledAt: doneAtMs })
  t.equal(runs, 1)
})

t.test('SEC-6 to a repetition with another packet the stored fulfilment is not passed off as its proof', async (t) => {
  let finish: () => void = () => {}
  const held = new Promise<number>((resolve) => {
    finish = () => resolve(1)
  })
  const bank = new Bank(() => held)
  const [one, other] = [bank.ilp({ transaction: '{"amount":1}' }), bank.ilp({ transaction: '{"amount":2}' })]
  const running = bank.transfer({ key: 'k', meta: one.meta })
  const joined = await bank.transfer({ key: 'k', id: 2, meta: other.meta })
  finish()
  await running
  await bank.clock.advance(1)
  const stored = await bank.transfer({ key: 'k', id: 3, meta: other.meta })
  bank.dispatcher.stop()
  const refused = await bank.transfer({ key: 'k', id: 4, meta: other.meta })
  for (const response of [joined, stored, refused]) {
    t.equal(response.status, ResponseStatus.inDoubt, 'not refused either: the key was executed')
    t.equal(fulfilOf(response), undefined)
  }
  t.strictSame(fulfilOf(await bank.transfer({ key: 'k', id: 5, meta: one.meta }))?.fulfilment, one.pair.fulfilment)
})

t.test('SEC-6 what an inquiry finds out of one packet is no proof of another', async (t) => {
  const bank = new Bank({
    handler: () => {
      throw new InDoubtError('no answer')
    },
    inquire: async () => ({ done: true, payload: 'found' }),
  })
  const [one, other] = [bank.ilp({ transaction: '{"amount":1}' }), bank.ilp({ transaction: '{"amount":2}' })]
  t.equal((await bank.transfer({ key: 'k', meta: one.meta })).status, ResponseStatus.inDoubt)
  const asked = await bank.transfer({ key: 'k', id: 2, meta: other.meta })
  t.equal(asked.status, ResponseStatus.inDoubt, 'the bank did one of the two, and would prove the other')
  const settled = await bank.transfer({ key: 'k', id: 3, meta: one.meta })
  t.strictSame(fulfilOf(settled)?.fulfilment, one.pair.fulfilment)
})

t.test('SEC-6 the expiry is the deadline of the handler where it comes first', async (t) => {
  const deadlines: number[] = []
  const bank = new Bank((_payload, context) => {
    deadlines.push(context.deadlineMs - context.monotonicMs())
    return 1
  })
  await bank.transfer({ key: 'a', budgetMs: 60_000, meta: bank.ilp({ expiresInMs: 4_000 }).meta })
  await bank.transfer({ key: 'b', budgetMs: 3_000, meta: bank.ilp({ expiresInMs: 40_000 }).meta })
  t.strictSame(deadlines, [4_000 + SKEW_MS, 3_000])
  const slow = new Bank({ handler: () => 1, expectedMs: 10_000 })
  const response = await slow.transfer({ meta: slow.ilp({ expiresInMs: 5_000 }).meta })
  t.strictSame(decodeMeta(response.meta), { code: 'DEADLINE_EXCEEDED' }, 'what takes longer is not begun')
})

t.test('SEC-6 an answer after the expiry says when it was given', async (t) => {
  let finish: () => void = () => {}
  const bank = new Bank(
    () =>
      new Promise((resolve) => {
        finish = () => resolve(1)
      }),
  )
  const { meta, pair } = bank.ilp({ expiresInMs: 5_000 })
  const answer = bank.transfer({ meta })
  await bank.clock.advance(9_000)
  finish()
  t.strictSame(fulfilOf(await answer), { fulfilment: pair.fulfilment, fulfilledAt: bank.clock.nowMs() })
})

t.test('SEC-6 what an inquiry settles is proven too, with the time that the bank knows', async (t) => {
  for (const doneAtMs of [undefined, 1_234_567]) {
    const bank = new Bank({
      handler: () => {
        throw new InDoubtError('no answer')
      },
      inquire: async () => ({ done: true, payload: 'found', ...(doneAtMs === undefined ? {} : { doneAtMs }) }),
    })
    const { meta, pair } = bank.ilp({ expiresInMs: 2_000 })
    t.equal((await bank.transfer({ key: 'k', meta })).status, ResponseStatus.inDoubt)
    await bank.clock.advance(90_000)
    const settled = await bank.transfer({ key: 'k', id: 2, meta })
    t.equal(settled.status, ResponseStatus.ok)
    t.strictSame(fulfilOf(settled), { fulfilment: pair.fulfilment, fulfilledAt: doneAtMs ?? bank.clock.nowMs() })
  }
  let runs = 0
  const bank = new Bank({
    handler: () => {
      runs++
      throw new InDoubtError('no answer')
    },
    inquire: async () => ({ done: false }),
  })
  const { meta } = bank.ilp({ expiresInMs: 2_000 })
  await bank.transfer({ key: 'k', meta })
  await bank.clock.advance(90_000)
  const late = await bank.transfer({ key: 'k', id: 2, meta })
  t.strictSame(
    decodeMeta(late.meta),
    { code: 'DEADLINE_EXCEEDED' },
    'and what was not done is not begun after the expiry',
  )
  t.equal(runs, 1)
  t.ok(isFulfilled(bank.ilp().pair.condition, bank.ilp().pair.fulfilment))
})
