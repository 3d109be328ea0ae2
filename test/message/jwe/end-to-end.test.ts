import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type LsClient, restoreSealedRequest, type SealedRequest, sealRequest } from '../../../lib/ipc/index.ts'
import { createSealingKeyFiles, newSealingKey, readSealingPublicKey } from '../../../lib/message/jwe/index.ts'
import { TestBed } from '../../support/daemons.ts'

const MARK = 'account-0123456789-secret-marker'
const PAYLOAD = { note: MARK }

/** LS and bank 044, with two sealing keys; `echo` takes plain and sealed payloads, `pid` sealed ones only. */
async function start(t: Test) {
  const bed = await TestBed.create({ banks: [{ code: '044', dial: 'ls' }] })
  t.teardown(() => bed.stop())
  const files = [
    createSealingKeyFiles(join(bed.dir, 'sealing.key'), 'x25519'),
    createSealingKeyFiles(join(bed.dir, 'older.key'), 'p256'),
  ] as const
  const keyFiles = files.map(({ keyFile }) => keyFile)
  const node = await bed.startXchange('044', { config: { sealing: { keyFiles, requiredMethods: ['pid'] } } })
  const ls = await bed.startLs()
  await ls.connected('044')
  const [bankKey, olderKey] = files.map(({ publicFile }) => readSealingPublicKey(publicFile))
  if (bankKey === undefined || olderKey === undefined) throw new Error('no keys')
  return { bed, node, ls, bankKey, olderKey, app: await ls.connectApp() }
}

/** As LS passes it on: nothing is opened. */
function raw(app: LsClient, sealed: SealedRequest, fields: { method?: string; key?: string; bytes?: Buffer } = {}) {
  const { method = sealed.method, key = sealed.key, bytes = sealed.bytes } = fields
  return app.request({ to: '044', method, key, payloadBytes: bytes, type: 'application/jose' })
}

t.test('SEC-9 an app and its bank speak without LS being able to read them', async (t) => {
  const { bed, ls, node, app, bankKey, olderKey } = await start(t)
  for (const key of [bankKey, olderKey]) {
    const reply = await app.request({ to: '044', method: 'echo', payload: PAYLOAD, seal: { bankKey: key } })
    t.match(reply, { outcome: 'answered', code: undefined, payload: PAYLOAD }, key.algorithm)
  }
  const sealed = await sealRequest({ to: '044', method: 'echo', payload: PAYLOAD, bankKey })
  const reply = await app.request({ sealed, durable: true })
  t.match(reply, { outcome: 'answered', payload: PAYLOAD })

  // All that LS has of it: the journal's record, its files and its log.
  const { record } = (await ls.admin('request-show', { key: sealed.key })) as { record: Record<string, Buffer> }
  t.ok(record.payload?.equals(sealed.bytes))
  for (const bytes of [record.payload, record.response]) t.notOk(bytes?.includes(MARK))
  t.notOk(JSON.stringify([ls.log.lines, node.log.lines]).includes(MARK))
  const store = join(bed.dir, 'ls', 'store')
  const names = readdirSync(store).filter((name) => name.endsWith('.mdb'))
  t.ok(names.length > 0)
  for (const name of names) t.notOk(readFileSync(join(store, name)).includes(MARK), name)

  const seen = await raw(app, sealed)
  t.match(seen, { outcome: 'answered', type: 'application/jose', payload: undefined })
  t.notOk(seen.payloadBytes?.includes(MARK))

  t.test('and nobody else opens the answer', async (t) => {
    t.match((await sealed.open(seen)).payload, PAYLOAD)
    const other = await sealRequest({ to: '044', method: 'echo', payload: PAYLOAD, bankKey, key: sealed.key })
    t.match(await other.open(seen), { outcome: 'in-doubt', payload: undefined }, 'not even with the same words')
    const claims = [
      { ...seen, code: 'HANDLER_FAILED' },
      { ...seen, type: undefined },
      { ...seen, payloadBytes: undefined },
      { ...seen, payloadBytes: sealed.bytes },
    ]
    for (const claim of claims) t.match(await sealed.open(claim), { outcome: 'in-doubt', payloadBytes: undefined })
  })
})

