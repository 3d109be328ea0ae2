import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, mkdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  createSigningKeyFiles,
  KeyDirectory,
  loadSigningKey,
  publicJwk,
  type SigningKey,
  signingKey,
} from '../../../lib/message/jws/index.ts'
import { type LogLine, recordingLogger } from '../../support/channel-log.ts'
import { smallOrderPoints } from '../../support/edwards25519.ts'
import { newKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function put(dir: string, key: SigningKey, changes: Record<string, unknown> = {}): string {
  mkdirSync(join(dir, key.party), { recursive: true })
  const file = join(dir, key.party, `${key.keyId}.json`)
  writeFileSync(file, JSON.stringify({ ...publicJwk(key.privateKey, key), ...changes }))
  return file
}

function open(dir: string) {
  const clock = new VirtualClock()
  const lines: LogLine[] = []
  const logger = recordingLogger(lines)
  const directory = new KeyDirectory({ path: dir, clock, logger, pollMs: 1_000 })
  return { clock, lines, directory }
}

/** One look for changes, to its end. */
async function look(clock: VirtualClock, directory: KeyDirectory): Promise<void> {
  await clock.advance(1_000)
  await directory.looked
}

t.test('SEC-3 keys are found by party and key id, and never under another party', async (t) => {
  const dir = t.testdir()
  const [ls, bank] = [newKey('ls'), newKey('044', 'ES256')]
  put(dir, ls)
  put(dir, bank, { nbf: 1_700_000_000, exp: 1_800_000_000 })
  writeFileSync(join(dir, 'README.md'), 'not a party')
  writeFileSync(join(dir, 'ls', 'notes.txt'), 'not a key')
  const { directory } = open(dir)
  t.match(directory.find('ls', ls.keyId), { party: 'ls', algorithm: 'EdDSA', notAfterMs: undefined })
  t.match(directory.find('044', bank.keyId), {
    algorithm: 'ES256',
    notBeforeMs: 1_700_000_000_000,
    notAfterMs: 1_800_000_000_000,
  })
  t.equal(directory.find('044', ls.keyId), undefined)
  t.equal(directory.find('ls', bank.keyId), undefined)
  t.equal(directory.find('constructor', 'name'), undefined)
  t.equal(directory.keysOf('ls').length, 1)
})

t.test('SEC-3 SEC-10 a second key of a party comes and the first one goes while the daemon runs', async (t) => {
  const dir = t.testdir()
  const [first, second] = [newKey('ls'), newKey('ls')]
  const firstFile = put(dir, first)
  const { directory, clock, lines } = open(dir)
  await directory.start()
  t.teardown(() => directory.stop())
  put(dir, second)
  t.equal(directory.find('ls', second.keyId), undefined)
  await look(clock, directory)
  t.ok(directory.find('ls', first.keyId) && directory.find('ls', second.keyId), 'both are in force')
  rmSync(firstFile)
  await look(clock, directory)
  t.equal(directory.find('ls', first.keyId), undefined)
  t.ok(directory.find('ls', second.keyId))
  t.match(
    lines.map(({ facts }) => facts).filter(({ audit }) => audit === true),
    [{ added: [`ls/${second.keyId}`] }, { removed: [`ls/${first.keyId}`] }],
  )
})

t.test('SEC-3 a mistake in the directory changes nothing, is said once, and can be mended', async (t) => {
  const dir = t.testdir()
  const key = newKey('ls')
  const file = put(dir, key)
  const { directory, clock, lines } = open(dir)
  await directory.start()
  writeFileSync(`${file}.tmp`, '{')
  renameSync(`${file}.tmp`, file)
  await look(clock, directory)
  await look(clock, directory)
  t.ok(directory.find('ls', key.keyId), 'the key of before stays in force')
  t.equal(lines.filter(({ level }) => level === 'error').length, 1)
  t.throws(() => directory.reload(), { code: 'REFUSED', party: 'self' })
  const mended = newKey('ls')
  rmSync(file)
  put(dir, mended)
  await look(clock, directory)
  t.ok(directory.find('ls', mended.keyId))
  await directory.stop()
  t.equal(clock.pendingTimers, 0)
})

t.test('SEC-3 the mistake of one party keeps no other from its new key', async (t) => {
  const dir = t.testdir()
  const [ls, bank] = [newKey('ls'), newKey('044')]
  const file = put(dir, ls)
  put(dir, bank)
  const { directory, clock } = open(dir)
  await directory.start()
  t.teardown(() => directory.stop())
  writeFileSync(`${file}.tmp`, '{}')
  renameSync(`${file}.tmp`, file)
  const [next, other] = [newKey('044'), newKey('058')]
  put(dir, next)
  put(dir, other)
  await look(clock, directory)
  t.ok(directory.find('ls', ls.keyId), 'the one with the mistake keeps what it had')
  t.ok(directory.find('044', next.keyId) && directory.find('058', other.keyId))
  rmSync(join(dir, '058'), { recursive: true })
  await look(clock, directory)
  t.equal(directory.find('058', other.keyId), undefined, 'a party that is gone')
  rmSync(dir, { recursive: true })
  await look(clock, directory)
  t.ok(directory.find('044', next.keyId), 'a directory that cannot be read changes nothing')
})

t.test('SEC-3 a file that is written to in place is read again', async (t) => {
  const dir = t.testdir()
  const key = newKey('ls')
  const file = put(dir, key, { exp: 1_900_000_000 })
  const { directory, clock } = open(dir)
  await directory.start()
  t.teardown(() => directory.stop())
  put(dir, key, { exp: 1_600_000_000 })
  const { atime, mtimeMs } = statSync(file)
  utimesSync(file, atime, new Date(mtimeMs + 10))
  await look(clock, directory)
  t.match(directory.find('ls', key.keyId), { notAfterMs: 1_600_000_000_000 })
})

t.test('SEC-3 what is not a strong public key of this name is refused', async (t) => {
  const key = newKey('ls')
  const rsa = (bits: number) => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: bits })
    return publicKey.export({ format: 'jwk' })
  }
  const curve = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' })
  const x25519 = generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })
  const own = key.privateKey.export({ format: 'jwk' })
  const points = smallOrderPoints().map((point) => ({ x: point.toString('base64url') }))
  const cases: Record<string, Record<string, unknown>> = {
    'a private key': { d: own.d },
    'a shared secret': { kty: 'oct', k: 'AAAA' },
    'another kid than the name of the file': { kid: 'other' },
    'no kid': { kid: undefined },
    'for encryption': { use: 'enc' },
    'alg of another type of key': { alg: 'ES256' },
    'alg none': { alg: 'none' },
    'alg HS256': { alg: 'HS256' },
    'RSA without alg': { ...rsa(2_048), alg: undefined },
    'RSA with 1,024 bits': { ...rsa(1_024), alg: 'RS256' },
    'another curve': { ...curve, alg: 'ES256' },
    'an X25519 key': { ...x25519 },
    Ed448: { crv: 'Ed448' },
    'no key at all': { x: undefined },
    'x too short': { x: 'AAAA' },
    'x with padding': { x: `${publicJwk(key.privateKey, key).x}=` },
    'x with other last bits': { x: `${String(publicJwk(key.privateKey, key).x).slice(0, -1)}_` },
    'nbf as text': { nbf: '2026-01-01' },
    'exp in milliseconds': { exp: 1_800_000_000_000 },
    ...Object.fromEntries(points.map((point, index) => [`small-order point ${index}`, point])),
  }
  for (const [name, changes] of Object.entries(cases)) {
    const dir = t.testdir()
    put(dir, key, changes)
    t.throws(() => open(dir), { code: 'REFUSED', party: 'self' }, name)
  }
  for (const text of ['', '[]', 'null', '{"kty":"OKP","kty":"EC"}', '{'.repeat(9)]) {
    const dir = t.testdir({ ls: { 'a.json': text } })
    t.throws(() => open(dir), { code: 'REFUSED', party: 'self' }, JSON.stringify(text))
  }
  const open666 = t.testdir()
  chmodSync(put(open666, key), 0o666)
  t.throws(() => open(open666), /can be changed by anybody/)
  t.throws(() => open(join(open666, 'absent')), { code: 'REFUSED', party: 'self' })
})

