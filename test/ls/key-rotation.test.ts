import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { rotateCertificate } from '../../lib/certs/index.ts'
import type { LsClient } from '../../lib/ipc/index.ts'
import { identityKind, KeyRing } from '../../lib/keys/index.ts'
import { storeKeyKind } from '../../lib/store/index.ts'
import { testBed } from '../support/daemons.ts'

const ONE_BANK = [{ code: '044', dial: 'ls' as const }]
const DAY_MS = 86_400_000

function identityRing(file: string): KeyRing {
  return new KeyRing({ file, kind: identityKind, overlapMs: 7 * DAY_MS })
}

/** Requests one after the other from `lanes` callers until it is stopped. */
function traffic(app: LsClient, to: string) {
  let isOver = false
  const outcomes: string[] = []
  const caller = async () => {
    while (!isOver) outcomes.push((await app.request({ to, method: 'echo', payload: outcomes.length })).outcome)
  }
  const callers = Promise.all([caller(), caller(), caller()])
  return {
    get count() {
      return outcomes.length
    },
    async stop(): Promise<readonly string[]> {
      isOver = true
      await callers
      return outcomes
    },
  }
}

function withPins(configFile: string, ...pins: readonly string[]): void {
  const config = JSON.parse(readFileSync(configFile, 'utf8'))
  for (const bank of config.banks) bank.identities = pins
  writeFileSync(configFile, JSON.stringify(config))
}

t.test(
  'SEC-10 MESH-4 the identity of a bank is rotated while requests flow, and the old one then refused',
  async (t) => {
    const bed = await testBed(t, { banks: ONE_BANK })
    const node = bed.node('044')
    const xchange = await bed.startXchange('044')
    const ls = await bed.startLs()
    await ls.connected('044')
    const before = await ls.bankStatus('044')
    const flow = traffic(await ls.connectApp(), '044')

    const ring = identityRing(node.identityFile)
    const next = ring.prepare(Date.now())
    t.match(next, { state: 'next', publicText: /^ed25519:/ })
    withPins(ls.configFile, node.pin, next.publicText ?? '')
    t.match(await ls.reload(), { reloaded: true, changed: ['044'] })
    t.equal((await ls.bankStatus('044')).sessionId, before.sessionId, 'two pins: the session goes on')

    const mark = ls.log.mark
    ring.activate(Date.now())
    await xchange.reload()
    const { sessionId } = await ls.log.until({ bankCode: '044', msg: 'key exchange completed' }, { mark })
    t.not(sessionId, before.sessionId, 'a new kx, on the same socket')
    const during = await ls.bankStatus('044')
    t.equal(`ed25519:${Buffer.from(during.keys?.xchangeIdentity ?? '', 'hex').toString('base64')}`, next.publicText)
    t.match(during.counters, { connects: 1, kxCompleted: 2 })

    withPins(ls.configFile, next.publicText ?? '')
    await ls.reload()
    const counted = flow.count
    await ls.ask({ to: '044', method: 'echo' })
    t.equal((await ls.bankStatus('044')).sessionId, sessionId, 'the old pin is taken away, the session goes on')
    const outcomes = await flow.stop()
    t.ok(outcomes.length >= counted && outcomes.every((outcome) => outcome === 'answered'), 'not one request was lost')

    const old = ring.look().find(({ state }) => state === 'retired')
    t.ok(old)
    await xchange.stop()
    await bed.startXchange('044', {
      port: bed.portOf('044'),
      config: { identityKeyFile: old?.file },
    })
    t.match(await ls.log.until({ bankCode: '044', audit: true, code: 'IDENTITY_DENIED' }), {
      msg: /not one of the pinned/,
    })
  },
)

t.test(
  'SEC-12 a bank that rotates its identity before LS has the pin is refused it, and not put in quarantine',
  async (t) => {
    const bed = await testBed(t, { banks: ONE_BANK })
    const xchange = await bed.startXchange('044')
    const rules = [{ kind: 'session-mixup', count: 1, windowMs: 600_000 }]
    const ls = await bed.startLs({ config: { quarantine: { rules } } })
    await ls.connected('044')
    const before = await ls.bankStatus('044')
    const ring = identityRing(bed.node('044').identityFile)
    ring.prepare(Date.now())
    ring.activate(Date.now())
    await xchange.reload()
    await ls.log.until({ bankCode: '044', audit: true, code: 'IDENTITY_DENIED' })
    t.equal((await ls.ask({ to: '044', method: 'echo' })).outcome, 'answered')
    t.match(await ls.bankStatus('044'), { state: 'connected', sessionId: before.sessionId }, 'the session goes on')
  },
)