t.test('SEC-9 a repetition sends the same bytes, also after a crash of the app', async (t) => {
  const { app, bankKey } = await start(t)
  const sealed = await sealRequest({ to: '044', method: 'pid', payload: {}, bankKey })
  const first = await app.request({ sealed })
  const restored = restoreSealedRequest(JSON.parse(JSON.stringify(sealed.save())))
  const second = await app.request({ sealed: restored })
  t.strictSame([second.outcome, second.payload], ['answered', first.payload])
  t.notMatch(JSON.stringify(sealed), /PRIVATE|nonce|eyJ/)
  const anew = await sealRequest({ to: '044', method: 'pid', payload: {}, bankKey, key: sealed.key })
  t.match(await app.request({ sealed: anew }), { outcome: 'refused', code: 'DUPLICATE_MISMATCH' })
  t.throws(() => restoreSealedRequest({} as never), { code: 'BAD_REQUEST' })
})

t.test('SEC-9 errors of the handler are sealed as well', async (t) => {
  const { app, bankKey } = await start(t)
  const sealed = await sealRequest({ to: '044', method: 'blob', payload: { bytes: 60_000 }, bankKey })
  const seen = await raw(app, sealed)
  t.match(seen, { outcome: 'answered', type: 'application/jose' })
  t.match(await sealed.open(seen), { outcome: 'answered', code: 'HANDLER_FAILED', payload: { code: 'TOO_LARGE' } })
  const fits = await app.request({ to: '044', method: 'blob', payload: { bytes: 40_000 }, seal: { bankKey } })
  t.match(fits, { outcome: 'answered', code: undefined })
})

t.test('SEC-9 what cannot be opened is refused, runs nothing, and is noted', async (t) => {
  const { app, node, bankKey } = await start(t)
  const refused = { outcome: 'refused', code: 'BAD_REQUEST' }
  const sealed = await sealRequest({ to: '044', method: 'echo', payload: PAYLOAD, bankKey })
  const tampered = Buffer.from(sealed.bytes)
  tampered[tampered.length - 40] = tampered.at(-40) === 0x41 ? 0x42 : 0x41
  const cases = {
    'under another method': raw(app, sealed, { method: 'slow' }),
    'under another key': raw(app, sealed, { key: 'another' }),
    'changed on the way': raw(app, sealed, { bytes: tampered }),
    'no JWE': raw(app, sealed, { bytes: Buffer.from('no JWE at all'), key: 'k-1' }),
    'for a key that the bank does not have': app.request({
      to: '044',
      method: 'echo',
      payload: PAYLOAD,
      seal: { bankKey: newSealingKey('x25519') },
    }),
    'for another bank': sealRequest({ to: '058', method: 'echo', payload: PAYLOAD, bankKey, key: 'k-2' }).then(
      (other) => raw(app, other, { key: 'k-2' }),
    ),
    'plain, where it must be sealed': app.request({ to: '044', method: 'pid', payload: {} }),
  }
  let count = 0
  for (const [name, reply] of Object.entries(cases)) {
    t.match(await reply, refused, name)
    count++
  }
  const noted = node.log.all({ audit: true, code: 'BAD_REQUEST' })
  t.equal(noted.length, count)
  t.notOk(JSON.stringify(noted).includes(sealed.bytes.toString()))
  // The key was not used up: nothing was begun under it.
  t.match(await app.request({ sealed }), { outcome: 'answered', payload: PAYLOAD })
})

t.test(
  'SEC-9 keys are replaced without a restart: the node opens with either, then with the new one only',
  async (t) => {
    const { bed, app, node, bankKey, olderKey } = await start(t)
    const inFlight = await sealRequest({ to: '044', method: 'pid', payload: {}, bankKey: olderKey })
    const first = await app.request({ sealed: inFlight })
    t.equal(first.outcome, 'answered')
    const config = JSON.parse(readFileSync(node.configFile, 'utf8'))
    config.sealing.keyFiles = [join(bed.dir, 'sealing.key')]
    writeFileSync(node.configFile, JSON.stringify(config))
    await node.reload()
    t.match(await app.request({ to: '044', method: 'echo', payload: 1, seal: { bankKey } }), { payload: 1 })
    const late = await app.request({ to: '044', method: 'echo', payload: 1, seal: { bankKey: olderKey } })
    t.match(late, { outcome: 'refused', code: 'BAD_REQUEST' })
    const repeated = await app.request({ sealed: inFlight })
    t.strictSame([repeated.outcome, repeated.payload], ['answered', first.payload], 'stored answers need no key')
  },
)
