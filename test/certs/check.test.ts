import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type CheckedFile, checkCertificates, createAuthority, issueCertificate } from '../../lib/certs/index.ts'

const DAY_MS = 86_400_000
const trustDomain = 'ls-xchange.test'

async function installation(t: Test): Promise<string> {
  const dir = t.testdir()
  await createAuthority({ dir, trustDomain })
  await issueCertificate({ dir, role: 'lsd', days: 90 })
  await issueCertificate({ dir, role: 'xchange', bankCode: '044', days: 60 })
  return dir
}

function problemsOf(dir: string, nowMs?: number): Record<string, readonly string[]> {
  const checked = checkCertificates(dir, nowMs).filter(({ problems }) => problems.length > 0)
  return Object.fromEntries(checked.map(({ file, problems }) => [file.slice(dir.length + 1), problems]))
}

t.test('SEC-2 a sound installation: every file, its id and its days', async (t) => {
  const dir = await installation(t)
  const checked = checkCertificates(dir)
  const row = ({ file, spiffeId, daysLeft }: CheckedFile) => [file.slice(dir.length + 1), spiffeId, daysLeft]
  const caDays = checked[0]?.daysLeft ?? 0
  t.ok(caDays >= 3_650 && caDays <= 3_653, `${caDays}`)
  t.strictSame(checked.map(row), [
    ['ca.crt', 'spiffe://ls-xchange.test', caDays],
    ['ca.key', undefined, undefined],
    ['044/tls.crt', 'spiffe://ls-xchange.test/xchange/044', 59],
    ['044/ca.crt', 'spiffe://ls-xchange.test', caDays],
    ['044/identity.key', undefined, undefined],
    ['lsd/tls.crt', 'spiffe://ls-xchange.test/ls', 89],
    ['lsd/ca.crt', 'spiffe://ls-xchange.test', caDays],
    ['lsd/identity.key', undefined, undefined],
  ])
  t.ok(checked.every(({ problems, warnings }) => problems.length === 0 && warnings.length === 0))
  rmSync(join(dir, 'ca.key'))
  t.strictSame(problemsOf(dir), {}, 'a CA whose key is elsewhere is fine')
  t.strictSame(
    checkCertificates(join(dir, '044')).map(({ file }) => file.slice(dir.length + 5)),
    ['ca.crt', 'tls.crt', 'identity.key'],
    'the directory of one party, as it lies on its machine',
  )
})

t.test('SEC-2 it warns before expiry, and finds what has expired', async (t) => {
  const dir = await installation(t)
  const warningsAt = (days: number) =>
    checkCertificates(dir, Date.now() + days * DAY_MS)
      .filter(({ warnings }) => warnings.length > 0)
      .map(({ file, warnings }) => `${file.slice(dir.length + 1)} ${warnings.join()}`)
  t.strictSame(warningsAt(29), [])
  t.strictSame(warningsAt(31), ['044/tls.crt expires in 28 days'])
  t.strictSame(warningsAt(61), ['lsd/tls.crt expires in 28 days'])
  t.match(problemsOf(dir, Date.now() + 61 * DAY_MS), { '044/tls.crt': [/expired on .*; issue it again/] })
  const late = problemsOf(dir, Date.now() + 20 * 365 * DAY_MS)
  t.strictSame(Object.keys(late), ['ca.crt', '044/tls.crt', '044/ca.crt', 'lsd/tls.crt', 'lsd/ca.crt'])
})

t.test('SEC-10 it finds loose permissions', async (t) => {
  const dir = await installation(t)
  chmodSync(join(dir, 'ca.key'), 0o644)
  chmodSync(join(dir, '044', 'tls.key'), 0o640)
  chmodSync(join(dir, '044', 'identity.key'), 0o604)
  chmodSync(join(dir, '044', 'identity.pub'), 0o666)
  chmodSync(join(dir, 'lsd', 'ca.crt'), 0o666)
  chmodSync(join(dir, 'lsd'), 0o777)
  t.match(problemsOf(dir), {
    'ca.key': [/chmod 600/],
    '044/tls.crt': [/044\/tls\.key is open to other users/],
    '044/identity.key': [/chmod 600/],
    'lsd/tls.crt': [/lsd\/ca\.crt can be changed by anybody/, /lsd can be changed by anybody/],
    'lsd/ca.crt': [/chmod o-w/],
  })
  chmodSync(join(dir, '044', 'identity.key'), 0o600)
  t.match(problemsOf(dir), { '044/identity.key': [/identity\.pub can be changed by anybody/] })
})

t.test('it finds files that do not fit', async (t) => {
  const dir = await installation(t)
  cpSync(join(dir, '044'), join(dir, '058'), { recursive: true })
  t.match(problemsOf(dir), { '058/tls.crt': [/of spiffe:\/\/ls-xchange.test\/xchange\/044, not of the party/] })
  rmSync(join(dir, '058'), { recursive: true })

  writeFileSync(join(dir, '044', 'identity.pub'), readFileSync(join(dir, 'lsd', 'identity.pub')))
  cpSync(join(dir, 'lsd', 'tls.key'), join(dir, '044', 'tls.key'))
  t.match(problemsOf(dir), {
    '044/tls.crt': [/does not belong to the certificate/],
    '044/identity.key': [/identity\.pub does not belong/],
  })

  writeFileSync(join(dir, '044', 'identity.key'), 'no key')
  rmSync(join(dir, '044', 'tls.crt'))
  writeFileSync(join(dir, 'lsd', 'tls.crt'), 'no certificate')
  writeFileSync(join(dir, 'lsd', 'ca.crt'), 'no certificate')
  t.match(problemsOf(dir), {
    '044/tls.crt': [/no such file/],
    '044/identity.key': [/no Ed25519 private key/],
    'lsd/tls.crt': [/holds no certificate/],
    'lsd/ca.crt': [/holds no certificate/],
  })
})

t.test('it never throws: nothing there, other directories, a certificate of a party in place of the CA', async (t) => {
  const empty = t.testdir({ other: { file: 'x' }, 'README.md': 'x' })
  t.match(checkCertificates(empty), [{ file: empty, problems: [/holds no certificates; begin with/] }])
  t.match(checkCertificates(join(empty, 'absent')), [{ problems: [/cannot list .*: no such file.*certs init/] }])
  t.match(checkCertificates(join(empty, 'README.md')), [{ problems: [/cannot list .*README/] }])

  const dir = join(empty, 'certs')
  await createAuthority({ dir, trustDomain })
  await issueCertificate({ dir, role: 'lsd' })
  mkdirSync(join(dir, 'backup'))
  cpSync(join(dir, 'lsd', 'tls.crt'), join(dir, 'ca.crt'))
  t.match(problemsOf(dir), { 'ca.crt': [/not of a CA/], 'ca.key': [/does not belong/] })
})