t.test('SEC-10 a signing key: made once, readable by its owner only, and found in the directory', async (t) => {
  const dir = t.testdir()
  const options = { keyFile: join(dir, 'jws.key'), directory: join(dir, 'keys'), party: '044' }
  const made = createSigningKeyFiles(options)
  t.equal(statSync(made.keyFile).mode & 0o777, 0o600)
  t.equal(made.publicFile, join(dir, 'keys', '044', `${made.keyId}.json`))
  t.strictSame(createSigningKeyFiles(options), made, 'a second time nothing changes')
  const key = loadSigningKey(made.keyFile, { party: '044' })
  const { directory } = open(join(dir, 'keys'))
  const found = directory.find('044', key.keyId)
  t.equal(found?.algorithm, 'EdDSA')
  chmodSync(made.keyFile, 0o644)
  t.throws(() => loadSigningKey(made.keyFile, { party: '044' }), /open to other users/)
  t.throws(() => createSigningKeyFiles({ ...options, party: '../x' }), { code: 'BAD_REQUEST' })
  writeFileSync(join(dir, 'no.key'), 'nothing', { mode: 0o600 })
  t.throws(() => loadSigningKey(join(dir, 'no.key'), { party: '044' }), { code: 'REFUSED', party: 'self' })
  const weak = generateKeyPairSync('rsa', { modulusLength: 1_024 })
  t.throws(() => signingKey(weak.privateKey, { party: 'ls' }), /2048 to 8192 bits/)
  t.throws(() => signingKey(key.privateKey, { party: 'ls', algorithm: 'RS256' }), /signs with EdDSA only/)
  t.throws(() => signingKey(key.privateKey, { party: 'ls', keyId: '../x' }), /key id/)
  for (const algorithm of ['ES256', 'PS256'] as const) {
    const other = { keyFile: join(dir, `${algorithm}.key`), directory: options.directory, party: '058', algorithm }
    t.equal(createSigningKeyFiles(other).algorithm, algorithm)
  }
})
