import { constants, createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import t from 'tap'
import { ed25519Jwk } from '../../../lib/message/jwt/ed25519-jwk.ts'
import { BANK, forge, LS, newSigner, TokenParties } from './token-parties.ts'

const NONE = () => Buffer.alloc(0)
const alg = 'EdDSA'
const typ = 'ls-request+jwt'

type Forgery = (parties: TokenParties) => string

const keyOf = (p: TokenParties) => p.lsKeys.current
const nowS = (p: TokenParties) => Math.floor(p.clock.nowMs() / 1_000)
const headerOf = (p: TokenParties) => ({ alg, typ, kid: keyOf(p).kid })
const signed = (p: TokenParties, over: Record<string, unknown>, header: Record<string, unknown> = {}) =>
  forge({ ...headerOf(p), ...header }, p.requestClaims(over), keyOf(p).sign)
const good = (p: TokenParties) => signed(p, {})
const withClaimsText = (p: TokenParties, text: string) => forge(headerOf(p), text, keyOf(p).sign)
const part = (token: string, index: number, change: (text: string) => string) =>
  token
    .split('.')
    .map((text, at) => (at === index ? change(text) : text))
    .join('.')

const ALGORITHMS: Record<string, Forgery> = {
  'alg none': (p) => forge({ ...headerOf(p), alg: 'none' }, p.requestClaims(), NONE),
  'alg none, yet signed': (p) => signed(p, {}, { alg: 'none' }),
  'alg NONE in capitals': (p) => forge({ ...headerOf(p), alg: 'NONE' }, p.requestClaims(), NONE),
  'no signature': (p) => part(good(p), 2, () => ''),
  'HS256 with the public key as secret': (p) => {
    const secret = Buffer.from(keyOf(p).jwk.x, 'base64url')
    const mac = (message: Buffer) => createHmac('sha256', secret).update(message).digest()
    return forge({ ...headerOf(p), alg: 'HS256' }, p.requestClaims(), mac)
  },
  'HS256 with the JWK as secret': (p) => {
    const mac = (message: Buffer) =>
      createHmac('sha256', JSON.stringify(keyOf(p).jwk))
        .update(message)
        .digest()
    return forge({ ...headerOf(p), alg: 'HS256' }, p.requestClaims(), mac)
  },
  'ES256 named, EdDSA made': (p) => signed(p, {}, { alg: 'ES256' }),
  'RS256 by a key of the attacker': (p) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
    const make = (message: Buffer) => sign('sha256', message, privateKey)
    return forge({ ...headerOf(p), alg: 'RS256' }, p.requestClaims(), make)
  },
  'PS256 by a key of the attacker': (p) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
    const pss = { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
    return forge({ ...headerOf(p), alg: 'PS256' }, p.requestClaims(), (message) => sign('sha256', message, pss))
  },
  'no alg': (p) => signed(p, {}, { alg: undefined }),
}

