import { generateKeyPairSync, sign, verify } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  createIdentityFile,
  formatIdentityPin,
  identityPublicKey,
  loadIdentityKey,
  readIdentityPin,
} from '../../lib/certs/index.ts'

t.test('SEC-10 an identity is a private key of its owner alone and a pin for the other side', (t) => {
  const path = join(t.testdir(), 'identity.key')
  const { keyFile, pinFile, pin } = createIdentityFile(path)
  t.equal(keyFile, path)
  t.equal(pinFile, path.replace('.key', '.pub'))
  t.equal(statSync(keyFile).mode & 0o777, 0o600)
  t.equal(statSync(pinFile).mode & 0o777, 0o644)
  t.match(readFileSync(pinFile, 'utf8'), /^ed25519:[A-Za-z0-9+/]{43}=\n$/)

  const key = loadIdentityKey(keyFile)
  t.ok(identityPublicKey(key).equals(readIdentityPin(pinFile)))
  t.ok(readIdentityPin(pin).equals(readIdentityPin(pinFile)))
  t.equal(formatIdentityPin(readIdentityPin(pin)), pin)
  t.equal(readIdentityPin(pin).length, 32)
  const message = Buffer.from('message')
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: readIdentityPin(pin).toString('base64url') }
  t.ok(verify(null, message, { key: jwk, format: 'jwk' }, sign(null, message, key)), 'the pin is the raw public key')
  t.end()
})

t.test('an identity is never overwritten, neither the key nor a pin whose key is elsewhere', (t) => {
  const path = join(t.testdir(), 'identity.key')
  const { pin, pinFile } = createIdentityFile(path)
  const before = readFileSync(path, 'utf8')
  t.throws(() => createIdentityFile(path), { code: 'REFUSED', party: 'self', message: /never overwritten/ })
  t.equal(readFileSync(path, 'utf8'), before)
  rmSync(path)
  t.throws(() => createIdentityFile(path), { code: 'REFUSED', party: 'self', message: /without its key/ })
  t.notOk(existsSync(path))
  t.equal(readFileSync(pinFile, 'utf8'), `${pin}\n`)
  t.end()
})

t.test('SEC-10 a key that others may read, or of another kind, is refused', (t) => {
  const dir = t.testdir()
  const { keyFile, pinFile } = createIdentityFile(join(dir, 'identity.key'))
  chmodSync(keyFile, 0o640)
  t.throws(() => loadIdentityKey(keyFile), { code: 'REFUSED', message: /chmod 600/ })

  const other = join(dir, 'other.key')
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kinds = [privateKey.export({ type: 'pkcs8', format: 'pem' }), 'not a key', '', readFileSync(pinFile)]
  for (const content of kinds) {
    writeFileSync(other, content, { mode: 0o600 })
    t.throws(() => loadIdentityKey(other), { code: 'REFUSED', party: 'self', message: /no Ed25519 private key/ })
  }
  t.end()
})

t.test('a pin has one spelling', (t) => {
  const dir = t.testdir()
  const { keyFile, pin } = createIdentityFile(join(dir, 'identity.key'))
  const zeros = `ed25519:${Buffer.alloc(32).toString('base64')}`
  t.equal(readIdentityPin(zeros).length, 32)
  const trailingBits = `${zeros.slice(0, -2)}B=`
  const wrong = ['ed25519:', `${pin}=`, pin.slice(0, -1), pin.replace(':', ': '), `${pin}\n`, trailingBits]
  wrong.push(`ed25519:${Buffer.alloc(31).toString('base64')}`, `ed25519:${Buffer.alloc(33).toString('base64')}`)
  for (const text of wrong) {
    t.throws(() => readIdentityPin(text), { code: 'IDENTITY_DENIED', party: 'self' }, JSON.stringify(text))
  }
  const file = join(dir, 'wrong.pub')
  for (const content of ['', pin.toUpperCase(), `${pin}\n${pin}\n`, 'x25519:AAAA', readFileSync(keyFile, 'utf8')]) {
    writeFileSync(file, content)
    const error = t.throws(() => readIdentityPin(file), { code: 'IDENTITY_DENIED', party: 'self' })
    t.notMatch(JSON.stringify(error), 'PRIVATE KEY')
  }
  t.throws(() => readIdentityPin(join(dir, 'absent.pub')), { code: 'REFUSED', message: /no such file/ })
  chmodSync(file, 0o666)
  t.throws(() => readIdentityPin(file), { code: 'REFUSED', message: /chmod o-w/ })
  t.end()
})
