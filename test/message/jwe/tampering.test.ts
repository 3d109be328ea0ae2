import { createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { CompactEncrypt, compactDecrypt } from 'jose'
import t from 'tap'
import { encodeMap } from '../../../lib/frames/index.ts'
import {
  newSealingKey,
  openAnswer,
  openRequest,
  readSealedHeader,
  type SealingKey,
  type SealingKeyKind,
  sealAnswer,
  sealingJwk,
  sealingKeyOf,
  sealRequest,
} from '../../../lib/message/jwe/index.ts'

const context = { bankCode: '044', method: 'transfer', idempotencyKey: 'k-1' }
const PAYLOAD = Buffer.from('the payload of an app')
const NOW_MS = 1_800_000_000_000

const keys: Record<SealingKeyKind, SealingKey> = {
  x25519: newSealingKey('x25519'),
  p256: newSealingKey('p256'),
  rsa4096: newSealingKey('rsa4096'),
}
const kinds = Object.keys(keys) as SealingKeyKind[]

/** True where it was opened; anything but BAD_REQUEST fails the test. */
async function opens(bytes: Buffer, key: SealingKey, about = context): Promise<boolean> {
  try {
    await openRequest(bytes, { context: about, key })
    return true
  } catch (error) {
    if ((error as { code?: unknown }).code === 'BAD_REQUEST') return false
    throw error
  }
}

/** A sealed request with another header than ours would have. */
function foreign(key: SealingKey, header: Record<string, unknown>): Promise<Buffer> {
  const plaintext = encodeMap({ nonce: randomBytes(16), payload: PAYLOAD, replyKey: sealingJwk(keys.x25519) })
  return new CompactEncrypt(plaintext)
    .setProtectedHeader({
      alg: key.algorithm,
      enc: 'A256GCM',
      kid: key.keyId,
      typ: 'lsx-request+jwe',
      iat: 1,
      ...context,
      ...header,
    } as never)
    .encrypt(key.publicKey)
    .then((jwe) => Buffer.from(jwe))
}

const text = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

t.test('SEC-9 a request is sealed with each kind of key, and the answer to the key inside it', async (t) => {
  for (const kind of kinds) {
    const exchange = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: keys[kind], replyKey: keys[kind] })
    t.notOk(exchange.bytes.includes(PAYLOAD))
    const opened = await openRequest(exchange.bytes, { context, key: keys[kind] })
    t.strictSame(opened.payload, PAYLOAD, kind)
    const answer = await sealAnswer(Buffer.from('an answer'), opened, { status: 0, nowMs: NOW_MS })
    t.equal((await openAnswer(answer, exchange, 0)).toString(), 'an answer')
    t.match(readSealedHeader(answer, 'lsx-response+jwe'), { ...context, status: 0, enc: 'A256GCM' })
  }
})

t.test('SEC-9 no part of a sealed request can be changed', async (t) => {
  for (const kind of kinds) {
    const key = keys[kind]
    const { bytes } = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: key })
    const parts = bytes.toString().split('.')
    let accepted = 0
    let tried = 0
    for (let part = 0; part < parts.length; part++) {
      const original = Buffer.from(parts[part] as string, 'base64url')
      // Each byte of the small parts, and some of the long ones.
      const step = Math.max(1, Math.floor(original.length / 40))
      for (let index = 0; index < original.length; index += step) {
        const changed = Buffer.from(original)
        changed[index] = (changed[index] as number) ^ 0x01
        const jwe = parts.with(part, changed.toString('base64url')).join('.')
        tried++
        if (await opens(Buffer.from(jwe), key)) accepted++
      }
      for (const jwe of [
        parts.with(part, '').join('.'),
        parts.with(part, `${parts[part]}A`).join('.'),
        parts.with(part, `${parts[part]}=`).join('.'),
        parts.with(part, ` ${parts[part]}`).join('.'),
        parts.with(part, (parts[part] as string).slice(0, -1)).join('.'),
        parts.toSpliced(part, 1).join('.'),
        parts.toSpliced(part, 0, parts[part] as string).join('.'),
      ]) {
        tried++
        if (await opens(Buffer.from(jwe), key)) accepted++
      }
    }
    t.equal(accepted, 0, `${kind}: 0 of ${tried}`)
    t.ok(await opens(bytes, key), 'unchanged it opens')
  }
})