const KEYS_AND_HEADERS: Record<string, Forgery> = {
  'the kid of LS, the key of another': (p) => forge(headerOf(p), p.requestClaims(), newSigner().sign),
  'kid and key of another': (p) => {
    const other = newSigner()
    return forge({ ...headerOf(p), kid: other.kid }, p.requestClaims(), other.sign)
  },
  'kid and key of the bank itself': (p) => {
    const { kid, sign: signWith } = p.bankKeys.current
    return forge({ alg, typ, kid }, p.requestClaims(), signWith)
  },
  'signed by the identity in place of its token key': (p) =>
    forge({ alg, typ, kid: p.lsIdentity.kid }, p.requestClaims(), p.lsIdentity.sign),
  'no kid': (p) => signed(p, {}, { kid: undefined }),
  'empty kid': (p) => signed(p, {}, { kid: '' }),
  'kid of the wrong kind': (p) => signed(p, {}, { kid: 1 }),
  'embedded key (jwk)': (p) => {
    const other = newSigner()
    return forge({ ...headerOf(p), jwk: ed25519Jwk(other.publicKey) }, p.requestClaims(), other.sign)
  },
  'embedded key (jwk) that is the right one': (p) => signed(p, {}, { jwk: keyOf(p).jwk }),
  jku: (p) => signed(p, {}, { jku: 'https://127.0.0.1/keys' }),
  x5u: (p) => signed(p, {}, { x5u: 'https://127.0.0.1/keys' }),
  x5c: (p) => signed(p, {}, { x5c: ['AAAA'] }),
  'crit with an extension': (p) => signed(p, {}, { crit: ['exp'], exp: 1 }),
  'crit, empty': (p) => signed(p, {}, { crit: [] }),
  'b64 false': (p) => signed(p, {}, { b64: false, crit: ['b64'] }),
  'b64 true': (p) => signed(p, {}, { b64: true }),
  'b64 false without crit': (p) => signed(p, {}, { b64: false }),
  zip: (p) => signed(p, {}, { zip: 'DEF' }),
  'no typ': (p) => signed(p, {}, { typ: undefined }),
  'typ JWT': (p) => signed(p, {}, { typ: 'JWT' }),
  'typ of a session token': (p) => signed(p, {}, { typ: 'ls-session+jwt' }),
  'typ of an access token': (p) => signed(p, {}, { typ: 'at+jwt' }),
  'typ with a prefix': (p) => signed(p, {}, { typ: `application/${typ}` }),
  'typ in capitals': (p) => signed(p, {}, { typ: typ.toUpperCase() }),
  'the session token itself': (p) => p.sentByLs.at(-1) ?? '',
}

const CLAIMS: readonly (readonly [string, unknown])[] = [
  ['iss', BANK],
  ['iss', 'spiffe://ls-xchange.test/xchange/058'],
  ['iss', [LS]],
  ['sub', BANK],
  ['sub', ''],
  ['aud', LS],
  ['aud', 'spiffe://ls-xchange.test/xchange/058'],
  ['aud', `${BANK}0`],
  ['aud', [BANK]],
  ['aud', [BANK, LS]],
  ['sid', randomBytes(16).toString('hex')],
  ['sid', ''],
  ['sid', null],
  ['scope', 'balances'],
  ['scope', 'transfers-all'],
  ['scope', 'TRANSFERS'],
  ['scope', ''],
  ['scope', ['transfers']],
  ['jti', ''],
  ['jti', 7],
  ['jti', 'j'.repeat(129)],
  ['key', 'another-key'],
  ['key', ''],
  ['key', null],
  ['exp', '9999999999'],
  ['exp', Number.MAX_SAFE_INTEGER],
  ['iat', '0'],
  ['iat', 0],
  ...['iss', 'sub', 'aud', 'sid', 'scope', 'iat', 'exp', 'jti'].map((name) => [name, undefined] as const),
]

const TIMES: Record<string, Forgery> = {
  expired: (p) => signed(p, { iat: nowS(p) - 400, exp: nowS(p) - 100 }),
  'expired, a second beyond the tolerance': (p) => signed(p, { iat: nowS(p) - 300, exp: nowS(p) - 6 }),
  'nbf in the future': (p) => signed(p, { nbf: nowS(p) + 60 }),
  'nbf of the wrong kind': (p) => signed(p, { nbf: 'now' }),
  'iat in the future': (p) => signed(p, { iat: nowS(p) + 60, exp: nowS(p) + 120 }),
  'exp before iat': (p) => signed(p, { iat: nowS(p), exp: nowS(p) - 1 }),
  'too old, though not expired': (p) => signed(p, { iat: nowS(p) - 4_000, exp: nowS(p) + 60 }),
  'lives too long': (p) => signed(p, { exp: nowS(p) + 100_000 }),
}

