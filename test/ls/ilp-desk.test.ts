import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { decodeMeta, encodeMap, type RequestRecord, ResponseStatus } from '../../lib/frames/index.ts'
import { encodePayload } from '../../lib/ipc/index.ts'
import {
  fulfilmentOf,
  IlpSecret,
  isFulfilled,
  makePair,
  readPacket,
  transactionOf,
} from '../../lib/message/ilp/index.ts'
import { SwitchHarness, type SwitchOptions } from './switch-harness.ts'

const SECRET_TEXT = 'the secret that LS shares with bank 044'
const secret = new IlpSecret(Buffer.from(SECRET_TEXT))

function secretFile(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'lsx-ilp-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const file = join(dir, 'ilp.secret')
  writeFileSync(file, `${SECRET_TEXT}\n`, { mode: 0o600 })
  return file
}

/** LS with bank 044, whose secret it shares where `isShared`. */
async function connected(t: Test, options: SwitchOptions & { isShared?: boolean } = {}): Promise<SwitchHarness> {
  const ilpSecretFile = options.isShared === true ? secretFile(t) : undefined
  const harness = new SwitchHarness({ config: { ilp: { methods: ['transfer'] } }, ...options })
  const bank = { ...harness.bank('044'), ...(ilpSecretFile === undefined ? {} : { ilpSecretFile }) }
  harness.context.ilp.reload({ ilp: harness.context.config.ilp, banks: [bank] })
  await harness.apply(bank)
  await harness.connect('044')
  return harness
}

/** As the bank would: from what came with the request. */
function fulfilled(request: RequestRecord, fields: Record<string, unknown> = {}) {
  const { packet } = decodeMeta(request.meta).ilp as { packet: Buffer }
  const ilp = { fulfilment: fulfilmentOf(readPacket(packet), packet, secret), ...fields }
  return { payload: request.payload, meta: encodeMap({ ilp }) }
}

/** A quote's packet, as an app brings it. */
function brought(harness: SwitchHarness, expiresInMs = 30_000) {
  const pair = makePair(
    {
      version: 4,
      amount: 5_000n,
      destination: 'g.044.account',
      expiresAtMs: harness.clock.nowMs() + expiresInMs,
      transaction: '{"amount":{"amount":"50.00","currency":"NGN"}}',
    },
    secret,
  )
  return { pair, ilp: { packet: pair.packet, condition: pair.condition } }
}

const LATENCY_MS = 5

t.test('SEC-6 an answer is ok only with the fulfilment of its condition', async (t) => {
  const harness = await connected(t)
  const { pair, ilp } = brought(harness)
  harness.node('044').answer = (request) => fulfilled(request)
  const id = harness.ask('044', { method: 'transfer', ilp })
  await harness.clock.advance(LATENCY_MS)
  t.match(harness.app.endOf(id), {
    outcome: 'answered',
    code: undefined,
    ilp: { fulfilment: pair.fulfilment, condition: pair.condition },
  })
  const { ilp: proof } = harness.app.endOf(id) as { ilp: { packet?: Buffer } }
  t.equal(proof.packet, undefined, 'the app has its packet')
  t.strictSame(harness.context.ilp.failures.counts(), {})
})

t.test('SEC-6 an answer without its proof says neither that money moved nor that it did not', async (t) => {
  const wrong = Buffer.alloc(32, 7)
  const cases: Record<string, [(request: RequestRecord) => object, string]> = {
    'no meta': [() => ({ meta: undefined }), 'missing'],
    'no fulfilment': [() => ({ meta: encodeMap({}) }), 'missing'],
    'another fulfilment': [() => ({ meta: encodeMap({ ilp: { fulfilment: wrong } }) }), 'mismatch'],
    'a short one': [() => ({ meta: encodeMap({ ilp: { fulfilment: wrong.subarray(1) } }) }), 'malformed'],
    'one of text': [() => ({ meta: encodeMap({ ilp: { fulfilment: 'x'.repeat(32) } }) }), 'malformed'],
    'no map': [() => ({ meta: encodeMap({ ilp: [wrong] }) }), 'malformed'],
    'one that was made too late': [(request) => fulfilled(request, { fulfilledAt: 9_000_000_000_000 }), 'expired'],
    'a failure with a proof': [(request) => ({ ...fulfilled(request), status: ResponseStatus.failed }), 'unexpected'],
    'a refusal with a proof': [
      (request) => ({ ...fulfilled(request), status: ResponseStatus.refused, payload: Buffer.alloc(0) }),
      'unexpected',
    ],
  }
  for (const [name, [answer, type]] of Object.entries(cases)) {
    const harness = await connected(t)
    harness.node('044').answer = answer
    const id = harness.ask('044', { method: 'transfer', ilp: brought(harness).ilp })
    await harness.clock.advance(LATENCY_MS)
    t.match(harness.app.endOf(id), { outcome: 'in-doubt', code: 'FULFILMENT_INVALID', payload: undefined }, name)
    t.strictSame(harness.context.ilp.failures.counts('044'), { [type]: 1 }, name)
    const { failures } = harness.context.ilp.failures.list({ sinceMs: 0, limit: 10 }, harness.clock.nowMs())
    t.match(failures, [{ bankCode: '044', method: 'transfer', idempotencyKey: 'key-1', type }], name)
    t.equal(harness.context.refusals.counts.FULFILMENT_INVALID, 1, 'the security log hears of it')
  }
})

