import t from 'tap'
import { CloseCode } from '../../lib/channel/index.ts'
import { isAllowed, type LinkStateName } from '../../lib/ls/link-state.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { newIdentity } from '../support/kx-parties.ts'
import { GENERATION, KX_MS, SwitchHarness } from './switch-harness.ts'

async function withBank(): Promise<SwitchHarness> {
  const harness = new SwitchHarness({ config: { echo: { intervalMs: 1_000, timeoutMs: 400 } } })
  await harness.apply(harness.bank('044'))
  return harness
}

t.test('the states of a link: only what is drawn is allowed', async (t) => {
  const allowed: readonly (readonly [LinkStateName, LinkStateName])[] = [
    ['idle', 'dialing'],
    ['idle', 'securing'],
    ['dialing', 'securing'],
    ['dialing', 'idle'],
    ['securing', 'connected'],
    ['securing', 'idle'],
    ['connected', 'draining'],
    ['connected', 'idle'],
    ['connected', 'connected'],
    ['draining', 'idle'],
    ['quarantined', 'idle'],
    ['idle', 'quarantined'],
    ['dialing', 'quarantined'],
    ['securing', 'quarantined'],
    ['connected', 'quarantined'],
    ['draining', 'quarantined'],
  ]
  const names: readonly LinkStateName[] = ['idle', 'dialing', 'securing', 'connected', 'draining', 'quarantined']
  for (const from of names) {
    for (const to of names) {
      t.equal(
        isAllowed(from, to),
        allowed.some(([f, to_]) => f === from && to_ === to),
        `${from} to ${to}`,
      )
    }
  }
})

t.test('LS-4 LS-5 LS-14 a bank that dials is keyed by a kx that LS begins, and is connected', async (t) => {
  const harness = await withBank()
  const seen = harness.follow('044')
  const link = harness.link('044')
  t.equal(link.session, undefined)
  harness.dial('044')
  t.equal(link.state.name, 'securing')
  await harness.clock.advance(KX_MS)
  t.strictSame(seen, ['idle>securing', 'securing>connected'])
  const [first] = harness.node('044').link.frames
  t.equal(first?.direction, 'toXchange', 'the first frame is of LS, whoever dialled')
  t.match(link.session, { bankCode: '044', epoch: 1, generation: GENERATION })
  t.match(link.peer, { address: '127.0.0.1' })
  t.equal(harness.context.uptime.connectedNow('044'), true)
  await link.firstAttempt
})

t.test('LS-6 LS keeps its key pair for all banks and kx, an xchange has a new one each time', async (t) => {
  const harness = await withBank()
  await harness.apply(harness.bank('044'), harness.bank('058'))
  await harness.connect('044')
  await harness.connect('058')
  const [a, b] = [harness.link('044').kxRecord, harness.link('058').kxRecord]
  harness.link('044').rekey('operator')
  await harness.clock.advance(KX_MS)
  const c = harness.link('044').kxRecord
  const lsKey = harness.context.staticKeys.publicKey.toString('hex')
  for (const record of [a, b, c]) t.equal(record?.lsStatic, lsKey)
  t.equal(new Set([a, b, c].map((record) => record?.xchangeStatic)).size, 3)
  t.equal(new Set([a, b, c].map((record) => record?.sessionId)).size, 3)
})

t.test('LS-19 a new kx on the same socket leaves the link connected, and requests flow meanwhile', async (t) => {
  const harness = await withBank()
  await harness.connect('044')
  const seen = harness.follow('044')
  const link = harness.link('044')
  const { state } = link
  const ids: number[] = []
  link.rekey('operator')
  for (let n = 0; n < 10; n++) {
    ids.push(harness.ask('044'))
    await harness.clock.advance(1)
  }
  await harness.clock.advance(KX_MS)
  t.equal(link.session?.epoch, 2)
  t.equal(link.state, state)
  t.strictSame(seen, ['connected>connected'])
  for (const id of ids) t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.strictSame(
    harness.node('044').keys,
    ids.map((id) => `key-${id}`),
    'each once, in order',
  )
})

t.test('a newer socket takes over only when it is keyed; until then the older serves', async (t) => {
  const harness = await withBank()
  const first = await harness.connect('044')
  const seen = harness.follow('044')
  const second = first.again(harness.clock)
  harness.dial('044', second)
  const during = harness.ask('044')
  await harness.clock.advance(2)
  t.equal(first.keys.length, 1)
  t.equal(second.keys.length, 0)
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(during), { outcome: 'answered' })
  t.match(first.link.lsSocket.closedWith, { closeCode: CloseCode.superseded })
  const after = harness.ask('044')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(after), { outcome: 'answered' })
  t.strictSame(second.keys, [`key-${after}`])
  t.strictSame(seen, ['connected>connected'], 'the bank was never down')
  t.equal(harness.link('044').counters.connects, 2)
})

