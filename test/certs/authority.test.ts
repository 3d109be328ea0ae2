import { X509Certificate } from 'node:crypto'
import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openAuthority } from '../../lib/certs/authority.ts'
import { certificateFacts, createAuthority } from '../../lib/certs/index.ts'
import { forgeCertificate } from '../support/forged-certificate.ts'

const NOW_MS = Date.UTC(2026, 4, 17, 12)
const trustDomain = 'ls-xchange.test'

t.test('SEC-2 a CA is created for the asked time, its key for its owner alone', async (t) => {
  const dir = join(t.testdir(), 'new', 'certs')
  const files = await createAuthority({ dir, trustDomain, years: 3, nowMs: NOW_MS })
  t.equal(statSync(files.keyFile).mode & 0o777, 0o600)
  t.equal(statSync(files.certFile).mode & 0o777, 0o644)
  t.strictSame(readdirSync(dir).sort(), ['ca.crt', 'ca.key'])

  const certificate = new X509Certificate(readFileSync(files.certFile))
  const facts = certificateFacts(certificate)
  t.ok(certificate.ca)
  t.ok(certificate.verify(certificate.publicKey))
  t.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
  t.equal(facts.spiffeId, 'spiffe://ls-xchange.test')
  t.equal(facts.notAfter.toISOString(), '2029-05-17T12:00:00.000Z')
  t.ok(facts.notBefore.getTime() < NOW_MS, 'a peer whose clock is a little behind accepts it')
  t.equal(files.fingerprint256, facts.fingerprint256)
  t.equal(openAuthority(dir, NOW_MS).trustDomain, trustDomain)
})

t.test('SEC-2 a CA is never overwritten, nor is half of one', async (t) => {
  const dir = t.testdir()
  const { keyFile, certFile } = await createAuthority({ dir, trustDomain })
  const key = readFileSync(keyFile, 'utf8')
  const cert = readFileSync(certFile, 'utf8')
  await t.rejects(createAuthority({ dir, trustDomain: 'other.test' }), {
    code: 'REFUSED',
    party: 'self',
    message: /never overwritten/,
  })
  t.equal(readFileSync(keyFile, 'utf8'), key)
  t.equal(readFileSync(certFile, 'utf8'), cert)

  rmSync(certFile)
  await t.rejects(createAuthority({ dir, trustDomain }), { code: 'REFUSED', facts: { file: keyFile } })
  rmSync(keyFile)
  writeFileSync(certFile, cert)
  await t.rejects(createAuthority({ dir, trustDomain }), { code: 'REFUSED', facts: { file: certFile } })
})

t.test('of two that create a CA at once, one does', async (t) => {
  const dir = t.testdir()
  const results = await Promise.allSettled([1, 2, 3].map(() => createAuthority({ dir, trustDomain })))
  t.strictSame(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected'])
  t.equal(openAuthority(dir, Date.now()).trustDomain, trustDomain)
  t.strictSame(readdirSync(dir).sort(), ['ca.crt', 'ca.key'])
})

t.test('wrong names and times are refused before anything is written', async (t) => {
  const dir = t.testdir()
  for (const wrong of ['', 'A.test', 'a/b', '../x']) {
    await t.rejects(createAuthority({ dir, trustDomain: wrong }), { code: 'BAD_REQUEST' }, wrong)
  }
  for (const years of [0, -1, 31, 1.5, Number.NaN]) {
    await t.rejects(createAuthority({ dir, trustDomain, years }), { code: 'BAD_REQUEST' }, String(years))
  }
  t.strictSame(readdirSync(dir), [])
})

t.test('a CA that cannot sign says why', async (t) => {
  const dir = t.testdir()
  t.throws(() => openAuthority(dir, NOW_MS), { code: 'REFUSED', message: /lsctl certs init/ })
  const { keyFile, certFile } = await createAuthority({ dir, trustDomain, years: 1, nowMs: NOW_MS })
  t.throws(() => openAuthority(dir, NOW_MS + 366 * 86_400_000), { code: 'CERT_DENIED', message: /expired/ })
  t.throws(() => openAuthority(dir, NOW_MS - 86_400_000), { code: 'CERT_DENIED', message: /check the clock/ })
  chmodSync(keyFile, 0o644)
  t.throws(() => openAuthority(dir, NOW_MS), { code: 'REFUSED', message: /chmod 600/ })

  const nameless = await forgeCertificate({ names: [], isCa: true })
  const endEntity = await forgeCertificate({ names: [[{ type: 'url', value: 'spiffe://ls-xchange.test' }]] })
  for (const [forged, message] of [
    [nameless, /names no trust domain/],
    [endEntity, /not the certificate of a CA/],
  ] as const) {
    rmSync(keyFile)
    writeFileSync(keyFile, forged.privateKeyPem, { mode: 0o600 })
    t.throws(() => openAuthority(dir, Date.now()), { code: 'CERT_DENIED', message: /does not belong/ })
    writeFileSync(certFile, forged.certificatePem)
    t.throws(() => openAuthority(dir, Date.now()), { code: 'CERT_DENIED', message })
  }
})