t.test(
  'SEC-12 wrong fulfilments put a bank in quarantine, unless it was the app that brought the packet',
  async (t) => {
    const wrong = { meta: encodeMap({ ilp: { fulfilment: Buffer.alloc(32, 7) } }) }
    const ask = async (harness: SwitchHarness, ilp?: object) => {
      harness.ask('044', { method: 'transfer', ...(ilp === undefined ? {} : { ilp }) })
      await harness.clock.advance(LATENCY_MS)
    }
    const byApp = await connected(t)
    byApp.node('044').answer = () => wrong
    for (let n = 0; n < 20; n++) await ask(byApp, brought(byApp).ilp)
    t.equal(byApp.link('044').state.name, 'connected', 'an app can bring a condition that no bank fulfils')

    const byLs = await connected(t, { isShared: true })
    byLs.node('044').answer = () => wrong
    for (let n = 0; n < 5; n++) await ask(byLs)
    t.match(byLs.link('044').state, { name: 'quarantined', reason: '5 times bad-fulfilment within 600 s', by: 'rule' })
    t.match(byLs.audit.of('quarantined'), [{ bankCode: '044', by: { via: 'rule' } }])
    t.equal(byLs.audit.of('evidence').length, 5)
  },
)

t.test('SEC-6 an answer that is not ok needs no proof', async (t) => {
  const harness = await connected(t)
  harness.node('044').answer = () => ({ status: ResponseStatus.failed, payload: encodePayload({ code: 'X' }) })
  const failed = harness.ask('044', { method: 'transfer', ilp: brought(harness).ilp })
  await harness.clock.advance(LATENCY_MS)
  t.match(harness.app.endOf(failed), { outcome: 'answered', code: 'HANDLER_FAILED' })
  harness.node('044').answer = () => ({
    status: ResponseStatus.refused,
    payload: Buffer.alloc(0),
    meta: encodeMap({ code: 'FULFILMENT_INVALID' }),
  })
  const refused = harness.ask('044', { method: 'transfer', ilp: brought(harness).ilp })
  await harness.clock.advance(LATENCY_MS)
  t.match(harness.app.endOf(refused), { outcome: 'refused', code: 'FULFILMENT_INVALID' })
  t.strictSame(harness.context.ilp.failures.counts(), { refused: 1 })
})

t.test('SEC-6 expiry is enforced, by the time of the proof', async (t) => {
  const harness = await connected(t, { config: { ilp: { methods: ['transfer'], clockSkewMs: 1_000 } } })
  const node = harness.node('044')
  node.answer = () => undefined
  const { ilp } = brought(harness, 10_000)
  const id = harness.ask('044', { method: 'transfer', ilp, timeoutMs: 60_000 })
  await harness.clock.advance(11_500)
  const [request] = node.requests
  node.respond('key-1', fulfilled(request as RequestRecord))
  await harness.clock.advance(LATENCY_MS)
  t.match(harness.app.endOf(id), { outcome: 'in-doubt', code: 'FULFILMENT_INVALID' }, 'it came too late')
  t.strictSame(harness.context.ilp.failures.counts(), { expired: 1 })

  t.test('asked again, the stored answer shows when it was done', async (t) => {
    const doneInTime = harness.clock.nowMs() - 3_000
    node.answer = (again) => fulfilled(again, { fulfilledAt: doneInTime })
    const again = harness.ask('044', { method: 'transfer', ilp })
    await harness.clock.advance(LATENCY_MS)
    t.match(harness.app.endOf(again), { outcome: 'answered', code: undefined })
    node.answer = (again) => fulfilled(again, { fulfilledAt: doneInTime + 4_000 })
    const late = harness.ask('044', { method: 'transfer', ilp })
    await harness.clock.advance(LATENCY_MS)
    t.match(harness.app.endOf(late), { outcome: 'in-doubt', code: 'FULFILMENT_INVALID' })
  })
})

