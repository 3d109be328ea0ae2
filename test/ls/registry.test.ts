import { rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { formatIdentityPin } from '../../lib/certs/index.ts'
import type { BankConfig } from '../../lib/ls/config.ts'
import type { RegistryChange } from '../../lib/ls/registry.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { newIdentity } from '../support/kx-parties.ts'
import { KX_MS, SwitchHarness } from './switch-harness.ts'

/** Applies while virtual time passes: links that leave are drained meanwhile. */
async function applied(harness: SwitchHarness, banks: readonly BankConfig[]): Promise<RegistryChange> {
  const change = harness.registry.apply(banks, 1_000)
  // It may reject long before it is awaited.
  change.catch(() => {})
  await harness.clock.advance(3_000)
  return change
}

/** Three banks that are connected, with a request in flight each. */
async function threeBanks(): Promise<{ harness: SwitchHarness; banks: [BankConfig, BankConfig, BankConfig] }> {
  const harness = new SwitchHarness()
  const banks: [BankConfig, BankConfig, BankConfig] = [harness.bank('011'), harness.bank('044'), harness.bank('058')]
  await harness.apply(...banks)
  for (const { code } of banks) await harness.connect(code)
  return { harness, banks }
}

function closedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

t.test('banks added, changed and removed leave the channels of the others untouched', async (t) => {
  const { harness, banks } = await threeBanks()
  const [kept, changed, removed] = banks
  harness.node('011').answer = undefined
  const id = harness.ask('011')
  await harness.clock.advance(KX_MS)
  const link = harness.link('011')
  const { session, state } = link
  const before = harness.link('044')

  const change = await applied(harness, [kept, { ...changed, name: 'Another name' }, harness.bank('070')])
  t.strictSame(change, { added: ['070'], changed: ['044'], removed: ['058'] })
  t.equal(harness.link('011'), link)
  t.equal(link.state, state)
  t.equal(link.session, session)
  harness.node('011').respond(`key-${id}`)
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.equal(link.counters.kxCompleted, 1)

  t.not(harness.link('044'), before)
  t.equal(harness.link('044').bank.name, 'Another name')
  t.equal(before.state.name, 'idle', 'the old link has said goodbye')
  t.equal(harness.registry.get(removed.code), undefined)
  t.throws(() => harness.registry.require(removed.code), { code: 'UNKNOWN_BANK' })
})

t.test('the same file again changes nothing', async (t) => {
  const { harness, banks } = await threeBanks()
  const links = harness.registry.all()
  const copies = banks.map((bank) => structuredClone(bank))
  t.strictSame(await harness.registry.apply(copies, 1_000), { added: [], changed: [], removed: [] })
  t.strictSame(
    harness.registry.all().map((link, index) => link === links[index]),
    [true, true, true],
  )
  for (const link of links) t.equal(link.state.name, 'connected')
})

t.test('a link that leaves is drained: what is in flight is answered first', async (t) => {
  const { harness, banks } = await threeBanks()
  harness.node('044').answer = undefined
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  const change = harness.registry.apply([banks[0], banks[2]], 1_000)
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(harness.ask('044')), { outcome: 'refused', code: 'SHUTTING_DOWN' })
  harness.node('044').respond(`key-${id}`)
  await harness.clock.advance(KX_MS)
  t.strictSame(await change, { added: [], changed: [], removed: ['044'] })
  t.match(harness.app.endOf(id), { outcome: 'answered' })
  t.match(harness.app.endOf(harness.ask('044')), { outcome: 'refused', code: 'UNKNOWN_BANK' })
})

t.test('a bad bank changes nothing, whatever is bad about it', async (t) => {
  const dir = t.testdir({ 'not-a-pin.pub': 'ed25519:AAAA\n' })
  const smallOrder = formatIdentityPin(Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]))
  const badBanks: readonly (readonly [string, Partial<BankConfig>, string])[] = [
    ['a malformed pin', { identities: ['ed25519:AAAA'] }, 'IDENTITY_DENIED'],
    ['a pin of small order', { identities: [smallOrder] }, 'IDENTITY_DENIED'],
    ['a pin file that is not there', { identities: [join(dir, 'absent.pub')] }, 'REFUSED'],
    ['a pin file with something else', { identities: [join(dir, 'not-a-pin.pub')] }, 'IDENTITY_DENIED'],
    ['an address that is none', { allow: ['300.0.0.1'] }, 'BAD_REQUEST'],
  ]
  const { harness, banks } = await threeBanks()
  const links = harness.registry.all()
  for (const [what, fields, code] of badBanks) {
    const bad = { ...harness.bank('070'), ...fields }
    await t.rejects(applied(harness, [banks[0], bad]), { code }, what)
    await t.rejects(applied(harness, [banks[0], { ...banks[1], ...fields }, banks[2]]), { code }, `${what}, changed`)
    t.strictSame(
      harness.registry.all().map((link) => links.includes(link)),
      [true, true, true],
    )
    for (const link of links) t.equal(link.state.name, 'connected', `${what}: ${link.bank.code}`)
  }
})