t.test('a newer socket that cannot be keyed never disturbs the one that serves', async (t) => {
  const harness = await withBank()
  const first = await harness.connect('044')
  const seen = harness.follow('044')
  const { session } = harness.link('044')
  const impostor = harness.newNode('044')
  impostor.open(harness.clock)
  harness.link('044').accept(impostor.link.lsSocket, Buffer.alloc(32, 5), {
    address: '127.0.0.1',
    certificateNotAfter: new Date(0),
  })
  await harness.clock.advance(KX_MS)
  t.ok(impostor.link.lsSocket.isClosed)
  t.equal(harness.link('044').session, session)
  t.strictSame(seen, [])
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.equal(first.keys.length, 1)
  t.match(harness.link('044').lastFailure, { cause: 'kx', code: 'IDENTITY_DENIED' })
  t.equal(harness.context.refusals.counts.IDENTITY_DENIED, 1)
  t.equal(harness.kxRecords.get('044')?.status, 1, 'the record still says connected')
})

t.test('of two sockets that are not keyed the newer counts', async (t) => {
  const harness = await withBank()
  const first = harness.node('044')
  harness.dial('044', first)
  const second = first.again(harness.clock)
  harness.dial('044', second)
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').state.name, 'connected')
  t.ok(first.link.xchangeSocket.isClosed)
  t.notOk(second.link.xchangeSocket.isClosed)
})

t.test('LS-13 each drop is seen with its cause, and the next socket connects again', async (t) => {
  const harness = await withBank()
  const seen = harness.follow('044')
  const link = harness.link('044')
  const drops: readonly (readonly [string, () => void, number])[] = [
    ['local', () => link.drop(), KX_MS],
    ['peer-close', () => harness.node('044').link.xchangeSocket.terminate(), KX_MS],
    ['peer-close', () => harness.node('044').channel?.drain(harness.clock.monotonicMs() + 10), 100],
    ['policy', () => harness.node('044').link.xchangeSocket.send(Buffer.from('nonsense')), KX_MS],
    ['echo', () => harness.node('044').link.cut('toLs', 'toXchange'), 20_000],
  ]
  for (const [cause, drop, waitMs] of drops) {
    if (harness.node('044').channel === undefined) await harness.connect('044')
    else await harness.reconnect('044')
    drop()
    await harness.clock.advance(waitMs)
    t.equal(seen.at(-1), `connected>idle ${cause}`)
    t.equal(harness.context.uptime.connectedNow('044'), false)
  }
  t.match(link.counters.drops, { local: 1, 'peer-close': 2, policy: 1, echo: 1 })
  t.equal(link.counters.connects, 5)
})

t.test('LS-11 two missed echoes start a new kx, and an answer to it keeps the channel', async (t) => {
  const harness = await withBank()
  const node = await harness.connect('044')
  const before = harness.link('044').session
  const isEcho = (frame: Buffer) => frame[1] === 4 || frame[1] === 5
  node.link.tamper = (frame) => (isEcho(frame) ? [] : [frame])
  await harness.clock.advance(2_500)
  t.equal(harness.link('044').counters.echoesMissed, 2)
  t.equal(harness.link('044').counters.kxStarted, 2)
  node.link.tamper = (frame) => [frame]
  await harness.clock.advance(KX_MS)
  t.not(harness.link('044').session, before)
})

t.test('what cannot be done without a channel says so', async (t) => {
  const harness = await withBank()
  const link = harness.link('044')
  t.throws(() => link.rekey('operator'), { code: 'CHANNEL_DOWN', message: /idle/ })
  t.throws(() => link.drop(), { code: 'CHANNEL_DOWN', message: /idle/ })
  t.throws(() => link.resume(), { code: 'BAD_REQUEST' })
  harness.dial('044')
  t.throws(() => link.rekey('operator'), { code: 'CHANNEL_DOWN', message: /securing/ })
  link.drop()
  await harness.clock.advance(KX_MS)
  t.equal(link.state.name, 'idle')
})

