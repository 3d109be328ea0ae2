import t from 'tap'
import type { Reply } from '../../../lib/ipc/index.ts'
import { type Overrides, TestBed } from '../../support/daemons.ts'
import { signingFiles } from '../../support/signing-keys.ts'

/** A bed whose daemons sign and verify; a test changes what it is about. */
async function signingBed() {
  const bed = await TestBed.create()
  t.teardown(() => bed.stop())
  const sections = signingFiles(bed.dir, ['044', '058'])
  const start = (party: string, changes: Overrides = {}) => ({
    config: { signing: { ...(sections(party).signing as Overrides), ...changes } },
  })
  const startAll = (options: { ls?: Overrides; banks?: Overrides } = {}) =>
    bed.startAll({
      ls: start('ls', options.ls),
      banks: { '044': start('044', options.banks), '058': start('058', options.banks) },
    })
  return { bed, start, startAll }
}

for (const mode of ['batch', 'each']) {
  t.test(`SEC-3 BEY-6 requests and responses are signed and verified, mode ${mode}`, async (t) => {
    const { startAll } = await signingBed()
    const { ls } = await startAll({ ls: { mode }, banks: { mode } })
    const app = await ls.connectApp()
    const replies = await Promise.all(
      Array.from({ length: 300 }, (_, n) =>
        app.request({ to: n % 2 === 0 ? '044' : '058', method: 'echo', payload: { n } }),
      ),
    )
    t.ok(replies.every(({ outcome, code }) => outcome === 'answered' && code === undefined))
    t.strictSame(
      replies.map(({ payload }) => payload),
      Array.from({ length: 300 }, (_, n) => ({ n })),
    )
    await ls.admin('rekey', { all: true })
    t.equal((await ls.ask({ to: '044', method: 'echo' })).outcome, 'answered', 'also in the session of a new kx')
    t.equal((await ls.bankStatus('044')).counters.invalidSignatures, 0)
  })
}

t.test('SEC-3 one side in batches, the other one by one: each verifies both forms', async (t) => {
  const { startAll } = await signingBed()
  const { ls } = await startAll({ ls: { mode: 'each' } })
  t.equal((await ls.ask({ to: '044', method: 'echo' })).outcome, 'answered')
  t.equal((await ls.bankStatus('044')).counters.invalidSignatures, 0)
})

t.test('SEC-3 a request without its signature is refused, not executed and not remembered', async (t) => {
  const { bed, start, startAll } = await signingBed()
  const { ls, xchanges } = await startAll()
  await ls.stop()
  const xchange = xchanges.get('044')
  const mark = xchange?.log.mark ?? 0
  const unsigned = await bed.startLs({ ...start('ls', { sign: false }), name: 'unsigned' })
  await unsigned.connected('044')
  t.match(await unsigned.ask({ to: '044', method: 'echo', key: 'k-1' }), {
    outcome: 'refused',
    code: 'SIGNATURE_INVALID',
  })
  const line = await xchange?.log.until({ code: 'SIGNATURE_INVALID' }, { mark })
  t.match(line, { audit: true, idempotencyKey: 'k-1' }, 'it is in the log for the audit')
  await unsigned.stop()
  const signed = await bed.startLs({ ...start('ls'), name: 'signed' })
  await signed.connected('044')
  const executed = await signed.ask({ to: '044', method: 'echo', key: 'k-1' })
  t.equal(executed.outcome, 'answered', 'the key was not used up')
})

t.test('SEC-3 of a key that was executed no refusal is told, whatever the signature', async (t) => {
  const { bed, start, startAll } = await signingBed()
  const { ls } = await startAll()
  t.equal((await ls.ask({ to: '044', method: 'echo', payload: 7, key: 'k-3' })).outcome, 'answered')
  await ls.stop()
  const unsigned = await bed.startLs({ ...start('ls', { sign: false }), name: 'unsigned' })
  await unsigned.connected('044')
  t.match(await unsigned.ask({ to: '044', method: 'echo', payload: 7, key: 'k-3' }), { outcome: 'in-doubt' })
})

t.test('SEC-3 a response without its signature is not believed: in doubt, and asked about again', async (t) => {
  const { bed, start, startAll } = await signingBed()
  const { ls, xchanges } = await startAll()
  const before = xchanges.get('044')
  await before?.stop()
  const mark = ls.log.mark
  const port = before?.port ?? 0
  const unsigned = await bed.startXchange('044', { ...start('044', { sign: false }), port })
  await ls.connected('044', mark)
  const app = await ls.connectApp()
  let onSettled: (late: Reply) => void = () => {}
  const settled = new Promise<Reply>((resolve) => {
    onSettled = resolve
  })
  const reply = await app.request({
    to: '044',
    method: 'echo',
    payload: { a: 1 },
    key: 'k-2',
    durable: true,
    onSettled,
  })
  t.match(reply, { outcome: 'in-doubt', code: 'SIGNATURE_INVALID' })
  t.match(await ls.log.until({ code: 'SIGNATURE_INVALID' }, { mark }), { audit: true, bankCode: '044' })
  t.equal((await ls.bankStatus('044')).counters.invalidSignatures, 1)
  await unsigned.stop()
  await bed.startXchange('044', { ...start('044'), port })
  t.match(await settled, { outcome: 'answered', payload: { a: 1 } }, 'the stored answer came, signed')
})

t.test('SEC-3 verification can be left to the messages that are signed, and differs by bank', async (t) => {
  const { bed, start } = await signingBed()
  await bed.startXchange('044', start('044', { sign: false }))
  const banks = { '044': { signing: { verify: 'when-present' } } }
  const message = /weaker than security.mode strict allows:\n {2}banks.044.signing.verify: when-present/
  await t.rejects(bed.startLs({ ...start('ls'), banks }), { code: 'REFUSED', message }, 'for debugging only')
  const config = { ...start('ls').config, security: { mode: 'permissive' } }
  const ls = await bed.startLs({ config, banks, permissive: true })
  await bed.startXchange('058', start('058', { sign: false }))
  await Promise.all([ls.connected('044'), ls.connected('058')])
  t.equal((await ls.ask({ to: '044', method: 'echo' })).outcome, 'answered')
  t.match(await ls.ask({ to: '058', method: 'echo' }), { outcome: 'in-doubt', code: 'SIGNATURE_INVALID' })
})

t.test('SEC-12 a slow bank whose answer was asked for twice on one channel is no forger', async (t) => {
  const { startAll } = await signingBed()
  const { ls } = await startAll()
  const app = await ls.connectApp()
  for (const key of ['late-1', 'late-2']) {
    let onSettled: (late: Reply) => void = () => {}
    const settled = new Promise<Reply>((resolve) => {
      onSettled = resolve
    })
    const asked = { to: '044', method: 'sleep', payload: { ms: 1_200 }, key, durable: true, timeoutMs: 200 }
    t.match(await app.request({ ...asked, onSettled }), { outcome: 'in-doubt', code: 'IN_DOUBT' })
    t.match(await app.request(asked), { outcome: 'in-doubt' }, 'LS asks the bank again, under another id')
    t.match(await settled, { outcome: 'answered' })
  }
  t.equal((await ls.bankStatus('044')).counters.invalidSignatures, 0, 'both answers are good, each to its own request')
})
