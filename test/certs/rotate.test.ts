import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  type CertificateFacts,
  createAuthority,
  ExpiryWatch,
  issueCertificate,
  loadTlsMaterial,
  rotateCertificate,
} from '../../lib/certs/index.ts'
import { recordingLogger } from '../support/channel-log.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const DAY_MS = 86_400_000

t.test('SEC-2 a certificate is rotated: new key, the same names, the same identity', async (t) => {
  const dir = t.testdir({})
  await createAuthority({ dir, trustDomain: 'ls-xchange.test' })
  const names = { dns: ['bank.example', 'b.bank.example'], ips: ['192.0.2.7', '2001:db8::7'] }
  const before = await issueCertificate({ dir, role: 'xchange', bankCode: '044', days: 90, ...names })
  const old = loadTlsMaterial(before)
  const rotated = await rotateCertificate({ dir, role: 'xchange', bankCode: '044' })
  const now = loadTlsMaterial(rotated)
  t.strictSame([...now.certificate.sans].sort(), [...old.certificate.sans].sort())
  t.equal(now.certificate.spiffeId, old.certificate.spiffeId)
  t.not(now.certificate.fingerprint256, old.certificate.fingerprint256)
  t.not(now.key.toString(), old.key.toString(), 'the key is new')
  t.equal(rotated.pin, before.pin, 'nobody has to change a pin')
  t.equal(rotated.notAfterBefore.getTime(), before.notAfter.getTime())
  const lifetimeDays = (rotated.notAfter.getTime() - Date.now()) / DAY_MS
  t.ok(lifetimeDays > 89 && lifetimeDays < 91, 'for as long as the one before')
  await t.rejects(rotateCertificate({ dir, role: 'lsd' }), { code: 'CERT_DENIED', message: /lsctl certs issue/ })
  await t.rejects(rotateCertificate({ dir, role: 'lsd', outDir: join(dir, '044') }), { message: /not of lsd/ })
})

t.test('SEC-2 a rotation that a crash interrupts leaves a pair that fits', async (t) => {
  const dir = t.testdir({})
  await createAuthority({ dir, trustDomain: 'ls-xchange.test' })
  const files = await issueCertificate({ dir, role: 'lsd' })
  const [oldKey, oldCert] = [readFileSync(files.keyFile), readFileSync(files.certFile)]
  const old = loadTlsMaterial(files).certificate.fingerprint256
  const rotated = await rotateCertificate({ dir, role: 'lsd' })
  const [newKey, newCert] = [readFileSync(files.keyFile), readFileSync(files.certFile)]

  writeFileSync(files.keyFile, oldKey)
  writeFileSync(files.certFile, oldCert)
  writeFileSync(`${files.certFile}.next`, newCert)
  t.equal(loadTlsMaterial(files).certificate.fingerprint256, old, 'before the key was in place')
  writeFileSync(files.keyFile, newKey)
  t.equal(loadTlsMaterial(files).certificate.fingerprint256, rotated.fingerprint256, 'and after it')
  t.throws(() => renameSync(`${files.certFile}.next`, files.certFile), { code: 'ENOENT' }, 'which ends the rotation')
  t.equal(loadTlsMaterial(files).certificate.fingerprint256, rotated.fingerprint256)
})

t.test(
  'SEC-2 the end of a certificate is warned of from 30 days before, each day, and at once for a new one',
  async (t) => {
    const clock = new VirtualClock()
    const log = recordingLogger()
    const ending = (days: number, fingerprint256: string) =>
      ({ notAfter: new Date(clock.nowMs() + days * DAY_MS), fingerprint256 }) as CertificateFacts
    let certificate = ending(31.5, 'a')
    const watch = new ExpiryWatch({ certificate: () => certificate, clock, logger: log })
    await watch.start()
    t.teardown(() => watch.stop())
    t.strictSame([watch.isNearEnd, log.lines.length], [false, 0])
    await clock.advance(2 * DAY_MS)
    t.strictSame([watch.isNearEnd, watch.daysLeft], [true, 29])
    t.equal(log.lines.length, 1)
    t.match(log.lines[0], { level: 'warn', message: /expires soon: lsctl certs rotate/, facts: { daysLeft: 29 } })
    await clock.advance(2 * DAY_MS)
    t.ok(log.lines.length >= 2 && log.lines.length <= 3)
    certificate = ending(365, 'b')
    watch.check()
    t.notOk(watch.isNearEnd)
  },
)
