import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { certificateFacts, createAuthority, issueCertificate, loadTlsMaterial } from '../../lib/certs/index.ts'

const trustDomain = 'ls-xchange.test'
const DAY_MS = 86_400_000

t.test('SEC-2 a party gets key, certificate, CA and identity in its own directory', async (t) => {
  const dir = t.testdir()
  await createAuthority({ dir, trustDomain })
  const nowMs = Date.now()
  const issued = await issueCertificate({ dir, role: 'xchange', bankCode: '044', days: 90, nowMs })
  const directory = join(dir, '044')
  t.strictSame(
    Object.fromEntries(
      readdirSync(directory).map((name) => [name, (statSync(join(directory, name)).mode & 0o777).toString(8)]),
    ),
    { 'tls.key': '600', 'tls.crt': '644', 'ca.crt': '644', 'identity.key': '600', 'identity.pub': '644' },
  )
  t.equal(statSync(directory).mode & 0o777, 0o700)
  t.equal(issued.spiffeId, 'spiffe://ls-xchange.test/xchange/044')
  t.equal(readFileSync(issued.pinFile, 'utf8'), `${issued.pin}\n`)
  t.equal(readFileSync(issued.caFile, 'utf8'), readFileSync(join(dir, 'ca.crt'), 'utf8'))
  t.ok(Math.abs(issued.notAfter.getTime() - (nowMs + 90 * DAY_MS)) < 1_000)

  const certificate = new X509Certificate(readFileSync(issued.certFile))
  t.notOk(certificate.ca)
  t.strictSame([...(certificate.keyUsage ?? [])].sort(), ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  t.strictSame(certificateFacts(certificate).sans, [
    'URI:spiffe://ls-xchange.test/xchange/044',
    'DNS:localhost',
    'IP Address:127.0.0.1',
    'IP Address:0:0:0:0:0:0:0:1',
  ])
})

t.test('asked names replace the default ones, each once', async (t) => {
  const dir = t.testdir()
  await createAuthority({ dir, trustDomain })
  const dns = ['ls.example.org', 'ls.example.org', 'ls2.example.org']
  const issued = await issueCertificate({ dir, role: 'lsd', dns, ips: ['10.1.2.3', '2001:db8::5'] })
  const certificate = new X509Certificate(readFileSync(issued.certFile))
  t.strictSame(certificateFacts(certificate).sans, [
    'URI:spiffe://ls-xchange.test/ls',
    'DNS:ls.example.org',
    'DNS:ls2.example.org',
    'IP Address:10.1.2.3',
    'IP Address:2001:DB8:0:0:0:0:0:5',
  ])
  const onlyAddress = await issueCertificate({ dir, role: 'lsd', ips: ['10.1.2.3'] })
  t.equal(new X509Certificate(readFileSync(onlyAddress.certFile)).checkHost('localhost'), undefined)
})

t.test('SEC-2 issued again: new key and certificate, the same identity', async (t) => {
  const dir = t.testdir()
  await createAuthority({ dir, trustDomain })
  const request = { dir, role: 'xchange', bankCode: '044' } as const
  const first = await issueCertificate(request)
  const before = [first.identityFile, first.keyFile].map((file) => readFileSync(file, 'utf8'))
  const second = await issueCertificate(request)
  const after = [first.identityFile, first.keyFile].map((file) => readFileSync(file, 'utf8'))
  t.equal(second.pin, first.pin)
  t.equal(after[0], before[0])
  t.not(after[1], before[1])
  t.not(second.fingerprint256, first.fingerprint256)
  t.equal(readdirSync(join(dir, '044')).length, 5, 'no temporary file stays')

  // A lost pin file comes back; an identity that cannot be read stops the issue and is left alone.
  writeFileSync(second.pinFile, 'ed25519:wrong\n')
  t.equal((await issueCertificate(request)).pin, first.pin)
  t.equal(readFileSync(second.pinFile, 'utf8'), `${first.pin}\n`)
  chmodSync(second.identityFile, 0o644)
  await t.rejects(issueCertificate(request), { code: 'REFUSED', message: /chmod 600/ })
  t.equal(readFileSync(second.identityFile, 'utf8'), before[0])
})

t.test('two certificates of one moment have different, positive serial numbers of 128 bits', async (t) => {
  const dir = t.testdir()
  await createAuthority({ dir, trustDomain })
  const serials = new Set<string>()
  for (let round = 0; round < 8; round++) {
    const { certFile } = await issueCertificate({ dir, role: 'lsd' })
    serials.add(new X509Certificate(readFileSync(certFile)).serialNumber)
  }
  t.equal(serials.size, 8)
  for (const serial of serials) t.match(serial, /^[0-9A-F]{26,32}$/)
})

t.test('wrong names, roles and times are refused before anything is written', async (t) => {
  const dir = t.testdir({ certs: {} })
  const certs = join(dir, 'certs')
  await createAuthority({ dir: certs, trustDomain })
  for (const bankCode of ['..', '.', '../044', '/tmp/x', '044/../../x', 'lsd', 'ca.key', '', '044\0', 'x'.repeat(33)]) {
    await t.rejects(
      issueCertificate({ dir: certs, role: 'xchange', bankCode }),
      { code: 'BAD_REQUEST' },
      JSON.stringify(bankCode),
    )
  }
  await t.rejects(issueCertificate({ dir: certs, role: 'xchange' }), {
    code: 'BAD_REQUEST',
    message: /needs a bank code/,
  })
  await t.rejects(issueCertificate({ dir: certs, role: 'lsd', bankCode: '044' }), { code: 'BAD_REQUEST' })
  const request = { dir: certs, role: 'lsd' } as const
  for (const name of ['*', 'a, URI:spiffe://x/ls', 'a b', '']) {
    await t.rejects(issueCertificate({ ...request, dns: [name] }), { code: 'BAD_REQUEST' }, name)
  }
  for (const address of ['localhost', '10.0.0.0/8', '']) {
    await t.rejects(issueCertificate({ ...request, ips: [address] }), { code: 'BAD_REQUEST' }, address)
  }
  const many = Array.from({ length: 65 }, (_, index) => `host-${index}`)
  await t.rejects(issueCertificate({ ...request, dns: many }), { code: 'BAD_REQUEST', message: /at most 64/ })
  for (const days of [0, -1, 1.5, 3_651, Number.NaN]) {
    await t.rejects(issueCertificate({ ...request, days }), { code: 'BAD_REQUEST' }, String(days))
  }
  t.strictSame(readdirSync(certs).sort(), ['ca.crt', 'ca.key'])
  t.strictSame(readdirSync(dir), ['certs'])
})

t.test('no certificate outlives its CA', async (t) => {
  const dir = t.testdir()
  const nowMs = Date.now()
  await createAuthority({ dir, trustDomain, years: 1, nowMs: nowMs - 100 * DAY_MS })
  await t.rejects(issueCertificate({ dir, role: 'lsd', days: 365, nowMs }), {
    code: 'BAD_REQUEST',
    message: /ask for at most 26[45] days/,
  })
  await t.rejects(issueCertificate({ dir, role: 'lsd', nowMs: nowMs + 400 * DAY_MS }), { code: 'CERT_DENIED' })
  t.equal((await issueCertificate({ dir, role: 'lsd', days: 264, nowMs })).spiffeId, 'spiffe://ls-xchange.test/ls')
})

t.test('the directory of a CA is never issued into', async (t) => {
  const dir = t.testdir()
  const { certFile } = await createAuthority({ dir, trustDomain })
  const before = readFileSync(certFile, 'utf8')
  await t.rejects(issueCertificate({ dir, role: 'lsd', outDir: dir }), { code: 'BAD_REQUEST' })
  await t.rejects(issueCertificate({ dir: join(dir, 'absent'), role: 'lsd' }), {
    code: 'REFUSED',
    message: /lsctl certs init/,
  })
  t.equal(readFileSync(certFile, 'utf8'), before)
  t.strictSame(readdirSync(dir).sort(), ['ca.crt', 'ca.key'])
})

t.test('SEC-2 while a CA is replaced, the bundle is handed out and the one with the key signs', async (t) => {
  const dir = t.testdir()
  const oldCa = await createAuthority({ dir: join(dir, 'old'), trustDomain })
  const newCa = await createAuthority({ dir: join(dir, 'new'), trustDomain })
  const before = await issueCertificate({ dir: join(dir, 'old'), role: 'lsd', outDir: join(dir, 'lsd') })
  const bundle = readFileSync(oldCa.certFile, 'utf8') + readFileSync(newCa.certFile, 'utf8')
  writeFileSync(newCa.certFile, bundle)
  t.ok(loadTlsMaterial({ ...before, caFile: newCa.certFile }), 'the old certificate is good under the bundle')
  const after = await issueCertificate({ dir: join(dir, 'new'), role: 'lsd', outDir: join(dir, 'lsd') })
  t.equal(after.pin, before.pin)
  t.equal(readFileSync(after.caFile, 'utf8'), bundle)
  t.throws(() => loadTlsMaterial({ ...after, caFile: oldCa.certFile }), { code: 'CERT_DENIED' })
})

t.test('an output directory elsewhere', async (t) => {
  const dir = t.testdir()
  await createAuthority({ dir, trustDomain })
  mkdirSync(join(dir, 'elsewhere'), { mode: 0o755 })
  const issued = await issueCertificate({
    dir,
    role: 'xchange',
    bankCode: '044',
    outDir: join(dir, 'elsewhere', 'node'),
  })
  t.equal(issued.keyFile, join(dir, 'elsewhere', 'node', 'tls.key'))
  t.notOk(existsSync(join(dir, '044')))
})

t.test('OpenSSL accepts the chain under its strict rules, where it is installed', async (t) => {
  const dir = t.testdir()
  const { certFile: caFile } = await createAuthority({ dir, trustDomain })
  const otherCa = await createAuthority({ dir: join(dir, 'other'), trustDomain })
  const { certFile } = await issueCertificate({ dir, role: 'xchange', bankCode: '044' })
  const verify = (purpose: string, ca: string) =>
    execFileSync('openssl', ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', ca, certFile], {
      encoding: 'utf8',
      stdio: 'pipe',
    })
  if (!hasOpenssl()) {
    t.pass('openssl is not installed')
    return
  }
  for (const purpose of ['sslserver', 'sslclient']) {
    t.match(verify(purpose, caFile), /: OK/)
    t.throws(() => verify(purpose, otherCa.certFile))
  }
  t.throws(() => verify('smimesign', caFile))
})

function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
