import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createIdentityFile, formatIdentityPin, identityPublicKey, loadIdentityKey } from '../../lib/certs/index.ts'
import { identityKind, KeyRing, type RotationStep } from '../../lib/keys/index.ts'
import { storeKeyKind } from '../../lib/store/index.ts'
import { DIST } from '../support/once.ts'

const DAY_MS = 86_400_000
const OVERLAP_MS = 7 * DAY_MS
const NOW_MS = 1_800_000_000_000

function identity(t: Test) {
  const dir = t.testdir({})
  const file = join(dir, 'identity.key')
  const { pin } = createIdentityFile(file)
  return { dir, file, pin, ring: new KeyRing({ file, kind: identityKind, overlapMs: OVERLAP_MS }) }
}

const pinOf = (file: string) => formatIdentityPin(identityPublicKey(loadIdentityKey(file)))
const states = (ring: KeyRing) => ring.look().map(({ state }) => state)

t.test('SEC-10 a key is rotated: next, active, retired, gone', async (t) => {
  const { dir, file, pin, ring } = identity(t)
  t.match(ring.look(), [{ state: 'active', publicText: pin, retireAtMs: undefined }])
  const next = ring.prepare(NOW_MS)
  t.match(next, { state: 'next', activeFromMs: undefined, createdAtMs: Number })
  t.equal(pinOf(file), pin, 'the active key is as it was')
  t.equal(readFileSync(join(dir, 'identity.next.pub'), 'utf8'), `${next.publicText}\n`, 'its pin can be given away')
  t.equal(ring.prepare(NOW_MS + 1).keyId, next.keyId, 'asked for twice, it is the same one')

  const active = ring.activate(NOW_MS + DAY_MS)
  t.match(active, { keyId: next.keyId, state: 'active', activeFromMs: NOW_MS + DAY_MS })
  t.equal(pinOf(file), next.publicText)
  t.equal(readFileSync(join(dir, 'identity.pub'), 'utf8'), `${next.publicText}\n`)
  t.notOk(existsSync(join(dir, 'identity.next.pub')))
  const [, retired] = ring.look()
  t.match(retired, { state: 'retired', publicText: pin, retireAtMs: NOW_MS + DAY_MS + OVERLAP_MS })
  t.strictSame(ring.removeRetired(NOW_MS + OVERLAP_MS), [], 'kept for the overlap')
  t.strictSame(
    ring.removeRetired(NOW_MS + 9 * DAY_MS, () => false),
    [],
    'and for as long as something needs it',
  )
  t.match(ring.removeRetired(NOW_MS + 9 * DAY_MS), [{ publicText: pin }])
  t.strictSame(states(ring), ['active'])
  const oldPin = readdirSync(dir).find((name) => /^identity\.old-.*\.pub$/.test(name)) ?? ''
  t.equal(readFileSync(join(dir, oldPin), 'utf8'), `${pin}\n`, 'its pin stays: the audit log is verified with it')
  t.strictSame(readdirSync(dir).sort(), ['identity.key', 'identity.keys.json', oldPin, 'identity.pub'])
})

t.test('SEC-10 the manifest has the times and no secret, and every key file is its owner’s alone', async (t) => {
  const { dir, ring } = identity(t)
  ring.prepare(NOW_MS)
  ring.activate(NOW_MS)
  ring.prepare(NOW_MS, NOW_MS + DAY_MS)
  for (const name of readdirSync(dir).filter((file) => file.endsWith('.key')))
    t.equal(statSync(join(dir, name)).mode & 0o777, 0o600, name)
  const text = readFileSync(ring.manifestFile, 'utf8')
  t.match(JSON.parse(text), {
    version: 1,
    keys: [
      { state: 'active', activeFrom: '2027-01-15T08:00:00.000Z' },
      { state: 'next', activeFrom: '2027-01-16T08:00:00.000Z' },
      { state: 'retired', retireAt: '2027-01-22T08:00:00.000Z' },
    ],
  })
  for (const { file } of ring.look()) {
    const secret = readFileSync(file, 'utf8').split('\n')[1] ?? ''
    t.ok(secret.length > 40 && !text.includes(secret))
  }
  chmodSync(join(dir, 'identity.next.key'), 0o640)
  t.throws(() => ring.look(), { code: 'REFUSED', message: /open to other users/ }, 'loose permissions are refused')
})

t.test('SEC-10 a manifest that is lost or damaged costs times, never a key', async (t) => {
  const { ring, pin } = identity(t)
  ring.prepare(NOW_MS)
  const { publicText } = ring.activate(NOW_MS)
  for (const text of ['', '{', '{"version":9}', 'null']) {
    writeFileSync(ring.manifestFile, text)
    t.match(ring.look(), [
      { state: 'active', publicText },
      { state: 'retired', publicText: pin },
    ])
  }
  ring.repair(NOW_MS)
  t.match(JSON.parse(readFileSync(ring.manifestFile, 'utf8')).keys, [
    { state: 'active' },
    { state: 'retired', retireAt: String },
  ])
})

t.test('SEC-10 a crash at any step leaves a key that works, and the rotation can be ended', async (t) => {
  const steps: readonly RotationStep[] = [
    'next-made',
    'next-published',
    'active-kept',
    'next-in-place',
    'published',
    'manifest-written',
  ]
  for (const step of steps) {
    const dir = join(t.testdir({}), step)
    mkdirSync(dir)
    const file = join(dir, 'identity.key')
    const { pin } = createIdentityFile(file)
    const crashed = spawnSync(process.execPath, [join(DIST, 'test', 'keys', 'rotating-process.js'), file, step])
    t.equal(crashed.signal, 'SIGKILL', step)
    const ring = new KeyRing({ file, kind: identityKind, overlapMs: OVERLAP_MS })
    const left = ring.look()
    t.equal(left.filter(({ state }) => state === 'active').length, 1, 'one key is active')
    t.ok(
      left.some(({ publicText }) => publicText === pin),
      'the key of before is not lost',
    )
    ring.repair(NOW_MS)
    t.equal(readFileSync(join(dir, 'identity.pub'), 'utf8').trim(), pinOf(file), 'its pin is beside it')
    if (ring.look().every(({ state }) => state !== 'retired')) ring.prepare(NOW_MS)
    if (ring.look().some(({ state }) => state === 'next')) ring.activate(NOW_MS)
    t.strictSame(states(ring), ['active', 'retired'])
    t.not(pinOf(file), pin)
    t.equal(ring.look().find(({ state }) => state === 'retired')?.publicText, pin)
  }
})

t.test('SEC-10 two processes do not rotate one key at a time', async (t) => {
  const { dir, ring } = identity(t)
  const lock = join(dir, 'identity.keys.lock')
  writeFileSync(lock, `${process.ppid}\n`, { mode: 0o600 })
  t.throws(() => ring.prepare(NOW_MS), { code: 'REFUSED', message: /rotates these keys right now/ })
  writeFileSync(lock, '999999999\n', { mode: 0o600 })
  t.ok(ring.prepare(NOW_MS), 'the lock of a process that is gone is taken over')
  t.notOk(existsSync(lock))
})

t.test('SEC-10 what cannot be rotated says so', async (t) => {
  const { ring } = identity(t)
  t.throws(() => ring.activate(NOW_MS), { code: 'REFUSED', message: /no next key/ })
  const none = new KeyRing({ file: join(t.testdir({}), 'store.key'), kind: storeKeyKind, overlapMs: 1 })
  t.strictSame(none.look(), [])
  t.throws(() => none.prepare(NOW_MS), { code: 'REFUSED', message: /no key/ })
})