t.test('SEC-9 a sealed request opens for its own bank, method and key only, and with no other key', async (t) => {
  const { bytes } = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: keys.x25519 })
  for (const elsewhere of [{ bankCode: '058' }, { method: 'balance' }, { idempotencyKey: 'k-2' }]) {
    t.notOk(await opens(bytes, keys.x25519, { ...context, ...elsewhere }), JSON.stringify(elsewhere))
  }
  for (const other of [newSealingKey('x25519'), keys.p256, keys.rsa4096]) t.notOk(await opens(bytes, other))
  // Renamed to the key that is there, and re-encoded so that the header itself is sound.
  const [, ...rest] = bytes.toString().split('.')
  const other = newSealingKey('x25519')
  const header = JSON.parse(Buffer.from(bytes.toString().split('.')[0] as string, 'base64url').toString())
  const renamed = Buffer.from([text({ ...header, kid: other.keyId }), ...rest].join('.'))
  t.notOk(await opens(renamed, other))
  const moved = Buffer.from([text({ ...header, method: 'balance' }), ...rest].join('.'))
  t.notOk(await opens(moved, keys.x25519, { ...context, method: 'balance' }), 'nor with the header rewritten')
})

t.test('SEC-9 an answer is nobody else`s, of no other request and with no other status', async (t) => {
  const exchange = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: keys.x25519, replyKey: keys.p256 })
  const opened = await openRequest(exchange.bytes, { context, key: keys.x25519 })
  const answer = await sealAnswer(PAYLOAD, opened, { status: 0, nowMs: NOW_MS })
  const refused = { code: 'BAD_REQUEST' }
  await t.rejects(openAnswer(answer, exchange, 1), refused, 'a failure made of an ok')
  await t.rejects(openAnswer(exchange.bytes, exchange, 0), refused, 'the request itself')
  const again = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: keys.x25519, replyKey: keys.p256 })
  await t.rejects(openAnswer(answer, again, 0), refused, 'of an earlier request of the same name')
  const forged = await sealAnswer(PAYLOAD, { ...opened, nonce: Buffer.alloc(16) }, { status: 0, nowMs: NOW_MS })
  await t.rejects(openAnswer(forged, exchange, 0), refused, 'of one who knows the public key only')
  const moved = await sealAnswer(
    PAYLOAD,
    { ...opened, context: { ...context, method: 'balance' } },
    { status: 0, nowMs: NOW_MS },
  )
  await t.rejects(openAnswer(moved, exchange, 0), refused, 'about another method')
  const other = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: keys.x25519 })
  await t.rejects(openAnswer(answer, other, 0), refused, 'to another key')
  t.strictSame(await openAnswer(answer, exchange, 0), PAYLOAD)
})

t.test('SEC-9 no other algorithm than that of the key', async (t) => {
  const secret = createSecretKey(randomBytes(32))
  const shared = { enc: 'A256GCM', typ: 'lsx-request+jwe', iat: 1, ...context }
  const symmetric = (alg: string, key: Parameters<CompactEncrypt['encrypt']>[0], enc = 'A256GCM') =>
    new CompactEncrypt(PAYLOAD)
      .setProtectedHeader({ ...shared, alg, enc, kid: keys.x25519.keyId } as never)
      .encrypt(key)
  const rsa = keys.rsa4096
  const cases: Record<string, [Promise<string | Buffer>, SealingKey]> = {
    dir: [symmetric('dir', secret), keys.x25519],
    A128KW: [symmetric('A128KW', createSecretKey(randomBytes(16))), keys.x25519],
    A256KW: [symmetric('A256KW', secret), keys.x25519],
    A256GCMKW: [symmetric('A256GCMKW', secret), keys.x25519],
    'PBES2-HS256+A128KW': [symmetric('PBES2-HS256+A128KW', secret), keys.x25519],
    'ECDH-ES': [foreign(keys.x25519, { alg: 'ECDH-ES' }), keys.x25519],
    'ECDH-ES+A128KW': [foreign(keys.x25519, { alg: 'ECDH-ES+A128KW' }), keys.x25519],
    'RSA-OAEP': [foreign(rsa, { alg: 'RSA-OAEP' }), rsa],
    'RSA-OAEP-512': [foreign(rsa, { alg: 'RSA-OAEP-512' }), rsa],
    A128GCM: [foreign(keys.x25519, { enc: 'A128GCM' }), keys.x25519],
    'A256CBC-HS512': [foreign(keys.x25519, { enc: 'A256CBC-HS512' }), keys.x25519],
    'the other kind of key': [foreign(rsa, { kid: keys.x25519.keyId }), keys.x25519],
    'P-256 to an X25519 key': [foreign(keys.p256, { kid: keys.x25519.keyId }), keys.x25519],
  }
  for (const [name, [jwe, key]] of Object.entries(cases)) {
    t.notOk(await opens(Buffer.from(await jwe), key), name)
  }
  // jose cannot make these at all: a header that claims them over a body of another.
  const { bytes } = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: rsa })
  const [header, ...rest] = bytes.toString().split('.')
  const fields = JSON.parse(Buffer.from(header as string, 'base64url').toString())
  for (const claim of [
    { alg: 'RSA1_5' },
    { alg: 'none' },
    { alg: 7 },
    { enc: 'none' },
    { zip: 'DEF' },
    { crit: ['exp'], exp: 1 },
    { p2c: 100_000_000, p2s: 'AAAA' },
    { jwk: {} },
    { jku: 'https://keys.example' },
    { x5c: [] },
    { apu: 'AAAA' },
    { b64: false },
    { kid: '' },
    { kid: 7 },
    { typ: 'JWT' },
    { typ: 'lsx-response+jwe' },
    { status: 0 },
    { epk: {} },
    { cty: 'JWT' },
    { idempotencyKey: 'x'.repeat(200) },
    { iat: -1 },
    { iat: '1' },
    { iat: undefined },
  ]) {
    const jwe = Buffer.from([text({ ...fields, ...claim }), ...rest].join('.'))
    t.throws(() => readSealedHeader(jwe, 'lsx-request+jwe'), { code: 'BAD_REQUEST' }, JSON.stringify(claim))
    t.notOk(await opens(jwe, rsa))
  }
  for (const [name, json] of Object.entries({
    'a member twice': `{"alg":"dir",${JSON.stringify(fields).slice(1)}`,
    'no object': '[]',
    'no JSON': '{',
    'a huge one': JSON.stringify({ ...fields, x: 'x'.repeat(5_000) }),
  })) {
    const jwe = Buffer.from([Buffer.from(json).toString('base64url'), ...rest].join('.'))
    t.throws(() => readSealedHeader(jwe, 'lsx-request+jwe'), { code: 'BAD_REQUEST' }, name)
  }
})

