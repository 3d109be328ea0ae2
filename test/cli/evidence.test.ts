import { execFile } from 'node:child_process'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { createSigningKeyFiles } from '../../lib/message/jws/index.ts'
import { type Overrides, TestBed } from '../support/daemons.ts'
import { signingFiles } from '../support/signing-keys.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/lsctl.js', import.meta.url))

function lsctl(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], { env: {} }, (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
    )
  })
}

t.test('SEC-5 evidence is exported, and verified when nothing runs and keys were replaced', async (t) => {
  const bed = await TestBed.create()
  t.teardown(() => bed.stop())
  const sections = signingFiles(bed.dir, ['044', '058'])
  const start = (party: string, more: Overrides = {}) => ({ config: { ...sections(party), ...more } })
  const { ls, xchanges } = await bed.startAll({
    ls: start('ls', { evidence: { keep: 'durable' } }),
    banks: { '044': start('044'), '058': start('058') },
  })
  const app = await ls.connectApp()
  const payload = { to: '9876543210', amountMinor: 250_000 }
  // Among others, so that the message is one of a batch.
  const replies = await Promise.all([
    app.request({ to: '044', method: 'echo', payload, key: 'invoice-17', durable: true }),
    ...Array.from({ length: 20 }, (_, n) =>
      app.request({ to: '044', method: 'echo', payload: n, durable: n % 2 === 0 }),
    ),
  ])
  t.ok(replies.every(({ outcome }) => outcome === 'answered'))
  t.equal((await app.request({ to: '044', method: 'echo', key: 'not-durable' })).outcome, 'answered')

  const file = join(bed.dir, 'invoice-17.json')
  const runtimeDir = ['--runtime-dir', join(bed.dir, 'ls', 'run')]
  const exported = await lsctl('evidence', 'export', 'invoice-17', '--out', file, ...runtimeDir)
  t.match(exported, { code: 0, out: /1 exchange\n/ })
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.match(
    await lsctl('evidence', 'export', 'invoice-17', '--out', file, ...runtimeDir),
    { code: 3 },
    'never over a file',
  )
  const unknown = await lsctl('evidence', 'export', 'not-durable', '--out', `${file}.2`, ...runtimeDir)
  t.match(unknown, { code: 2, err: /no evidence is kept of the key/ })
  t.match(await ls.admin('status'), { daemon: { evidence: { lost: 0 } } })

  // Both parties get new keys; the old ones stay in the directory, with the end of their time.
  const directory = join(bed.dir, 'keys')
  for (const party of ['ls', '044']) {
    const keyFile = join(bed.dir, `${party}-jws.key`)
    const { publicFile } = createSigningKeyFiles({ keyFile, directory, party })
    const jwk = JSON.parse(readFileSync(publicFile, 'utf8')) as object
    writeFileSync(publicFile, JSON.stringify({ ...jwk, exp: Math.ceil(Date.now() / 1_000) }))
    rmSync(keyFile)
    createSigningKeyFiles({ keyFile, directory, party })
  }
  await ls.reload()
  await xchanges.get('044')?.reload()
  t.equal((await ls.ask({ to: '044', method: 'echo' })).outcome, 'answered', 'the daemons go on with the new keys')
  await Promise.all([ls.stop(), ...[...xchanges.values()].map((xchange) => xchange.stop())])

  const verified = await lsctl('evidence', 'verify', file, '--keys', directory)
  t.equal(verified.code, 0, verified.err)
  t.match(verified.out, /request {2}proven: signed by ls at \d{4}-/)
  t.match(verified.out, /response {2}proven: signed by 044 at \d{4}-/)
  t.match(verified.out, /payload +\{"to":"9876543210","amountMinor":250000\}/)
  t.match(verified.out, /PROVEN\n$/)
  const json = await lsctl('evidence', 'verify', file, '--keys', directory, '--json')
  t.match(JSON.parse(json.out), {
    key: 'invoice-17',
    isProven: true,
    exchanges: [{ request: { party: 'ls', payload }, response: { party: '044', status: 0, payload } }],
  })

  const text = readFileSync(file, 'utf8')
  writeFileSync(`${file}.forged`, text.replace('"method": "echo"', '"method": "erho"'))
  const forged = await lsctl('evidence', 'verify', `${file}.forged`, '--keys', directory)
  t.equal(forged.code, 1)
  t.match(forged.out, /problem +the file says another method than what was signed/)
  t.match(forged.out, /NOT PROVEN\n$/)
  rmSync(join(directory, '044'), { recursive: true })
  const untrusted = await lsctl('evidence', 'verify', file, '--keys', directory)
  t.equal(untrusted.code, 1, 'the key that is in the file is not trusted for that')
  t.match(untrusted.out, /not among the keys that are trusted/)
  writeFileSync(`${file}.no`, '{}')
  t.equal((await lsctl('evidence', 'verify', `${file}.no`, '--keys', directory)).code, 2)
  t.equal((await lsctl('evidence', 'verify', join(bed.dir, 'absent'), '--keys', directory)).code, 2)
  t.equal((await lsctl('evidence', 'verify', file, '--keys', join(bed.dir, 'absent'))).code, 3)
})
