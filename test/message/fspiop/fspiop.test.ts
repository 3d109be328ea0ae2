import { createRequire } from 'node:module'
import fc from 'fast-check'
import t from 'tap'
import { canonicalJson, signFspiop, verifyFspiop } from '../../../lib/message/fspiop/index.ts'
import { type JwsAlgorithm, VerificationCache, type VerificationKey } from '../../../lib/message/jws/index.ts'
import { newKey, verificationKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

interface Theirs {
  readonly Jws: {
    readonly signer: new (options: object) => { sign(request: Record<string, unknown>): void }
    readonly validator: new (options: object) => { validate(request: object): boolean }
  }
}

const require = createRequire(import.meta.url)
const { Jws } = require('@mojaloop/sdk-standard-components') as Theirs
const stableStringify = require('safe-stable-stringify') as (value: unknown) => string

const silent = { child: () => silent, debug: () => {}, error: () => {}, isDebugEnabled: false }
const clock = new VirtualClock()
const cache = new VerificationCache({ clock })

const BODY = {
  transferId: 'b51ec534-ee48-4575-b6a9-ead2955b8069',
  payerFsp: 'dfsp-a',
  payeeFsp: 'dfsp-b',
  amount: { currency: 'NGN', amount: '2500.00' },
  ilpPacket: 'AQAAAAAAAADIEHByaXZhdGUucGF5ZWVmc3A=',
  condition: 'HOr22-H3AfTDHrSkPjJtVPRdKouuMkDXTR4ejlQa8Ks',
  expiration: '2026-11-22T12:00:00.000Z',
  extensionList: { extension: [{ key: 'note', value: 'Ünïcode / "quotes" \u0007 and a line\n' }] },
  count: 1.0,
  none: null,
}
const URI = '/transfers/b51ec534-ee48-4575-b6a9-ead2955b8069'
const DATE = 'Sun, 22 Nov 2026 10:00:00 GMT'

function keyOf(algorithm: Extract<JwsAlgorithm, 'RS256' | 'ES256'>) {
  const key = newKey('dfsp-a', algorithm)
  const privatePem = key.privateKey.export({ type: algorithm === 'ES256' ? 'sec1' : 'pkcs8', format: 'pem' }) as string
  const publicPem = verificationKey(key).publicKey.export({ type: 'spki', format: 'pem' }) as string
  return { key, verifier: verificationKey(key), privatePem, publicPem }
}

function ours(request: { headers: object; body: string }, ...keys: VerificationKey[]) {
  return verifyFspiop(
    { headers: request.headers as Record<string, string>, body: Buffer.from(request.body), method: 'post', uri: URI },
    { keys: { keysOf: (party) => keys.filter((key) => key.party === party) }, cache, nowMs: clock.nowMs() },
  )
}

function theirs(request: { headers: object; body: string }, publicPem: string): boolean {
  const validator = new Jws.validator({ validationKeys: { 'dfsp-a': publicPem }, logger: silent })
  return validator.validate({ headers: request.headers, body: JSON.parse(request.body) })
}

function isRefusedByBoth(request: { headers: object; body: string }, verifier: VerificationKey, publicPem: string) {
  let refusals = 0
  for (const verify of [() => ours(request, verifier), () => theirs(request, publicPem)]) {
    try {
      verify()
    } catch {
      refusals++
    }
  }
  return refusals === 2
}

const REQUEST = { method: 'POST', uri: URI, source: 'dfsp-a', destination: 'dfsp-b', date: DATE, body: BODY }

for (const algorithm of ['RS256', 'ES256'] as const) {
  t.test(
    `SEC-7 ${algorithm}: theirs verifies ours, ours verifies theirs, and tampering is refused by both`,
    async (t) => {
      const { key, verifier, privatePem, publicPem } = keyOf(algorithm)
      const signed = signFspiop(REQUEST, key)
      t.ok(theirs(signed, publicPem), 'theirs verifies ours')
      t.match(ours(signed, verifier), {
        source: 'dfsp-a',
        destination: 'dfsp-b',
        body: { transferId: BODY.transferId },
      })

      const request: Record<string, unknown> = {
        method: 'POST',
        uri: `http://127.0.0.1:4000${URI}`,
        headers: { 'fspiop-source': 'dfsp-a', 'fspiop-destination': 'dfsp-b', date: DATE },
        body: { ...BODY },
      }
      new Jws.signer({ signingKey: privatePem, logger: silent }).sign(request)
      const fromThem = { headers: request.headers as Record<string, string>, body: request.body as string }
      t.equal(fromThem.body, signed.body, 'they send the same bytes')
      t.match(ours(fromThem, verifier), { source: 'dfsp-a' }, 'ours verifies theirs')
      const reordered = { ...fromThem, body: JSON.stringify(JSON.parse(fromThem.body), undefined, 2) }
      t.match(ours(reordered, verifier), { source: 'dfsp-a' }, 'also when a gateway has written the body anew')

      const changedBodies = Object.entries({
        'another amount': { ...BODY, amount: { currency: 'NGN', amount: '2500.01' } },
        'a member less': { ...BODY, none: undefined },
        'a member more': { ...BODY, fee: '1' },
        'another payee': { ...BODY, payeeFsp: 'dfsp-c' },
      })
      for (const [who, original] of Object.entries({ ours: signed, theirs: fromThem })) {
        for (const [name, body] of changedBodies) {
          t.ok(isRefusedByBoth({ ...original, body: canonicalJson(body) }, verifier, publicPem), `${who}: ${name}`)
        }
        for (const header of ['fspiop-uri', 'fspiop-http-method', 'fspiop-source', 'fspiop-destination', 'date']) {
          const other = { ...original, headers: { ...original.headers, [header]: 'other' } }
          t.ok(isRefusedByBoth(other, verifier, publicPem), `${who}: another ${header}`)
          const { [header]: _gone, ...less } = original.headers as Record<string, string>
          t.ok(isRefusedByBoth({ ...original, headers: less }, verifier, publicPem), `${who}: without ${header}`)
        }
        const value = JSON.parse((original.headers as Record<string, string>)['fspiop-signature'] ?? '') as Record<
          string,
          string
        >
        const swapped = (signature: Record<string, string>) => ({
          ...original,
          headers: { ...original.headers, 'fspiop-signature': JSON.stringify(signature) },
        })
        const flipped = `${value.signature?.startsWith('A') ? 'B' : 'A'}${value.signature?.slice(1)}`
        t.ok(isRefusedByBoth(swapped({ ...value, signature: flipped }), verifier, publicPem), `${who}: signature`)
        const decoded = JSON.parse(Buffer.from(value.protectedHeader ?? '', 'base64url').toString()) as object
        for (const [name, header] of Object.entries({
          'alg none': { ...decoded, alg: 'none' },
          'alg HS256': { ...decoded, alg: 'HS256' },
          'another URI': { ...decoded, 'FSPIOP-URI': '/transfers/other' },
          'another source': { ...decoded, 'FSPIOP-Source': 'dfsp-c' },
        })) {
          const protectedHeader = Buffer.from(JSON.stringify(header)).toString('base64url')
          t.ok(isRefusedByBoth(swapped({ ...value, protectedHeader }), verifier, publicPem), `${who}: ${name}`)
        }
      }
      const stranger = keyOf(algorithm)
      t.ok(isRefusedByBoth(signed, stranger.verifier, stranger.publicPem), 'the key of another')
    },
  )
}

t.test('SEC-7 what theirs lets pass and ours does not', async (t) => {
  const { key, verifier } = keyOf('RS256')
  const { headers, body } = signFspiop(REQUEST, key)
  const signature = JSON.parse(headers['fspiop-signature'] ?? '') as Record<string, string>
  const header = JSON.parse(Buffer.from(signature.protectedHeader ?? '', 'base64url').toString()) as object
  const signedAs = (members: object) => {
    const protectedHeader = Buffer.from(JSON.stringify(members)).toString('base64url')
    const input = `${protectedHeader}.${Buffer.from(body).toString('base64url')}`
    const value = { protectedHeader, signature: key.sign(Buffer.from(input)).toString('base64url') }
    return { headers: { ...headers, 'fspiop-signature': JSON.stringify(value) }, body }
  }
  t.ok(ours(signedAs(header), verifier))
  const refused = { code: 'SIGNATURE_INVALID' }
  t.throws(() => ours(signedAs({ ...header, crit: ['x'], x: 1 }), verifier), refused, 'an unknown crit')
  t.throws(() => ours(signedAs({ ...header, b64: false, crit: ['b64'] }), verifier), refused, 'b64')
  t.throws(() => ours(signedAs({ ...header, jwk: {} }), verifier), refused, 'an embedded key')
  const put = (value: string) => ({ headers: { ...headers, 'fspiop-signature': value }, body })
  t.throws(() => ours(put(JSON.stringify({ ...signature, signature: `${signature.signature}=` })), verifier), refused)
  t.throws(() => ours(put(JSON.stringify({ ...signature, signature: ` ${signature.signature}` })), verifier), refused)
  t.throws(() => ours(put('{"signature":"AA","signature":"AA","protectedHeader":"AA"}'), verifier), refused)
  t.throws(() => ours(put('x'.repeat(9_000)), verifier), refused)
  t.throws(() => ours({ headers: { ...headers, Date: DATE }, body }, verifier), refused, 'a header that comes twice')
  t.throws(() => ours({ headers, body: `{"a":1,${body.slice(1, -1)},"a":2}` }, verifier), refused, 'a member twice')
  t.throws(() => ours({ headers, body: 'no JSON' }, verifier), refused)
  const otherMethod = { headers, body: Buffer.from(body), method: 'PUT' }
  const otherUri = { headers, body: Buffer.from(body), uri: '/quotes' }
  for (const request of [otherMethod, otherUri])
    t.throws(() => verifyFspiop(request, { keys: { keysOf: () => [verifier] }, cache, nowMs: 0 }), refused)
  t.throws(() => signFspiop(REQUEST, newKey('dfsp-a')), { code: 'BAD_REQUEST' }, 'EdDSA is not for Mojaloop')
})

t.test('SEC-7 of two keys of a party each serves in its time', async (t) => {
  const [old, next] = [keyOf('RS256'), keyOf('RS256')]
  const signed = signFspiop(REQUEST, old.key)
  t.equal(ours(signed, next.verifier, old.verifier).key.keyId, old.key.keyId)
  const over = verificationKey(old.key, { notAfterMs: clock.nowMs() - 1_000 })
  t.throws(() => ours(signed, over, next.verifier), { code: 'SIGNATURE_INVALID' })
})

t.test('SEC-7 canonical JSON is that of their components', async (t) => {
  const json = fc.jsonValue({ maxDepth: 5 })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(json, (value) => {
        const parsed: unknown = JSON.parse(JSON.stringify(value))
        return canonicalJson(parsed) === stableStringify(parsed)
      }),
    ),
  )
  t.equal(
    canonicalJson({ b: 1.0, a: 'é/\u2028', '10': [], '2': {}, c: undefined }),
    '{"10":[],"2":{},"a":"é/\u2028","b":1}',
  )
  for (const value of [Number.NaN, 1n, () => {}, new Date(0), { a: Symbol('x') }, undefined])
    t.throws(() => canonicalJson(value), { code: 'BAD_REQUEST' })
  let deep: unknown = 0
  for (let level = 0; level < 70; level++) deep = [deep]
  t.throws(() => canonicalJson(deep), { code: 'BAD_REQUEST' })
})