t.test('SEC-9 an ephemeral key of low order, or of another curve, opens nothing', async (t) => {
  const { bytes } = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: keys.x25519 })
  const [header, ...rest] = bytes.toString().split('.')
  const fields = JSON.parse(Buffer.from(header as string, 'base64url').toString())
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' })
  for (const epk of [
    { kty: 'OKP', crv: 'X25519', x: Buffer.alloc(32).toString('base64url') },
    { kty: 'OKP', crv: 'X25519', x: Buffer.alloc(32, 1).fill(0, 1).toString('base64url') },
    { kty: 'OKP', crv: 'Ed25519', x: fields.epk.x },
    { kty: 'EC', crv: 'P-256', x: p256.x, y: p256.y },
    { kty: 'EC', crv: 'P-384', x: p256.x, y: p256.y },
    { ...fields.epk, d: fields.epk.x },
    { ...fields.epk, x: 'short' },
    null,
    [],
  ]) {
    const jwe = Buffer.from([text({ ...fields, epk }), ...rest].join('.'))
    t.notOk(await opens(jwe, keys.x25519), JSON.stringify(epk))
  }
})

t.test('SEC-9 weak keys are refused before anything is sealed to them', async (t) => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  t.throws(() => sealingKeyOf(weak.privateKey), { code: 'REFUSED' })
  t.equal(sealingKeyOf(weak.privateKey, 2_048).algorithm, 'RSA-OAEP-256', 'unless that was asked for')
  for (const key of [
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    generateKeyPairSync('ed25519'),
    generateKeyPairSync('x448'),
  ]) {
    t.throws(() => sealingKeyOf(key.privateKey), { code: 'REFUSED' })
  }
  const inside = { nonce: randomBytes(16), payload: PAYLOAD, replyKey: { ...weak.publicKey.export({ format: 'jwk' }) } }
  const jwe = await new CompactEncrypt(encodeMap(inside))
    .setProtectedHeader({
      alg: keys.x25519.algorithm,
      enc: 'A256GCM',
      kid: keys.x25519.keyId,
      typ: 'lsx-request+jwe',
      iat: 1,
      ...context,
    })
    .encrypt(keys.x25519.publicKey)
  t.notOk(await opens(Buffer.from(jwe), keys.x25519), 'nor an answer to one')
})

t.test('SEC-9 jose opens what we seal, by the standard alone', async (t) => {
  for (const kind of kinds) {
    const { bytes } = await sealRequest(PAYLOAD, { context, nowMs: NOW_MS, bankKey: keys[kind] })
    const { plaintext, protectedHeader } = await compactDecrypt(bytes, keys[kind].privateKey)
    t.ok(Buffer.from(plaintext).includes(PAYLOAD))
    t.equal(protectedHeader.kid, keys[kind].keyId)
  }
  t.ok(await opens(await foreign(keys.p256, {}), keys.p256), 'and we what jose seals')
})