const SPELLINGS: Record<string, Forgery> = {
  'a claim twice': (p) =>
    withClaimsText(p, JSON.stringify(p.requestClaims({ scope: 'balances' })).replace('{', '{"scope":"transfers",')),
  'a claim twice, once escaped': (p) =>
    withClaimsText(p, JSON.stringify(p.requestClaims()).replace('{', '{"\\u0073cope":"balances",')),
  'a header parameter twice': (p) =>
    forge(JSON.stringify(headerOf(p)).replace('{', '{"alg":"none",'), p.requestClaims(), keyOf(p).sign),
  '__proto__ as a claim': (p) =>
    withClaimsText(p, JSON.stringify(p.requestClaims()).replace('{', '{"__proto__":{"scope":"transfers"},')),
  'claims that are an array': (p) => withClaimsText(p, '[]'),
  'claims that are null': (p) => withClaimsText(p, 'null'),
  'claims that are no JSON': (p) => withClaimsText(p, '{'),
  'claims nested deeply': (p) => withClaimsText(p, `{"a":${'['.repeat(50)}${']'.repeat(50)}}`),
  'two parts': (p) => good(p).split('.').slice(0, 2).join('.'),
  'four parts': (p) => `${good(p)}.AAAA`,
  'padding at the end': (p) => `${good(p)}==`,
  'padding in the claims': (p) => part(good(p), 1, (text) => `${text}=`),
  'white space': (p) => part(good(p), 1, (text) => ` ${text}`),
  'a line feed at the end': (p) => `${good(p)}\n`,
  'a letter of plain base64': (p) => part(good(p), 2, (text) => `+${text.slice(1)}`),
  // 64 bytes leave four bits of the last letter without a meaning: it is A, Q, g or w, and the next one decodes alike.
  'stray last bits': (p) =>
    part(good(p), 2, (text) => text.slice(0, -1) + String.fromCharCode(text.charCodeAt(text.length - 1) + 1)),
  'one bit of the signature': (p) => part(good(p), 2, (text) => (text[0] === 'A' ? 'B' : 'A') + text.slice(1)),
  'one letter of the claims': (p) => part(good(p), 1, (text) => `${text.slice(0, 40)}A${text.slice(41)}`),
  'the claims of one, the signature of another': (p) =>
    [...good(p).split('.').slice(0, 2), signed(p, { scope: 'balances' }).split('.')[2]].join('.'),
  'over the size limit': (p) => signed(p, { note: 'n'.repeat(5_000) }),
  empty: () => '',
  'dots alone': () => '..',
}

t.test('SEC-8 of all abuses of a request token none is accepted', async (t) => {
  const parties = new TokenParties({ methods: { transfer: {} } }).begin()
  t.teardown(() => parties.stop())
  const right = parties.requests.tokenFor(
    { scope: 'transfers', singleUse: false },
    parties.sessionId.toString('hex'),
    'k',
  )
  t.equal(await parties.present(right), 'accepted', 'what LS makes is right')
  t.equal(await parties.present(good(parties)), 'accepted', 'and so is what the table is made from')
  const claims = CLAIMS.map(([name, value]): [string, Forgery] => [
    `${name}: ${JSON.stringify(value)}`,
    (p) => signed(p, { [name]: value }),
  ])
  const table = [ALGORITHMS, KEYS_AND_HEADERS, TIMES, SPELLINGS].flatMap((group) => Object.entries(group))
  let accepted = 0
  for (const [name, make] of [...table, ...claims]) {
    const token = make(parties)
    for (const again of ['', ', again']) {
      const answer = await parties.present(token)
      if (answer === 'accepted') accepted++
      t.equal(answer, 'TOKEN_INVALID', name + again)
    }
  }
  for (const token of [undefined, null, 7, {}, [right], Buffer.from(right)])
    t.equal(await parties.present(token), 'TOKEN_INVALID', `a token of the type ${typeof token}`)
  t.equal(accepted, 0, `0 of ${table.length + claims.length} accepted`)
  t.equal(await parties.present(right), 'accepted', 'and the right one still is')
})

