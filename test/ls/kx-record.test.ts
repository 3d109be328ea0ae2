import crypto, { type KeyObject } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { validateKxRecord } from '../../lib/ls/kx-record.ts'
import { openStore } from '../../lib/store/index.ts'
import { KX_MS, SwitchHarness } from './switch-harness.ts'

const RECORD = {
  bankCode: '044',
  sessionId: 'ab'.repeat(16),
  state: 'connected',
  status: 1 as const,
  lsStatic: '01'.repeat(32),
  xchangeStatic: '02'.repeat(32),
  xchangeIdentity: '03'.repeat(32),
  epoch: 1,
  lastKxAtMs: 1_800_000_000_000,
  kxStarted: 1,
  kxCompleted: 1,
  kxFailed: 0,
}

/** Every secret that the process works with until the test ends: AES keys and X25519 and Ed25519 private keys. */
function secretsInUse(t: Test): Map<string, Buffer> {
  const secrets = new Map<string, Buffer>()
  const keep = (what: string, bytes: Buffer) => secrets.set(`${what} ${secrets.size}`, Buffer.from(bytes))
  const keepKey = (key: unknown) => {
    const { d } = (key as KeyObject).export({ format: 'jwk' })
    if (d !== undefined) keep('private key', Buffer.from(d, 'base64url'))
  }
  const original = { ...crypto }
  const patched = crypto as unknown as Record<string, unknown>
  patched.createCipheriv = (...args: Parameters<typeof crypto.createCipheriv>) => {
    keep('sealing key', args[1] as Buffer)
    return original.createCipheriv(...args)
  }
  patched.createDecipheriv = (...args: Parameters<typeof crypto.createDecipheriv>) => {
    keep('opening key', args[1] as Buffer)
    return original.createDecipheriv(...args)
  }
  patched.diffieHellman = (options: { privateKey: KeyObject; publicKey: KeyObject }) => {
    keepKey(options.privateKey)
    const shared = original.diffieHellman(options)
    keep('shared secret', shared)
    return shared
  }
  patched.sign = (algorithm: undefined, message: Buffer, key: KeyObject) => {
    keepKey(key)
    return original.sign(algorithm, message, key)
  }
  syncBuiltinESMExports()
  t.teardown(() => {
    Object.assign(patched, {
      createCipheriv: original.createCipheriv,
      createDecipheriv: original.createDecipheriv,
      diffieHellman: original.diffieHellman,
      sign: original.sign,
    })
    syncBuiltinESMExports()
  })
  return secrets
}

function filesOf(folder: string): Buffer {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Buffer.concat(files.map((entry) => readFileSync(join(entry.parentPath, entry.name))))
}

/** Where a secret is found, in any usual spelling. */
function found(secrets: ReadonlyMap<string, Buffer>, place: Buffer): string[] {
  return [...secrets]
    .filter(([, secret]) =>
      [
        secret,
        ...(['hex', 'base64', 'base64url'] as const).map((encoding) => Buffer.from(secret.toString(encoding))),
      ].some((spelling) => place.includes(spelling)),
    )
    .map(([what]) => what)
}

t.test(
  'LS-15 the stored record says who, which session and how often, and holds no private or session key',
  async (t) => {
    const secrets = secretsInUse(t)
    const path = join(t.testdir({}), 'store')
    const store = openStore({ path })
    const harness = new SwitchHarness()
    const table = store.table('kx', { validate: validateKxRecord })
    Object.assign(harness.context, { kxRecords: table })
    await harness.apply(harness.bank('044'))
    await harness.connect('044')
    harness.link('044').rekey('operator')
    await harness.clock.advance(KX_MS)
    harness.ask('044')
    await harness.clock.advance(KX_MS)
    const { session, kxRecord } = harness.link('044')
    harness.link('044').drop()
    await harness.clock.advance(KX_MS)
    await store.close()

    const again = openStore({ path })
    const stored = again.table('kx', { validate: validateKxRecord }).get('044')
    await again.close()
    t.strictSame(stored, { ...kxRecord, state: 'idle', status: 0 })
    t.strictSame(kxRecord, {
      bankCode: '044',
      sessionId: session?.sessionId.toString('hex'),
      state: 'connected',
      status: 1,
      lsStatic: harness.context.staticKeys.publicKey.toString('hex'),
      xchangeStatic: session?.peerStatic.toString('hex'),
      xchangeIdentity: harness.node('044').identity.publicKey.toString('hex'),
      epoch: 2,
      lastKxAtMs: session?.establishedAtMs,
      kxStarted: 2,
      kxCompleted: 2,
      kxFailed: 0,
    })

    const bytes = filesOf(path)
    t.ok(bytes.includes(stored?.xchangeStatic ?? 'nothing'), 'what is stored can be found in the bytes')
    t.ok([...secrets.keys()].filter((what) => what.startsWith('private key')).length >= 8, 'private keys were seen')
    t.ok([...secrets.keys()].filter((what) => what.startsWith('sealing key')).length >= 8, 'session keys were seen')
    t.strictSame(found(new Map([['known', Buffer.from(stored?.lsStatic ?? '', 'hex')]]), bytes), ['known'])
    t.strictSame(found(secrets, bytes), [], 'none of them is in the store')
    t.strictSame(found(secrets, Buffer.from(JSON.stringify(harness.log.lines))), [], 'nor in the log')
  },
)

t.test('LS-15 the record follows the link: in memory and in the store, before and after', async (t) => {
  const harness = new SwitchHarness()
  await harness.apply(harness.bank('044'))
  t.equal(harness.link('044').kxRecord, undefined, 'no kx yet, no record')
  await harness.connect('044')
  t.match(harness.kxRecords.get('044'), { state: 'connected', status: 1, epoch: 1, kxStarted: 1, kxCompleted: 1 })
  t.strictSame(harness.link('044').kxRecord, harness.kxRecords.get('044'))
  const { sessionId, lastKxAtMs } = harness.link('044').kxRecord ?? {}
  harness.link('044').drop()
  await harness.clock.advance(1_000)
  t.match(
    harness.kxRecords.get('044'),
    { state: 'idle', status: 0, sessionId, lastKxAtMs },
    'the last session stays named',
  )
  const impostor = harness.newNode('044')
  harness.dial('044', impostor)
  await harness.clock.advance(KX_MS)
  t.match(harness.kxRecords.get('044'), { status: 0, sessionId, kxStarted: 2, kxCompleted: 1, kxFailed: 1 })
})

t.test(
  'LS-15 after a restart the last record is there again; that the bank is connected is not believed of it',
  async (t) => {
    const harness = new SwitchHarness()
    harness.kxRecords.values.set('044', RECORD)
    await harness.apply(harness.bank('044'))
    t.strictSame(harness.link('044').kxRecord, { ...RECORD, state: 'idle', status: 0 })
  },
)

t.test('a record of another form is not served', async (t) => {
  t.strictSame(validateKxRecord({ ...RECORD }), RECORD)
  t.throws(() => validateKxRecord(null), { code: 'INTERNAL' })
  t.throws(() => validateKxRecord('text'), { code: 'INTERNAL' })
  for (const field of Object.keys(RECORD)) {
    t.throws(() => validateKxRecord({ ...RECORD, [field]: undefined }), { code: 'INTERNAL' }, `without ${field}`)
    t.throws(() => validateKxRecord({ ...RECORD, [field]: true }), { code: 'INTERNAL' }, `with another ${field}`)
  }
})