t.test('SEC-10 a pin that is taken away ends the session that proved it', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  await bed.startXchange('044')
  const ls = await bed.startLs()
  await ls.connected('044')
  const other = await bed.pki.issue('xchange', '044', { folder: 'other' })
  withPins(ls.configFile, other.pin)
  await ls.reload()
  t.match(await ls.log.until({ bankCode: '044', to: 'idle', code: 'IDENTITY_DENIED', cause: 'policy' }), {})
  t.match(await ls.log.until({ bankCode: '044', to: 'idle', code: 'IDENTITY_DENIED', cause: 'kx' }), {})
})

t.test('SEC-10 the identity of LS is rotated by command, on all channels, and nothing is lost', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  const xchange = await bed.startXchange('044')
  const ls = await bed.startLs()
  await ls.connected('044')
  const flow = traffic(await ls.connectApp(), '044')
  const { keys } = (await ls.admin('keys-rotate', { kind: 'identity', act: 'prepare' })) as {
    keys: { state: string; publicKey: string }[]
  }
  const next = keys.find(({ state }) => state === 'next')?.publicKey ?? ''
  const nodeConfig = JSON.parse(readFileSync(xchange.configFile, 'utf8'))
  writeFileSync(
    xchange.configFile,
    JSON.stringify({ ...nodeConfig, ls: { ...nodeConfig.ls, identities: [bed.node('lsd').pin, next] } }),
  )
  await xchange.reload()
  const mark = ls.log.mark
  t.match(await ls.admin('keys-rotate', { kind: 'identity' }), {
    keys: [{ state: 'active', publicKey: next }, { state: 'retired' }],
  })
  await ls.log.until({ bankCode: '044', msg: 'key exchange completed' }, { mark })
  writeFileSync(xchange.configFile, JSON.stringify({ ...nodeConfig, ls: { ...nodeConfig.ls, identities: [next] } }))
  await xchange.reload()
  const outcomes = await flow.stop()
  t.ok(outcomes.length > 0 && outcomes.every((outcome) => outcome === 'answered'))
  t.match((await ls.bankStatus('044')).counters, { connects: 1 }, 'on the one socket')
  t.equal(readFileSync(bed.node('lsd').pinFile, 'utf8').trim(), next, 'the pin file is that of the new identity')
})

t.test('SEC-10 the store key of LS is rotated while it works, and the journal is read after restarts', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  await bed.startXchange('044')
  const ls = await bed.startLs()
  await ls.connected('044')
  const app = await ls.connectApp()
  const ask = (key: string) => app.request({ to: '044', method: 'echo', payload: key, key, durable: true })
  for (let n = 0; n < 20; n++) await ask(`before-${n}`)
  t.match(await ls.admin('keys-rotate', { kind: 'store' }), { keys: [{ state: 'active' }, { state: 'retired' }] })
  for (let n = 0; n < 20; n++) await ask(`after-${n}`)
  const resealed = await ls.log.until({ audit: true, msg: 'the store is sealed with its new key' })
  t.ok((resealed.records as number) > 20)
  await ls.stop()
  const again = await bed.startLs()
  for (const key of ['before-0', 'before-19', 'after-19'])
    t.match(await again.admin('request-show', { key }), { record: { state: 'settled', outcome: 'answered' } }, key)
  t.strictSame(again.log.all({ msg: /damaged/ }), [])
  const { keys } = (await again.admin('keys')) as { keys: { kind: string; state: string; retireAt?: string }[] }
  t.match(
    keys.map(({ kind, state }) => `${kind} ${state}`),
    ['identity active', 'store active', 'store retired'],
  )
  await again.stop()
})