t.test('a damaged quarantine record changes nothing either: nobody may be let in by a bad disk', async (t) => {
  const { harness, banks } = await threeBanks()
  const links = harness.registry.all()
  harness.quarantines.damaged.set('070', new LsxError('INTERNAL', 'the record is damaged'))
  await t.rejects(applied(harness, [...banks.slice(0, 2), harness.bank('070'), harness.bank('080')]), {
    code: 'INTERNAL',
  })
  t.strictSame(harness.registry.all(), links)
  for (const link of links) t.equal(link.state.name, 'connected')
})

t.test('a changed pin file ends the session of a pin that is gone, and leaves the link', async (t) => {
  const dir = t.testdir({})
  const pinFile = join(dir, 'identity.pub')
  const harness = new SwitchHarness()
  const pinOf = (identity: { publicKey: Buffer }) => `${formatIdentityPin(identity.publicKey)}\n`
  const bank = harness.bank('044', { identities: [pinFile] })
  const other = harness.bank('058')
  writeFileSync(pinFile, pinOf(harness.node('044').identity))
  await harness.apply(bank, other)
  await harness.connect('044')
  await harness.connect('058')

  writeFileSync(pinFile, pinOf(harness.node('044').identity))
  t.strictSame(await applied(harness, [bank, other]), { added: [], changed: [], removed: [] })
  const renewed = newIdentity()
  writeFileSync(pinFile, pinOf(renewed))
  const before = harness.link('044')
  t.strictSame(await applied(harness, [bank, other]), { added: [], changed: ['044'], removed: [] })
  t.equal(harness.link('044'), before)
  t.equal(before.state.name, 'idle')
  t.equal(harness.link('058').state.name, 'connected')

  // The identity of before is not let in any more.
  harness.dial('044', harness.node('044').again(harness.clock))
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').state.name, 'idle')
  t.match(harness.link('044').lastFailure, { code: 'IDENTITY_DENIED' })

  rmSync(pinFile)
  const links = harness.registry.all()
  await t.rejects(applied(harness, [bank, other]), { code: 'REFUSED' }, 'a pin file that is gone changes nothing')
  t.strictSame(harness.registry.all(), links)
})

t.test('banks are listed in the order of the configuration, also after a reload', async (t) => {
  const { harness, banks } = await threeBanks()
  const codes = () => harness.registry.all().map((link) => link.bank.code)
  t.strictSame(codes(), ['011', '044', '058'])
  const [first, second, third] = banks
  await applied(harness, [{ ...first, name: 'changed' }, harness.bank('020'), second, third])
  t.strictSame(codes(), ['011', '020', '044', '058'])
  await applied(harness, [third, second, { ...first, name: 'changed' }, harness.bank('020')])
  t.strictSame(codes(), ['058', '044', '011', '020'])
})

t.test('a bank that is in quarantine in the store stays out from the start, and is not dialled', async (t) => {
  const harness = new SwitchHarness()
  harness.quarantines.values.set('044', { bankCode: '044', reason: 'ticket 17', sinceMs: 1 })
  await harness.apply(harness.bank('044', { dial: 'ls', host: '127.0.0.1', port: 1 }), harness.bank('058'))
  t.match(harness.link('044').state, { name: 'quarantined', reason: 'ticket 17' })
  t.match(harness.app.endOf(harness.ask('044')), { outcome: 'refused', code: 'QUARANTINED' })
  await harness.clock.advance(60_000)
  t.equal(harness.link('044').state.name, 'quarantined')
  t.equal(harness.link('058').state.name, 'idle')
})

