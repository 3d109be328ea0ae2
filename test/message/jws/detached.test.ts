import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { CompactSign, compactVerify, exportJWK } from 'jose'
import t from 'tap'
import {
  detachedJws,
  JWS_ALGORITHMS,
  parseDetachedJws,
  publicJwk,
  type SigningKey,
  signingKey,
  VerificationCache,
  type VerificationKey,
  verifyDetachedJws,
} from '../../../lib/message/jws/index.ts'
import { newKey, verificationKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const PAYLOAD = Buffer.from('{"amount":"100.00"}')
const clock = new VirtualClock()
const cache = new VerificationCache({ clock })

function isAccepted(jws: string, key: VerificationKey, options: { payload?: Buffer; atMs?: number } = {}): boolean {
  const { payload = PAYLOAD, atMs = clock.nowMs() } = options
  try {
    verifyDetachedJws(parseDetachedJws(jws), { payload, key, cache, atMs })
    return true
  } catch (error) {
    t.match(error, { code: 'SIGNATURE_INVALID', name: 'LsxError' })
    return false
  }
}

const base64url = (text: string | Buffer) => Buffer.from(text as string).toString('base64url')

/** A JWS with any header text, signed properly with the key. */
function signedAs(key: SigningKey, headerText: string | Buffer): string {
  const header = base64url(headerText)
  return `${header}..${base64url(key.sign(Buffer.from(`${header}.${base64url(PAYLOAD)}`)))}`
}

for (const algorithm of JWS_ALGORITHMS) {
  t.test(`SEC-3 ${algorithm}: ours is verified by jose, and that of jose by us`, async (t) => {
    const key = newKey('ls', algorithm)
    const verifier = verificationKey(key)
    const jws = detachedJws(PAYLOAD, { typ: 'test', party: 'ls' }, key)
    t.ok(isAccepted(jws, verifier))
    const [header, , signature] = jws.split('.')
    const { protectedHeader } = await compactVerify(`${header}.${base64url(PAYLOAD)}.${signature}`, verifier.publicKey)
    t.match(protectedHeader, { alg: algorithm, kid: key.keyId, party: 'ls' })

    const theirs = await new CompactSign(PAYLOAD)
      .setProtectedHeader({ alg: algorithm, kid: key.keyId })
      .sign(key.privateKey)
    const [theirHeader, , theirSignature] = theirs.split('.')
    const detached = `${theirHeader}..${theirSignature}`
    t.ok(isAccepted(detached, verifier))
    t.notOk(isAccepted(detached, verifier, { payload: Buffer.from('{"amount":"900.00"}') }), 'another payload')
    t.notOk(isAccepted(theirs, verifier), 'with the payload inside it is no detached JWS')
    t.strictSame(publicJwk(key.privateKey, key).x, (await exportJWK(verifier.publicKey)).x)
  })
}

t.test('SEC-3 the abuse list: 0 accepted', async (t) => {
  const key = newKey('ls')
  const verifier = verificationKey(key)
  const good = detachedJws(PAYLOAD, {}, key)
  t.ok(isAccepted(good, verifier), 'as it came')
  const [header = '', , signature = ''] = good.split('.')
  const plain = { alg: 'EdDSA', kid: key.keyId }
  const publicPem = verifier.publicKey.export({ type: 'spki', format: 'pem' })
  const publicRaw = verifier.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  const stranger = generateKeyPairSync('ed25519')
  const strangerKey = signingKey(stranger.privateKey, { party: 'ls', keyId: key.keyId })
  const hs256 = (secret: string | Buffer) => {
    const encoded = base64url(JSON.stringify({ alg: 'HS256', kid: key.keyId }))
    const mac = createHmac('sha256', secret)
      .update(`${encoded}.${base64url(PAYLOAD)}`)
      .digest('base64url')
    return `${encoded}..${mac}`
  }
  const withMember = (member: Record<string, unknown>) => signedAs(key, JSON.stringify({ ...plain, ...member }))
  // The last character of 64 bytes holds 2 bits that mean nothing: two spellings of one signature.
  const lastBits =
    signature.slice(0, -1) + 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[('AQgw'.indexOf(signature.at(-1) ?? '') + 1) * 5]
  const abuses: Record<string, string> = {
    'alg none, without signature': `${base64url(JSON.stringify({ alg: 'none', kid: key.keyId }))}..`,
    'alg none, with the signature': `${base64url(JSON.stringify({ alg: 'none', kid: key.keyId }))}..${signature}`,
    'alg None': signedAs(key, JSON.stringify({ ...plain, alg: 'None' })),
    'no alg': signedAs(key, JSON.stringify({ kid: key.keyId })),
    'alg of another type': signedAs(key, JSON.stringify({ ...plain, alg: ['EdDSA'] })),
    'HS256 with the public key in PEM as secret': hs256(publicPem),
    'HS256 with the raw public key as secret': hs256(publicRaw),
    'ES256 under an Ed25519 key': signedAs(key, JSON.stringify({ ...plain, alg: 'ES256' })),
    'RS256 under an Ed25519 key': signedAs(key, JSON.stringify({ ...plain, alg: 'RS256' })),
    'no kid': signedAs(key, JSON.stringify({ alg: 'EdDSA' })),
    'another kid': signedAs(key, JSON.stringify({ ...plain, kid: 'other' })),
    'the key of a stranger, who says that it is this one': detachedJws(PAYLOAD, {}, strangerKey),
    'an embedded jwk': detachedJws(PAYLOAD, { jwk: stranger.publicKey.export({ format: 'jwk' }) }, strangerKey),
    'an embedded jwk of the right key': withMember({ jwk: publicJwk(key.privateKey, key) }),
    jku: withMember({ jku: 'https://127.0.0.1/keys' }),
    x5u: withMember({ x5u: 'https://127.0.0.1/cert' }),
    x5c: withMember({ x5c: ['MIIB'] }),
    x5t: withMember({ x5t: 'AA' }),
    'x5t#S256': withMember({ 'x5t#S256': 'AA' }),
    'an unknown crit': withMember({ crit: ['exp'], exp: 1 }),
    'an empty crit': withMember({ crit: [] }),
    'b64 false': withMember({ b64: false, crit: ['b64'] }),
    'b64 false without crit': withMember({ b64: false }),
    'b64 true': withMember({ b64: true }),
    zip: withMember({ zip: 'DEF' }),
    enc: withMember({ enc: 'A256GCM' }),
    'a space in front': ` ${good}`,
    'a newline behind': `${good}\n`,
    'a space in the signature': `${header}..${signature.slice(0, 4)} ${signature.slice(4)}`,
    'a newline in the header': `${header.slice(0, 4)}\n${header.slice(4)}..${signature}`,
    padding: `${good}==`,
    'padding of the header': `${header}==..${signature}`,
    'other last bits of the signature': `${header}..${lastBits}`,
    'standard base64': `${header}..${signature.slice(0, -2)}+/`,
    'a character too many': `${good}A`,
    'a character too few': good.slice(0, -1),
    'no signature': `${header}..`,
    'no header': `..${signature}`,
    'one part': header,
    'two parts': `${header}.${signature}`,
    'four parts': `${good}.${signature}`,
    'five parts': `${good}..`,
    'content that is not detached': `${header}.${base64url(PAYLOAD)}.${signature}`,
    'a header that is no object': signedAs(key, '[]'),
    'a header that is text': signedAs(key, '"alg"'),
    'a header that is null': signedAs(key, 'null'),
    'a header that is no JSON': signedAs(key, '{alg:"EdDSA"}'),
    'a header with bytes behind it': signedAs(key, `${JSON.stringify(plain)}x`),
    'a header that is not UTF-8': signedAs(
      key,
      Buffer.concat([Buffer.from('{"alg":"EdDSA","kid":"'), Buffer.from([0xff]), Buffer.from('"}')]),
    ),
    'alg twice': signedAs(key, `{"alg":"none","alg":"EdDSA","kid":"${key.keyId}"}`),
    'kid twice, once in escapes': signedAs(key, `{"alg":"EdDSA","\\u006bid":"other","kid":"${key.keyId}"}`),
    'a member twice further down': signedAs(key, `{"alg":"EdDSA","kid":"${key.keyId}","a":{"b":1,"b":2}}`),
    __proto__: signedAs(key, `{"alg":"EdDSA","kid":"${key.keyId}","__proto__":{"b64":false}}`),
    'much too long': withMember({ more: 'x'.repeat(9_000) }),
    empty: '',
  }
  let accepted = 0
  for (const [name, jws] of Object.entries(abuses)) {
    const isIn = isAccepted(jws, verifier)
    if (isIn) accepted++
    t.notOk(isIn, name)
  }
  t.equal(accepted, 0)
  t.ok(isAccepted(withMember({ cty: 'json', 'urn:example': { a: ['"}', 1] } }), verifier), 'unknown members do no harm')
})

t.test('SEC-3 an algorithm is the property of the key, not of the signature', async (t) => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const rs256 = signingKey(privateKey, { party: 'ls', algorithm: 'RS256' })
  const ps256 = signingKey(privateKey, { party: 'ls', algorithm: 'PS256' })
  t.equal(rs256.keyId, ps256.keyId)
  t.ok(isAccepted(detachedJws(PAYLOAD, {}, ps256), verificationKey(ps256)))
  t.notOk(isAccepted(detachedJws(PAYLOAD, {}, ps256), verificationKey(rs256)))
  const renamed = signedAs(ps256, JSON.stringify({ alg: 'RS256', kid: rs256.keyId }))
  t.notOk(isAccepted(renamed, verificationKey(rs256)))
  const es256 = newKey('ls', 'ES256')
  const header = base64url(JSON.stringify({ alg: 'ES256', kid: es256.keyId }))
  const der = sign('sha256', Buffer.from(`${header}.${base64url(PAYLOAD)}`), es256.privateKey)
  t.notOk(isAccepted(`${header}..${base64url(der)}`, verificationKey(es256)), 'ECDSA in DER is not that of RFC 7518')
})

t.test('SEC-3 a key serves in its time only', async (t) => {
  const key = newKey('ls')
  const jws = detachedJws(PAYLOAD, {}, key)
  const verifier = verificationKey(key, { notBeforeMs: 1_000_000, notAfterMs: 2_000_000 })
  t.ok(isAccepted(jws, verifier, { atMs: 1_000_000 }))
  t.ok(isAccepted(jws, verifier, { atMs: 2_000_000 }))
  t.notOk(isAccepted(jws, verifier, { atMs: 999_999 }))
  t.notOk(isAccepted(jws, verifier, { atMs: 2_000_001 }), 'though the cache knows the signature')
})