t.test('SEC-12 quarantine, from every state, ends the socket and keeps the bank out until it is resumed', async (t) => {
  const states: readonly (readonly [string, (harness: SwitchHarness) => Promise<unknown>])[] = [
    ['idle', async () => {}],
    ['securing', async (harness) => harness.dial('044')],
    ['connected', (harness) => harness.connect('044')],
    [
      'connected',
      async (harness) => {
        const node = await harness.connect('044')
        harness.dial('044', node.again(harness.clock))
      },
    ],
    [
      'draining',
      async (harness) => {
        const node = await harness.connect('044')
        node.answer = undefined
        harness.ask('044')
        await harness.clock.advance(KX_MS)
        void harness.registry.drainAll(60_000)
      },
    ],
  ]
  for (const [name, reach] of states) {
    const harness = await withBank()
    await reach(harness)
    const link = harness.link('044')
    t.equal(link.state.name, name)
    link.quarantine({ reason: 'ticket 17' })
    link.quarantine({ reason: 'once more' })
    t.match(link.state, { name: 'quarantined', reason: 'ticket 17' }, `from ${name}`)
    await link.firstAttempt
    await harness.clock.advance(KX_MS)
    t.equal(link.session, undefined)
    t.ok(name === 'idle' || harness.node('044').link.xchangeSocket.isClosed)
    // The gate sends it away before; should one get as far as here all the same, it is not let in.
    const again = harness.node('044').again(harness.clock)
    harness.dial('044', again)
    await harness.clock.advance(KX_MS)
    t.ok(again.link.xchangeSocket.isClosed)
    t.equal(link.state.name, 'quarantined')
    if (name === 'draining') continue
    link.resume()
    await harness.reconnect('044')
    t.equal(link.state.name, 'connected')
  }
})

t.test('an orderly end: requests in flight are answered, goodbye is said, and nothing is left behind', async (t) => {
  const harness = await withBank()
  const node = await harness.connect('044')
  node.answer = undefined
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  const seen = harness.follow('044')
  const drained = harness.registry.drainAll(5_000)
  t.equal(harness.link('044').state.name, 'draining')
  t.match(harness.app.endOf(harness.ask('044')), { outcome: 'refused', code: 'SHUTTING_DOWN' })
  await harness.clock.advance(KX_MS)
  node.respond(`key-${id}`)
  await harness.clock.advance(KX_MS)
  await drained
  t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.strictSame(seen, ['connected>draining', 'draining>idle local'])
  t.match(node.link.lsSocket.closedWith, { closeCode: CloseCode.goodbye })
  await harness.clock.advance(5_000)
  t.equal(harness.clock.pendingTimers, 0)
})

t.test('an end at the deadline: what is in flight is in doubt', async (t) => {
  const harness = await withBank()
  const node = await harness.connect('044')
  node.answer = undefined
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  const drained = harness.registry.drainAll(100)
  await harness.clock.advance(200)
  await drained
  t.match(harness.app.endOf(id), { outcome: 'in-doubt', code: 'IN_DOUBT' })
  t.equal(harness.link('044').state.name, 'idle')
})

t.test('an end in the middle of a kx drops the socket', async (t) => {
  const harness = await withBank()
  harness.dial('044')
  await harness.registry.drainAll(1_000)
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').state.name, 'idle')
  t.ok(harness.node('044').link.xchangeSocket.isClosed)
})

t.test('LS-7 a node of another identity is not let in, and learns no more than that', async (t) => {
  const harness = await withBank()
  const impostor = harness.newNode('044')
  harness.dial('044', impostor)
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').state.name, 'idle')
  t.match(harness.link('044').lastFailure, { cause: 'kx', code: 'IDENTITY_DENIED' })
  t.match(impostor.link.lsSocket.closedWith, { closeCode: CloseCode.kxFailed, reason: 'KX_FAILED' })
  t.equal(harness.context.refusals.counts.IDENTITY_DENIED, 1)
  t.equal(harness.link('044').counters.kxFailed, 1)
})

t.test('LS-7 LS with another identity than the node has pinned is not let in either', async (t) => {
  const harness = await withBank()
  Object.assign(harness.context, { identity: newIdentity() })
  harness.dial('044')
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').state.name, 'idle')
  t.match(harness.link('044').lastFailure, { cause: 'kx', code: 'KX_FAILED' })
})

t.test('a store that takes no records does not cost the channel', async (t) => {
  const harness = await withBank()
  harness.kxRecords.failPuts = new LsxError('STORE_FULL', 'the disk is full')
  await harness.connect('044')
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.equal(harness.link('044').kxRecord?.status, 1, 'in memory it is kept all the same')
  t.ok(harness.log.lines.some((line) => line.level === 'error' && /kx record/.test(line.message)))
})

t.test('a damaged kx record is reported, and a new one takes its place', async (t) => {
  const harness = new SwitchHarness()
  harness.kxRecords.damaged.set('044', new LsxError('INTERNAL', 'the record is damaged'))
  await harness.apply(harness.bank('044'))
  t.equal(harness.link('044').kxRecord, undefined)
  t.ok(harness.log.lines.some((line) => line.level === 'error' && /damaged/.test(line.message)))
  await harness.connect('044')
  t.match(harness.link('044').kxRecord, { status: 1, kxCompleted: 1 })
})
