import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runProgram } from '../../lib/cli/index.ts'
import { type Overrides, TestBed } from '../support/daemons.ts'
import { askHttps } from '../support/fake-peers.ts'
import { createRecordingIo } from '../support/recording-io.ts'
import { signingFiles } from '../support/signing-keys.ts'

async function signedBed(t: Test) {
  const bed = await TestBed.create()
  t.teardown(() => bed.stop())
  const sections = signingFiles(bed.dir, ['044', '058'])
  const startAll = () =>
    bed.startAll({
      ls: { config: sections('ls') },
      banks: { '044': { config: sections('044') }, '058': { config: sections('058') } },
    })
  return { bed, sections, startAll }
}

async function lsctl(bed: TestBed, ...line: string[]) {
  const io = createRecordingIo({ env: { LSX_RUNTIME_DIR: join(bed.dir, 'ls', 'run') }, columns: 200 })
  await runProgram(io, line, '0.0.0-test')
  return io
}

t.test('SEC-1 the check prints what is in force for each bank, and is content with strict', async (t) => {
  const { bed, startAll } = await signedBed(t)
  const { ls } = await startAll()
  const shown = await lsctl(bed, 'security', 'check')
  t.equal(shown.exitCode, 0, shown.out)
  t.match(shown.out, /044 +connected +TLSv1\.3 +TLS_\S+ +\d+ +1, number 1 in use +on .*batch +required +strict/)
  t.match(shown.out, /058 +connected +TLSv1\.3/)
  t.match(shown.out, /mode strict .*key files 4 of 4/)
  const { daemon } = (await ls.admin('status')) as { daemon: unknown }
  t.match(daemon, { mode: 'strict', audit: { state: 'ok' } })

  chmodSync(bed.node('lsd').keyFile, 0o644)
  const loose = await lsctl(bed, 'security', 'check', '--json')
  t.equal(loose.exitCode, 1)
  t.match(JSON.parse(loose.out), { ok: false, weaknesses: [{ path: bed.node('lsd').keyFile, message: /chmod 600/ }] })
  chmodSync(bed.node('lsd').keyFile, 0o600)
  const retired = bed.node('lsd').identityFile.replace(/\.key$/, '.old-x.key')
  writeFileSync(retired, 'a key of before', { mode: 0o644 })
  const before = await lsctl(bed, 'security', 'check')
  t.match(before.out, /key files 4 of 5/)
  t.match(before.out, /weak +\S+old-x\.key: .*chmod 600/, 'one that was rotated away is a secret still')
  rmSync(retired)
  chmodSync(ls.configFile, 0o664)
  t.match((await lsctl(bed, 'security', 'check')).out, /weak +\S+yaml: .*can be changed by its group/)
  await t.rejects(ls.admin('reload'), { code: 'REFUSED', message: /chmod go-w/ })
})

t.test('SEC-1 a bank without signatures is weaker than strict, and the check says so', async (t) => {
  const bed = await TestBed.create({ banks: [{ code: '044', dial: 'ls' }] })
  t.teardown(() => bed.stop())
  await bed.startAll()
  const shown = await lsctl(bed, 'security', 'check', '044')
  t.equal(shown.exitCode, 1)
  t.match(shown.out, /bank 044, signing: left out/)
  t.match(shown.out, /weaker than strict\n$/)
})

t.test(
  'SEC-1 permissive: refused unless asked for twice, and loud in log, health, status, check and audit log',
  async (t) => {
    const bed = await TestBed.create({ banks: [{ code: '044', dial: 'ls' }] })
    t.teardown(() => bed.stop())
    const config: Overrides = { security: { mode: 'permissive' }, kx: { channelBinding: false } }
    await t.rejects(bed.startLs({ config }), { code: 'REFUSED', message: /--permissive-i-know/ })
    await t.rejects(bed.startLs({ permissive: true }), { code: 'REFUSED', message: /security\.mode is strict/ })
    await t.rejects(bed.startLs({ config: { kx: { channelBinding: false } } }), {
      code: 'REFUSED',
      message: /kx\.channelBinding: off/,
    })
    await t.rejects(bed.startXchange('044', { config }), { code: 'REFUSED', message: /--permissive-i-know/ })
    const xchange = await bed.startXchange('044', { config, permissive: true })
    const ls = await bed.startLs({ config, permissive: true })
    await ls.connected('044')
    await ls.log.until({ level: 50, audit: true, msg: /^PERMISSIVE MODE/ })
    await xchange.log.until({ level: 50, audit: true, msg: /^PERMISSIVE MODE/ })
    const { daemon } = (await ls.admin('status')) as { daemon: unknown }
    t.match(daemon, { mode: 'permissive' })
    const health = await askHttps({ port: ls.port, node: bed.node('044'), path: '/health' })
    t.match(JSON.parse(health.body), { status: 'ok', mode: 'permissive' })
    const shown = await lsctl(bed, 'security', 'check')
    t.equal(shown.exitCode, 1)
    t.match(shown.out, /mode permissive/)
    t.match(shown.out, /kx\.channelBinding/)
    t.match((await lsctl(bed, 'audit', 'tail', '--event', 'mode-permissive')).out, /channelBinding/)
  },
)

t.test('SEC-11 an emptied store whose key is still there is no quiet start', async (t) => {
  const bed = await TestBed.create({ banks: [{ code: '044', dial: 'ls' }] })
  t.teardown(() => bed.stop())
  const { ls, xchanges } = await bed.startAll()
  t.strictSame(ls.log.all({ msg: /the store is empty/ }), [], 'a first start is none')
  await ls.stop()
  await xchanges.get('044')?.stop()
  rmSync(join(bed.dir, 'ls', 'store'), { recursive: true })
  rmSync(join(bed.dir, '044', 'store'), { recursive: true })
  const xchange = await bed.startXchange('044', { port: bed.portOf('044') })
  await xchange.log.until({ audit: true, msg: /the store is empty/ })
  const again = await bed.startLs()
  await again.log.until({ audit: true, msg: /the store is empty/ })
  t.match((await lsctl(bed, 'audit', 'tail', '--event', 'store-emptied')).out, /store-emptied/)
})
