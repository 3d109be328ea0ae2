import { readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { formatIdentityPin } from '../../lib/certs/index.ts'
import { type InProcess, TestBed, type TestDaemon, type TestLs } from '../support/daemons.ts'
import { newIdentity } from '../support/kx-parties.ts'

type Config = Record<string, unknown> & { banks: Record<string, unknown>[] }

async function bedOf(t: Test): Promise<TestBed> {
  const bed = await TestBed.create({ banks: [{ code: '044', dial: 'ls' }] })
  t.teardown(() => bed.stop())
  return bed
}

async function started(t: Test): Promise<{ bed: TestBed; ls: TestLs & InProcess; node: TestDaemon & InProcess }> {
  const bed = await bedOf(t)
  const { ls, xchanges } = await bed.startAll()
  const node = xchanges.get('044')
  if (node === undefined) throw new Error('no node')
  return { bed, ls, node }
}

/** Changes the file that a daemon was started with. */
function edit(daemon: TestDaemon, change: (config: Config) => void): void {
  const config = JSON.parse(readFileSync(daemon.configFile, 'utf8')) as Config
  change(config)
  writeFileSync(daemon.configFile, JSON.stringify(config))
}

t.test('a reload with a mistake, in the file or in what it names, changes nothing', async (t) => {
  const { bed, ls } = await started(t)
  const { sessionId } = await ls.bankStatus('044')
  const good = readFileSync(ls.configFile, 'utf8')
  const mistakes: readonly (readonly [string, (config: Config) => void, string])[] = [
    ['an unknown option', (config) => Object.assign(config, { bankz: [] }), 'BAD_REQUEST'],
    [
      'a certificate that is not there',
      (config) => Object.assign(config.tls as object, { certFile: 'absent' }),
      'REFUSED',
    ],
    ['an identity that is not there', (config) => Object.assign(config, { identityKeyFile: 'absent' }), 'REFUSED'],
    [
      'a bad pin of a new bank',
      (config) => config.banks.push({ ...config.banks[0], code: '070', identities: ['ed25519:AAAA'] }),
      'IDENTITY_DENIED',
    ],
    [
      'SEC-10 the identity of another bank as that of a new one',
      (config) => config.banks.push({ ...config.banks[0], code: '070' }),
      'IDENTITY_DENIED',
    ],
    [
      "SEC-10 LS's own identity as that of a bank",
      (config) => Object.assign(config.banks[0] as object, { identities: [bed.node('lsd').pin] }),
      'IDENTITY_DENIED',
    ],
    ['SEC-1 a weaker setting', (config) => Object.assign(config, { kx: { channelBinding: false } }), 'REFUSED'],
    [
      'a key that others can read',
      (config) => Object.assign(config.tls as object, { keyFile: bed.node('lsd').certFile }),
      'REFUSED',
    ],
  ]
  for (const [what, change, code] of mistakes) {
    edit(ls, (config) => {
      // What would be seen if the rest of the file were applied all the same.
      for (const bank of config.banks) bank.name = 'changed'
      change(config)
    })
    await t.rejects(ls.reload(), { code }, what)
    await t.rejects(ls.admin('reload'), { code }, what)
    const status = await ls.bankStatus('044')
    t.match(status, { name: '', state: 'connected', sessionId }, what)
    writeFileSync(ls.configFile, good)
  }
  t.match(await ls.reload(), { reloaded: true, added: [], changed: [], removed: [], needRestart: [] })
  t.match(await ls.ask({ to: '044', method: 'echo', payload: 1 }), { outcome: 'answered' })
})

t.test('a reload adds and removes banks, and says what waits for a restart until there is one', async (t) => {
  const { ls } = await started(t)
  const { sessionId } = await ls.bankStatus('044')
  edit(ls, (config) => {
    const identities = [formatIdentityPin(newIdentity().publicKey)]
    const addition = { code: '070', dial: 'xchange', identities, host: undefined, port: undefined }
    config.banks.push({ ...config.banks[0], ...addition })
    config.logLevel = 'info'
    config.frames = { maxFrameBytes: 4_096 }
  })
  const needRestart = ['logLevel', 'frames.maxFrameBytes']
  t.match(await ls.admin('reload'), { reloaded: true, added: ['070'], changed: [], removed: [], needRestart })
  t.match(await ls.admin('reload'), { added: [], needRestart })
  t.match(await ls.bankStatus('070'), { state: 'idle', dial: 'xchange' })
  t.match(await ls.bankStatus('044'), { state: 'connected', sessionId })
  edit(ls, (config) => {
    config.banks.pop()
  })
  t.match(await ls.admin('reload'), { removed: ['070'], needRestart })
  t.match(await ls.ask({ to: '070', method: 'echo', payload: 1 }), { outcome: 'refused', code: 'UNKNOWN_BANK' })
  t.match(await ls.bankStatus('044'), { state: 'connected', sessionId })
  t.equal(ls.log.all({ audit: true, msg: 'the configuration was reloaded' }).length, 3)
})

t.test('SEC-2 a reload takes a certificate that was issued again, and the channel goes on', async (t) => {
  const { bed, ls, node } = await started(t)
  const before = (await ls.admin('status')) as { daemon: { certificateNotAfter: string } }
  const { sessionId } = await ls.bankStatus('044')
  await bed.pki.issue('lsd', undefined, { days: 20 })
  await bed.pki.issue('xchange', '044', { days: 20 })
  await ls.reload()
  await node.reload()
  const after = (await ls.admin('status')) as typeof before
  t.ok(Date.parse(after.daemon.certificateNotAfter) > Date.parse(before.daemon.certificateNotAfter))
  t.match(await ls.bankStatus('044'), { state: 'connected', sessionId })
  await ls.admin('drop', { bank: '044' })
  await ls.connected('044', ls.log.mark)
  const { certificateNotAfter } = await ls.bankStatus('044')
  t.ok(Date.parse(certificateNotAfter ?? '') > Date.now() + 15 * 86_400_000, 'the next socket shows the new one')
  t.equal(ls.log.all({ msg: /certificate expires soon/ }).length, 2, 'both are near their end')
})

t.test('a node says what of its file waits for a restart: all but keys, certificates and pins', async (t) => {
  const { node } = await started(t)
  await node.reload()
  edit(node, (config) => {
    const ls = config.ls as { allow: string[]; identities: string[] }
    ls.identities = [...ls.identities, ...ls.identities]
    config.requests = { window: 7 }
  })
  await node.reload()
  edit(node, (config) => {
    ;(config.ls as { allow: string[] }).allow = ['192.0.2.1']
  })
  await node.reload()
  t.strictSame(
    node.log.all({ msg: /the configuration was reloaded/ }).map((line) => line.needRestart),
    [[], ['requests'], ['requests', 'ls']],
  )
  edit(node, (config) => Object.assign(config, { handlers: {} }))
  await t.rejects(node.reload(), { code: 'BAD_REQUEST' })
})

t.test('a start that fails lets go of everything: the next one works', async (t) => {
  const bed = await bedOf(t)
  const first = await bed.startLs({ name: 'first' })
  const config = { listen: { port: first.port } }
  await t.rejects(bed.startLs({ name: 'second', config }), { code: 'INTERNAL', message: /cannot listen/ })
  await first.stop()
  await first.stop()
  const second = await bed.startLs({ name: 'second', config })
  t.equal(second.port, first.port)
  t.match(await second.admin('status'), { daemon: { phase: 'ready', banks: 1, connected: 0 } })
})

t.test('two daemons do not share their sockets', async (t) => {
  const bed = await bedOf(t)
  const first = await bed.startLs()
  await t.rejects(bed.startLs({ config: { storeDir: `${bed.dir}/other-store` } }), {
    code: 'REFUSED',
    message: /another/,
  })
  t.match(await first.admin('status'), { daemon: { phase: 'ready' } }, 'the first one serves on')
})