t.test('a bank that dials again while its link is being replaced is not lost on the old link', async (t) => {
  const { harness, banks } = await threeBanks()
  const [first, second] = banks
  // 058 keeps the reload waiting: it has a request in flight.
  harness.node('058').answer = undefined
  harness.ask('058')
  await harness.clock.advance(KX_MS)
  const change = harness.registry.apply([first, { ...second, name: 'changed' }], 1_000)
  await harness.clock.advance(100)
  const again = harness.node('044').again(harness.clock)
  harness.dial('044', again)
  await harness.clock.advance(KX_MS)
  t.ok(again.link.xchangeSocket.isClosed, 'the node is sent away, to dial once more')
  await harness.clock.advance(2_000)
  t.strictSame(await change, { added: [], changed: ['044'], removed: ['058'] })
  await harness.reconnect('044')
  const id = harness.ask('044')
  await harness.clock.advance(KX_MS)
  t.match(harness.app.endOf(id), { outcome: 'answered' })
})

t.test('a bank that is quarantined while its link is being replaced stays out, however slow the disk', async (t) => {
  const { harness, banks } = await threeBanks()
  const [first, second, third] = banks
  harness.node('058').answer = undefined
  harness.ask('058')
  await harness.clock.advance(KX_MS)
  const change = harness.registry.apply([first, { ...second, name: 'changed' }, { ...third, name: 'changed' }], 1_000)
  await harness.clock.advance(100)
  harness.link('044').quarantine({ reason: 'evidence' })
  await harness.clock.advance(2_000)
  await change
  t.match(harness.link('044').state, { name: 'quarantined', reason: 'evidence' })
  t.equal(harness.link('058').state.name, 'idle')
})

t.test('LS that shuts down in the middle of a reload begins nothing new', async (t) => {
  const { harness, banks } = await threeBanks()
  harness.node('058').answer = undefined
  harness.ask('058')
  await harness.clock.advance(KX_MS)
  const change = harness.registry.apply([banks[0], banks[1], harness.bank('070')], 1_000)
  await harness.clock.advance(100)
  const drained = harness.registry.drainAll(100)
  await harness.clock.advance(2_000)
  t.strictSame(await change, { added: [], changed: [], removed: [] })
  await drained
  t.equal(harness.registry.get('070'), undefined)
  for (const link of harness.registry.all()) t.equal(link.state.name, 'idle')
})

t.test('a link that is stopped cannot be woken: neither resume nor a socket brings it back', async (t) => {
  const harness = new SwitchHarness()
  const port = await closedPort()
  await harness.apply(harness.bank('044', { dial: 'ls', host: '127.0.0.1', port }))
  const link = harness.link('044')
  link.quarantine({ reason: 'a test' })
  await harness.registry.drainAll(0)
  const seen = harness.follow('044')
  link.resume()
  link.start()
  await harness.clock.advance(60_000)
  t.strictSame(seen, ['quarantined>idle'])
  t.equal(harness.clock.pendingTimers, 0)
})

t.test('LS-13 LS-14 a link that LS dials is dialled for ever, and no more once it is drained', async (t) => {
  const harness = new SwitchHarness({ config: { reconnect: { minDelayMs: 10, maxDelayMs: 20 } } })
  const port = await closedPort()
  const seen: string[] = []
  const failedTwice = new Promise<void>((resolve) => {
    harness.context.uptime.subscribe(({ from, to, cause }) => {
      seen.push(`${from}>${to}${cause === undefined ? '' : ` ${cause}`}`)
      if (seen.length === 4) resolve()
    })
  })
  await harness.apply(harness.bank('044', { dial: 'ls', host: '127.0.0.1', port }))
  await harness.link('044').firstAttempt
  await harness.clock.advance(20)
  await failedTwice
  t.strictSame(seen.slice(0, 4), ['idle>dialing', 'dialing>idle tcp', 'idle>dialing', 'dialing>idle tcp'])
  t.match(harness.link('044').lastFailure, { cause: 'tcp', code: 'CHANNEL_DOWN' })
  await harness.registry.drainAll(0)
  const { length } = seen
  await harness.clock.advance(60_000)
  t.equal(seen.length, length)
  t.equal(harness.clock.pendingTimers, 0)
})

t.test('a bank that is no longer configured leaves the figures of the uptime ledger', async (t) => {
  const { harness, banks } = await threeBanks()
  t.strictSame(harness.context.uptime.banks.sort(), ['011', '044', '058'])
  await applied(harness, banks.slice(1))
  t.strictSame(harness.context.uptime.banks.sort(), ['044', '058'])
  t.equal(harness.context.uptime.figures('011', harness.clock.nowMs()), undefined)
  t.ok(harness.context.uptime.query({ bankCode: '044', sinceMs: 0, limit: 10 }).length > 0)
})