t.test('SEC-8 of all abuses of a session token none is accepted', async (t) => {
  const typ = 'ls-session+jwt'
  const make = (p: TokenParties, over: Record<string, unknown>, header: Record<string, unknown> = {}) =>
    forge({ alg, typ, kid: p.lsIdentity.kid, ...header }, p.sessionClaims(over), p.lsIdentity.sign)
  const other = newSigner()
  const table: Record<string, Forgery> = {
    'alg none': (p) => forge({ alg: 'none', typ, kid: p.lsIdentity.kid }, p.sessionClaims(), NONE),
    'HS256 with the pinned identity as secret': (p) => {
      const mac = (message: Buffer) => createHmac('sha256', p.lsIdentity.publicKey).update(message).digest()
      return forge({ alg: 'HS256', typ, kid: p.lsIdentity.kid }, p.sessionClaims(), mac)
    },
    'another identity': (p) => forge({ alg, typ, kid: other.kid }, p.sessionClaims(), other.sign),
    'another identity under the kid of LS': (p) =>
      forge({ alg, typ, kid: p.lsIdentity.kid }, p.sessionClaims(), other.sign),
    "the bank's own token, sent back": (p) => p.sentByBank.at(-1) ?? '',
    'signed by the token key, not by the identity': (p) =>
      forge({ alg, typ, kid: p.lsKeys.current.kid }, p.sessionClaims(), p.lsKeys.current.sign),
    'the type of a request token': (p) => make(p, {}, { typ: 'ls-request+jwt' }),
    crit: (p) => make(p, {}, { crit: ['b64'], b64: true }),
    'embedded key': (p) => make(p, {}, { jwk: ed25519Jwk(p.lsIdentity.publicKey) }),
    'another issuer': (p) => make(p, { iss: BANK }),
    'another subject': (p) => make(p, { sub: 'spiffe://ls-xchange.test/xchange/058' }),
    'another audience': (p) => make(p, { aud: 'spiffe://ls-xchange.test/xchange/058' }),
    'several audiences': (p) => make(p, { aud: [BANK, 'spiffe://ls-xchange.test/xchange/058'] }),
    'another session': (p) => make(p, { sid: randomBytes(16).toString('hex') }),
    'no session': (p) => make(p, { sid: undefined }),
    expired: (p) => make(p, { iat: nowS(p) - 400, exp: nowS(p) - 100 }),
    'no exp': (p) => make(p, { exp: undefined }),
    'no iat': (p) => make(p, { iat: undefined }),
    'no jti': (p) => make(p, { jti: undefined }),
    'iat in the future': (p) => make(p, { iat: nowS(p) + 100, exp: nowS(p) + 200 }),
    'nbf in the future': (p) => make(p, { nbf: nowS(p) + 100 }),
    'a life of a week': (p) => make(p, { exp: nowS(p) + 7 * 86_400 }),
    'no key': (p) => make(p, { cnf: undefined }),
    'a key with the kid of another': (p) => make(p, { cnf: { jwk: { ...ed25519Jwk(other.publicKey), kid: 'x' } } }),
    'a small-order key': (p) => make(p, { cnf: { jwk: ed25519Jwk(Buffer.alloc(32)) } }),
    'a private key': (p) => make(p, { cnf: { jwk: { ...ed25519Jwk(other.publicKey), d: 'AAAA' } } }),
    'no token at all': () => 'token',
  }
  let accepted = 0
  for (const [name, forgery] of Object.entries(table)) {
    const parties = new TokenParties()
    parties.carries = false
    parties.begin()
    parties.bank.tokenReceived(forgery(parties))
    await parties.bank.judged
    t.match(parties.refusedAtBank, [{ code: 'TOKEN_INVALID', party: 'peer' }], name)
    if (parties.bank.peerExpiresAtMs !== undefined) accepted++
    parties.stop()
  }
  t.equal(accepted, 0, `0 of ${Object.keys(table).length} accepted`)
})
