import t from 'tap'
import { KX_MS, PAYLOAD, SwitchHarness, TestConnection } from './switch-harness.ts'

async function withBanks(): Promise<SwitchHarness> {
  const harness = new SwitchHarness()
  await harness.apply(harness.bank('044'), harness.bank('058'))
  for (const code of ['044', '058']) await harness.connect(code)
  return harness
}

t.test(
  'LS-1 each request goes to the bank that it names, payload untouched, and its answer to the app that asked',
  async (t) => {
    const harness = await withBanks()
    const other = new TestConnection(2)
    // Not msgpack: LS never looks into it.
    const payload = Buffer.from('ff00c1fe', 'hex')
    const answer = Buffer.from('c1c1', 'hex')
    harness.node('058').answer = () => ({ payload: answer })
    const first = harness.ask('044', { payload, method: 'name-enquiry', key: 'a' })
    const second = harness.ask('058', { payload, method: 'balance', key: 'b' }, other)
    await harness.clock.advance(KX_MS)
    t.match(harness.node('044').requests, [{ key: 'a', method: 'name-enquiry', payload }])
    t.match(harness.node('058').requests, [{ key: 'b', method: 'balance', payload }])
    t.strictSame(harness.app.replies, [{ id: first, outcome: 'answered', payload, key: 'a', ms: 2 }])
    t.strictSame(other.replies, [{ id: second, outcome: 'answered', payload: answer, key: 'b', ms: 2 }])
  },
)

t.test('BEY-3 the node is told how much time is left, not how much there was', async (t) => {
  const harness = new SwitchHarness()
  await harness.apply(harness.bank('044'))
  harness.ask('044', { timeoutMs: 10_000 })
  await harness.clock.advance(4_000)
  await harness.connect('044')
  await harness.clock.advance(KX_MS)
  const [request] = harness.node('044').requests
  t.ok(request !== undefined && request.budgetMs > 5_900 && request.budgetMs <= 6_000, String(request?.budgetMs))
})

t.test('an app may use a string as id, and gets it back', async (t) => {
  const harness = await withBanks()
  harness.ask('044', { id: 'first of mine' })
  await harness.clock.advance(KX_MS)
  t.match(harness.app.replies, [{ id: 'first of mine', outcome: 'answered' }])
})

t.test('a request without a key gets one, and the reply has it', async (t) => {
  const harness = await withBanks()
  const id = harness.ask('044', { key: undefined })
  await harness.clock.advance(KX_MS)
  const [key] = harness.node('044').keys
  t.match(key, /^[0-9a-f-]{36}$/)
  t.equal(harness.app.endOf(id)?.key, key)
})

t.test('UNKNOWN_BANK for a bank that is not configured, also where its name is one of an object', async (t) => {
  const harness = await withBanks()
  for (const to of ['070', 'constructor', '__proto__']) {
    const id = harness.ask(to)
    t.match(harness.app.endOf(id), {
      outcome: 'refused',
      code: 'UNKNOWN_BANK',
      key: `key-${id}`,
      message: /configured/,
    })
  }
})

t.test('what is no request is refused by the router itself, and costs the banks nothing', async (t) => {
  const harness = await withBanks()
  const good = { op: 'request', id: 1, to: '044', method: 'balance', payload: PAYLOAD, key: 'k' }
  const bad: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ ...good, op: 'status' }, /^op: /],
    [{ ...good, op: 'drain' }, /^op: /],
    [{ ...good, op: undefined }, /^op: /],
    [{ ...good, to: 'no bank!' }, /^to: /],
    [{ ...good, to: undefined }, /^to: /],
    [{ ...good, method: '' }, /^method: /],
    [{ ...good, payload: 'text' }, /^payload: /],
    [{ ...good, key: '' }, /^key: /],
    [{ ...good, timeoutMs: 0 }, /^timeoutMs: /],
    [{ ...good, priority: 1 }, /^priority: /],
  ]
  for (const [message, problem] of bad) {
    t.throws(() => harness.router.onMessage(harness.app, message), { code: 'BAD_REQUEST', message: problem })
  }
  await harness.clock.advance(KX_MS)
  t.strictSame(harness.app.replies, [])
  t.strictSame(harness.node('044').keys, [])
})

t.test('a router that is stopped refuses what still comes; what is in flight goes on', async (t) => {
  const harness = await withBanks()
  harness.node('044').answer = undefined
  const sent = harness.ask('044')
  await harness.clock.advance(KX_MS)
  harness.router.stop()
  t.match(harness.app.endOf(harness.ask('044')), { outcome: 'refused', code: 'SHUTTING_DOWN' })
  t.match(harness.app.endOf(harness.ask('070')), { outcome: 'refused', code: 'SHUTTING_DOWN' })
  harness.node('044').respond(`key-${sent}`)
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(sent), { outcome: 'answered' })
})

t.test('an app that leaves with requests in flight troubles nobody', async (t) => {
  const harness = await withBanks()
  const app = new TestConnection(2)
  harness.ask('044', {}, app)
  app.close()
  harness.router.onClose()
  await harness.clock.advance(KX_MS)
  t.strictSame(app.replies, [])
  t.equal(harness.node('044').keys.length, 1, 'it had been sent already')
  t.equal(harness.link('044').lane.outcomes.answered, 1)
})