t.test('SEC-10 a rotation of one bank is a new session and a new token key', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  await bed.startXchange('044')
  const ls = await bed.startLs()
  await ls.connected('044')
  const before = await ls.bankStatus('044')
  const mark = ls.log.mark
  t.match(await ls.admin('keys-rotate', { bank: '044' }), {
    banks: [{ bankCode: '044', ok: true }],
    token: { keyId: /^.{43}$/ },
  })
  await ls.log.until({ bankCode: '044', msg: 'key exchange completed' }, { mark })
  t.not((await ls.bankStatus('044')).sessionId, before.sessionId)
  for (const wrong of [{}, { bank: '044', kind: 'store' }, { bank: '999' }, { all: true, kind: 'jws' }])
    await t.rejects(ls.admin('keys-rotate', wrong), { code: /BAD_REQUEST|UNKNOWN_BANK/ }, JSON.stringify(wrong))
})

t.test('SEC-2 a certificate is rotated without an end of the channel, and shown from the next socket on', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  const xchange = await bed.startXchange('044')
  const ls = await bed.startLs()
  await ls.connected('044')
  const before = await ls.bankStatus('044')
  const flow = traffic(await ls.connectApp(), '044')
  const dir = dirname(bed.pki.caFile)
  const rotated = await rotateCertificate({
    dir,
    role: 'xchange',
    bankCode: '044',
    outDir: dirname(bed.node('044').certFile),
    days: 20,
  })
  await rotateCertificate({ dir, role: 'lsd', outDir: dirname(bed.node('lsd').certFile), days: 20 })
  await xchange.reload()
  await ls.reload()
  t.match(await ls.ask({ to: '044', method: 'echo' }), { outcome: 'answered' })
  const during = await ls.bankStatus('044')
  t.strictSame([during.sessionId, during.certificateNotAfter], [before.sessionId, before.certificateNotAfter])
  const { daemon } = (await ls.admin('status')) as { daemon: { certificateDaysLeft: number; warnings: string[] } }
  t.match(daemon, { certificateDaysLeft: 19, warnings: [/certificate ends in 19 days/] })
  t.ok(
    (await flow.stop()).every((outcome) => outcome === 'answered'),
    'nothing was lost',
  )
  const mark = ls.log.mark
  await ls.admin('drop', { bank: '044' })
  await ls.connected('044', mark)
  t.equal(
    (await ls.bankStatus('044')).certificateNotAfter,
    rotated.notAfter.toISOString(),
    'the next socket has the new one',
  )
})

t.test(
  'SEC-10 the store key of a node is rotated by its files and a reload, and what was executed stays known',
  async (t) => {
    const bed = await testBed(t, { banks: ONE_BANK })
    const xchange = await bed.startXchange('044')
    const ls = await bed.startLs()
    await ls.connected('044')
    t.match(await ls.ask({ to: '044', method: 'echo', payload: 'a', key: 'once' }), { outcome: 'answered' })
    const ring = new KeyRing({ file: join(bed.dir, '044', 'store.key'), kind: storeKeyKind, overlapMs: 1 })
    ring.prepare(Date.now())
    ring.activate(Date.now())
    await xchange.reload()
    await xchange.log.until({ audit: true, msg: 'the store is sealed with its new key' })
    await xchange.stop()
    t.equal(ring.removeRetired(Date.now() + DAY_MS).length, 1)
    const mark = ls.log.mark
    await bed.startXchange('044', { port: bed.portOf('044') })
    await ls.connected('044', mark)
    t.match(await ls.ask({ to: '044', method: 'echo', payload: 'a', key: 'once' }), {
      outcome: 'answered',
      payload: 'a',
    })
    t.match(await ls.ask({ to: '044', method: 'echo', payload: 'b', key: 'once' }), { code: 'DUPLICATE_MISMATCH' })
  },
)

t.test('SEC-10 a daemon does not start while a next or retired key of its own is open to others', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  const ring = identityRing(bed.node('lsd').identityFile)
  ring.prepare(Date.now())
  for (const state of ['next', 'retired']) {
    if (state === 'retired') ring.activate(Date.now())
    const file = ring.look().find((key) => key.state === state)?.file ?? ''
    chmodSync(file, 0o640)
    await t.rejects(bed.startLs({ name: `loose-${state}` }), { code: 'REFUSED', message: /open to other users/ }, state)
    chmodSync(file, 0o600)
  }
  const ls = await bed.startLs({ name: 'tight' })
  t.equal(((await ls.admin('keys')) as { keys: unknown[] }).keys.length, 3)
})