t.test(
  'SEC-6 LS makes the packet where it has the secret, over the hash of a payload that it does not read',
  async (t) => {
    const harness = await connected(t, { isShared: true })
    const node = harness.node('044')
    node.answer = (request) => fulfilled(request)
    const payload = encodePayload({ from: 'a', to: 'b' })
    const id = harness.ask('044', { method: 'transfer', payload, key: 'k', ilp: { amount: '5000', currency: 'NGN' } })
    await harness.clock.advance(LATENCY_MS)
    const reply = harness.app.endOf(id) as { outcome: string; ilp: Record<string, Buffer> }
    t.equal(reply.outcome, 'answered')
    t.ok(isFulfilled(reply.ilp.condition as Buffer, reply.ilp.fulfilment as Buffer))
    const packet = readPacket(reply.ilp.packet as Buffer)
    t.match(packet, { version: 4, amount: 5_000n, destination: 'g.044' })
    t.equal(packet.expiresAtMs, harness.clock.nowMs() - LATENCY_MS + 30_000)
    t.match(JSON.parse(transactionOf(packet).toString()), {
      amount: '5000',
      bankCode: '044',
      currency: 'NGN',
      idempotencyKey: 'k',
      method: 'transfer',
      payloadSha256: /^[\w-]{43}$/,
    })

    t.test('also for who names no terms, and always the same condition for the same request', async (t) => {
      const conditions: string[] = []
      for (let round = 0; round < 2; round++) {
        const id = harness.ask('044', { method: 'transfer', payload, key: 'same' })
        await harness.clock.advance(LATENCY_MS)
        const { outcome, ilp } = harness.app.endOf(id) as { outcome: string; ilp: { condition: Buffer } }
        t.equal(outcome, 'answered')
        conditions.push(ilp.condition.toString('hex'))
        // The node finds a request by its key.
        node.requests.length = 0
        await harness.clock.advance(45_000)
      }
      t.equal(conditions[0], conditions[1])
    })

    t.test('not for other methods', async (t) => {
      node.answer = (request) => ({ payload: request.payload })
      const id = harness.ask('044', { method: 'balance' })
      await harness.clock.advance(LATENCY_MS)
      t.match(harness.app.endOf(id), { outcome: 'answered', ilp: undefined })
      t.equal(node.requests.at(-1)?.meta, undefined)
    })
  },
)

t.test('SEC-6 a transfer without a packet is refused before it is sent', async (t) => {
  const harness = await connected(t)
  const node = harness.node('044')
  const none = harness.ask('044', { method: 'transfer' })
  const ordered = harness.ask('044', { method: 'transfer', ilp: { amount: 1 } })
  t.match(harness.app.endOf(none), { outcome: 'refused', code: 'BAD_REQUEST' })
  t.match(harness.app.endOf(ordered), { outcome: 'refused', code: 'BAD_REQUEST' })
  const { ilp } = brought(harness)
  for (const bad of [
    { ...ilp, condition: Buffer.alloc(32) },
    { packet: ilp.packet },
    { amount: -1 },
    { amount: 1.5 },
    [],
    'x',
  ]) {
    t.throws(() => harness.ask('044', { method: 'transfer', ilp: bad }), { code: 'BAD_REQUEST' })
  }
  await harness.clock.advance(LATENCY_MS)
  t.strictSame(node.keys, [])
})

