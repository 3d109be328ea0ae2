import { chmodSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { issueCertificate, loadIdentityKey, loadTlsMaterial } from '../../lib/certs/index.ts'
import { addCertsCommands } from '../../lib/cli/certs.ts'
import { type RecordingIo, runLine } from '../support/recording-io.ts'

function certs(...line: string[]): Promise<RecordingIo> {
  return runLine(addCertsCommands, ['certs', ...line])
}

t.test('SEC-2 init, issue lsd, issue xchange, check: an installation from nothing', async (t) => {
  const dir = join(t.testdir(), 'certs')
  const init = await certs('init', '--dir', dir)
  t.match(init.out, /^created the CA of ls-xchange\.test, valid until \d{4}-\d\d-\d\d\n/)
  const lsd = await certs('issue', 'lsd', '--dir', dir)
  t.match(lsd.out, /^issued spiffe:\/\/ls-xchange\.test\/ls, valid until/)
  const bank = await certs('issue', 'xchange', '044', '--dir', dir)
  t.match(bank.out, /^issued spiffe:\/\/ls-xchange\.test\/xchange\/044, valid until/)
  t.match(bank.out, readFileSync(join(dir, '044', 'identity.pub'), 'utf8').trim())
  for (const io of [init, lsd, bank]) {
    t.equal(io.err, '')
    t.notMatch(io.out, 'PRIVATE KEY')
    t.equal(io.exitCode, undefined)
  }

  const check = await certs('check', '--dir', dir)
  t.equal(check.exitCode, 0)
  t.match(check.out, /^FILE +ID +DAYS LEFT +STATE\n/)
  t.match(check.out, /044\/tls\.crt +spiffe:\/\/ls-xchange\.test\/xchange\/044 +364 +ok\n/)
  t.notMatch(check.out, '\u001b')
  for (const party of ['lsd', '044']) {
    const file = (name: string) => join(dir, party, name)
    t.ok(loadTlsMaterial({ keyFile: file('tls.key'), certFile: file('tls.crt'), caFile: file('ca.crt') }))
    t.ok(loadIdentityKey(file('identity.key')))
  }
})

t.test('SEC-2 a second init changes nothing; a second issue keeps the identity', async (t) => {
  const dir = t.testdir()
  await certs('init', '--dir', dir)
  const caKey = readFileSync(join(dir, 'ca.key'), 'utf8')
  const again = await certs('init', '--dir', dir, '--trust-domain', 'other.test')
  t.equal(again.exitCode, 3)
  t.match(again.err, /never overwritten/)
  t.equal(again.out, '')
  t.equal(readFileSync(join(dir, 'ca.key'), 'utf8'), caKey)

  const first = JSON.parse((await certs('issue', 'xchange', '044', '--dir', dir, '--json')).out)
  const second = JSON.parse((await certs('issue', 'xchange', '044', '--dir', dir, '--json')).out)
  t.equal(second.pin, first.pin)
  t.not(second.fingerprint256, first.fingerprint256)
})

t.test('options reach the certificate, and --json is one document', async (t) => {
  const dir = t.testdir()
  const init = await certs('init', '--dir', dir, '--trust-domain', 'bank.example', '--years', '2', '--json')
  t.match(JSON.parse(init.out), { trustDomain: 'bank.example', certFile: join(dir, 'ca.crt') })
  const names = ['--dns', 'a.example,b.example', '--dns', 'c.example', '--ip', '10.0.0.1', '--days', '10']
  const issue = await certs('issue', 'xchange', '058', '--dir', dir, ...names, '--out', join(dir, 'out'), '--json')
  const issued = JSON.parse(issue.out)
  t.match(issued, { spiffeId: 'spiffe://bank.example/xchange/058', certFile: join(dir, 'out', 'tls.crt') })
  const { certificate } = loadTlsMaterial(issued)
  t.strictSame(certificate.sans.slice(1), ['DNS:a.example', 'DNS:b.example', 'DNS:c.example', 'IP Address:10.0.0.1'])

  await issueCertificate({ dir, role: 'lsd', days: 5 })
  const check = await certs('check', '--dir', dir, '--json')
  t.equal(check.exitCode, 1, 'a directory that names another party is a problem')
  const { ok, files } = JSON.parse(check.out)
  t.equal(ok, false)
  t.match(files, [
    { file: join(dir, 'ca.crt'), problems: [], warnings: [] },
    { file: join(dir, 'ca.key'), problems: [] },
    { file: join(dir, 'lsd', 'tls.crt'), daysLeft: 4, problems: [], warnings: ['expires in 4 days'] },
  ])
})

t.test('SEC-2 SEC-10 check exits with 1 on a problem, with 0 on a warning', async (t) => {
  const dir = t.testdir()
  t.equal((await certs('check', '--dir', dir)).exitCode, 1, 'nothing there')
  await certs('init', '--dir', dir)
  await certs('issue', 'lsd', '--dir', dir, '--days', '29')
  const warned = await certs('check', '--dir', dir)
  t.equal(warned.exitCode, 0)
  t.match(warned.out, 'warning: expires in 28 days')
  chmodSync(join(dir, 'lsd', 'tls.key'), 0o644)
  const loose = await certs('check', '--dir', dir)
  t.equal(loose.exitCode, 1)
  t.match(loose.out, /problem: .*open to other users \(mode 644\); run: chmod 600/)
})

t.test('wrong use is told apart from refusals, and writes nothing', async (t) => {
  const dir = t.testdir()
  await certs('init', '--dir', dir)
  for (const line of [
    ['xchange'],
    ['lsd', '044'],
    ['xchange', '..'],
    ['xchange', '../../etc'],
    ['xchange', 'lsd'],
    ['lsd', '--dns', 'a b'],
    ['lsd', '--ip', 'localhost'],
    ['lsd', '--days', '99999'],
  ]) {
    const io = await certs('issue', ...line, '--dir', dir)
    t.equal(io.exitCode, 2, line.join(' '))
    t.match(io.err, 'BAD_REQUEST')
  }
  t.equal((await certs('init', '--dir', join(dir, 'x'), '--trust-domain', '../x')).exitCode, 2)
  t.equal((await certs('issue', 'lsd', '--dir', join(dir, 'absent'))).exitCode, 3)
  for (const line of [['issue', 'bank'], ['issue', 'lsd', '--days', '-1'], ['init', '--years', '0'], ['rename']]) {
    await t.rejects(certs(...line, '--dir', dir), { name: 'CommanderError' }, line.join(' '))
  }
  t.strictSame(readdirSync(dir).sort(), ['ca.crt', 'ca.key'])
  t.notOk(existsSync(join(dir, 'x')))
})