t.test('SEC-6 durable transfers are checked after a restart too', async (t) => {
  const first = await connected(t)
  first.node('044').answer = () => undefined
  const { pair, ilp } = brought(first)
  first.ask('044', { method: 'transfer', ilp, key: 'durable', durable: true, timeoutMs: 60_000 })
  await first.clock.advance(LATENCY_MS)
  const [sent] = first.node('044').requests
  t.equal(first.node('044').keys.length, 1)

  const second = await connectedAgain(first)
  const node = second.node('044')
  const [again] = node.requests
  t.strictSame(again?.meta, sent?.meta, 'the packet went along')
  node.respond('durable', { meta: encodeMap({ ilp: { fulfilment: Buffer.alloc(32, 1) } }) })
  await second.clock.advance(LATENCY_MS)
  t.strictSame(second.context.ilp.failures.counts(), { mismatch: 1 })
  t.match(second.journal.records.get('durable'), { outcome: 'in-doubt', code: 'FULFILMENT_INVALID' })
  const inDoubt = second.ask('044', { method: 'transfer', ilp, key: 'durable', durable: true, late: true })
  await second.clock.advance(LATENCY_MS)
  t.match(second.app.endOf(inDoubt), { outcome: 'in-doubt', code: 'FULFILMENT_INVALID' })

  const third = await connectedAgain(second)
  third.node('044').respond('durable', fulfilled(third.node('044').requests[0] as RequestRecord))
  await third.clock.advance(LATENCY_MS)
  t.match(third.journal.records.get('durable'), { state: 'settled', outcome: 'answered', fulfilment: pair.fulfilment })

  t.test('and the journal gives the proof again', async (t) => {
    const id = third.ask('044', { method: 'transfer', ilp, key: 'durable', durable: true })
    await third.clock.advance(LATENCY_MS)
    t.match(third.app.endOf(id), { outcome: 'answered', ilp: { fulfilment: pair.fulfilment } })
    const other = third.ask('044', { method: 'transfer', ilp: otherPacket(third), key: 'durable', durable: true })
    await third.clock.advance(LATENCY_MS)
    t.match(
      third.app.endOf(other),
      { outcome: 'refused', code: 'DUPLICATE_MISMATCH' },
      'another packet, another request',
    )
  })
})

t.test('SEC-6 a durable key asked for with two amounts is told as made for the one that was proven', async (t) => {
  const harness = await connected(t, { isShared: true })
  const node = harness.node('044')
  node.answer = () => undefined
  const ask = async (method: string, ilp: Record<string, unknown> | undefined) => {
    const asked = { method, key: 'two', durable: true, late: true, ...(ilp === undefined ? {} : { ilp }) }
    const id = harness.ask('044', asked)
    await harness.clock.advance(LATENCY_MS)
    return id
  }
  const first = await ask('transfer', { amount: 1n })
  const joining = await ask('transfer', { amount: 2n })
  t.match(harness.app.endOf(joining), { outcome: 'in-doubt' }, 'it does not wait for the answer to another amount')
  node.respond('two', fulfilled(node.requests[0] as RequestRecord))
  await harness.clock.advance(LATENCY_MS)
  t.match(harness.app.endOf(first), { outcome: 'answered', ilp: { fulfilment: Buffer } })
  t.match(harness.app.endOf(await ask('transfer', { amount: 2n })), { outcome: 'in-doubt', ilp: undefined })
  t.match(harness.app.endOf(await ask('transfer', { amount: 1n })), { outcome: 'answered' })

  const plain = harness.ask('044', { method: 'balance', key: 'plain', durable: true })
  await harness.clock.advance(LATENCY_MS)
  node.respond('plain', { payload: Buffer.from([0xc0]) })
  await harness.clock.advance(LATENCY_MS)
  t.match(harness.app.endOf(plain), { outcome: 'answered' })
  const proven = harness.ask('044', { method: 'balance', key: 'plain', durable: true, ilp: { amount: 1n } })
  await harness.clock.advance(LATENCY_MS)
  t.match(harness.app.endOf(proven), { outcome: 'in-doubt' }, 'what was made without a packet proves none')
})

function otherPacket(harness: SwitchHarness) {
  const expiresAtMs = harness.clock.nowMs() + 30_000
  const transaction = '{"amount":{"amount":"51.00","currency":"NGN"}}'
  const { packet, condition } = makePair(
    { version: 4, amount: 5_100n, destination: 'g.044.account', expiresAtMs, transaction },
    secret,
  )
  return { packet, condition }
}

/** A new LS process with the journal of the last one; the node leaves what is asked unanswered. */
async function connectedAgain(before: SwitchHarness): Promise<SwitchHarness> {
  const harness = new SwitchHarness({
    config: { ilp: { methods: ['transfer'] } },
    clock: before.clock,
    journal: before.journal,
  })
  const bank = harness.bank('044')
  harness.node('044').answer = () => undefined
  harness.node('044').memory.set('durable', 'done')
  await harness.apply(bank)
  await harness.connect('044')
  await harness.clock.advance(2 * LATENCY_MS)
  return harness
}
