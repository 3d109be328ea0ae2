import { decodeJwt, decodeProtectedHeader } from 'jose'
import t from 'tap'
import { BANK, forge, LS, newSigner, TokenParties } from './token-parties.ts'

const HOUR_MS = 3_600_000
const SCOPE = { scope: 'transfers', singleUse: false }

t.test('SEC-8 each party gets a token bound to service id, session id and expiry', async (t) => {
  const parties = new TokenParties().begin()
  t.teardown(() => parties.stop())
  await Promise.all([parties.ls.judged, parties.bank.judged])
  const sid = parties.sessionId.toString('hex')
  const [fromLs = ''] = parties.sentByLs
  const [fromBank = ''] = parties.sentByBank
  t.match(decodeProtectedHeader(fromLs), { alg: 'EdDSA', typ: 'ls-session+jwt', kid: parties.lsIdentity.kid })
  const claims = decodeJwt(fromLs)
  t.match(claims, { iss: LS, sub: LS, aud: BANK, sid })
  t.equal((claims.exp ?? 0) - (claims.iat ?? 0), HOUR_MS / 1_000, 'for an hour')
  t.match(decodeJwt(fromBank), { iss: BANK, sub: BANK, aud: LS, sid })
  t.not(claims.jti, decodeJwt(fromBank).jti)
  t.ok((parties.ls.peerExpiresAtMs ?? 0) > parties.clock.nowMs(), 'verified by LS')
  t.ok((parties.bank.peerExpiresAtMs ?? 0) > parties.clock.nowMs(), 'and by the bank')
  t.strictSame([parties.refusedAtLs, parties.refusedAtBank], [[], []])
})

t.test('SEC-8 a token is renewed in time on the same session', async (t) => {
  const parties = new TokenParties({ mode: 'required' }).begin()
  t.teardown(() => parties.stop())
  await Promise.all([parties.ls.judged, parties.bank.judged])
  for (let quarter = 0; quarter < 20; quarter++) {
    await parties.clock.advance(HOUR_MS / 4)
    await Promise.all([parties.ls.judged, parties.bank.judged])
  }
  t.ok(parties.sentByLs.length >= 6 && parties.sentByBank.length >= 6, 'renewed before each expiry')
  t.strictSame([parties.refusedAtLs, parties.refusedAtBank], [[], []], 'there was always one that is valid')
  t.ok(parties.ls.peerExpiresAtMs !== undefined && parties.bank.peerExpiresAtMs !== undefined)
})

t.test('SEC-8 a session goes on with the identity that it was made with, when the file holds another', async (t) => {
  const parties = new TokenParties().begin()
  t.teardown(() => parties.stop())
  const { kid } = parties.lsIdentity
  parties.lsIdentity = newSigner()
  parties.lsKeys.rotate()
  await Promise.all([parties.ls.judged, parties.bank.judged])
  t.equal(decodeProtectedHeader(parties.sentByLs.at(-1) ?? '').kid, kid)
  t.strictSame(parties.refusedAtBank, [], 'the bank knows the one that was proven, and the channel must not end')
})

t.test('SEC-8 where a token is required, a peer that sends none is refused, and one that stops too', async (t) => {
  const silent = new TokenParties({ mode: 'required' })
  silent.carries = false
  silent.begin()
  t.teardown(() => silent.stop())
  await silent.clock.advance(4_999)
  t.strictSame(silent.refusedAtLs, [], 'it has the time of a kx')
  await silent.clock.advance(1)
  t.match(silent.refusedAtLs, [{ code: 'TOKEN_INVALID', message: /no token/ }])

  const stopping = new TokenParties({ mode: 'required' }).begin()
  t.teardown(() => stopping.stop())
  await Promise.all([stopping.ls.judged, stopping.bank.judged])
  stopping.carries = false
  await stopping.clock.advance(HOUR_MS + 60_000)
  t.match(stopping.refusedAtBank, [{ code: 'TOKEN_INVALID', message: /expired/ }])
})

t.test('SEC-8 a token of a session counts no more once the session has ended', async (t) => {
  const parties = new TokenParties({ methods: { transfer: {} } }).begin()
  const newToken = () => parties.requests.tokenFor(SCOPE, parties.sessionId.toString('hex'), 'k')
  const token = newToken()
  t.equal(await parties.present(token), 'accepted')
  parties.begin()
  t.equal(await parties.present(token), 'accepted', 'what was on its way during the kx still counts')
  const fresh = newToken()
  t.not(fresh, token)
  t.equal(await parties.present(fresh), 'accepted')
  await parties.clock.advance(5_000)
  t.equal(await parties.present(token), 'TOKEN_INVALID', 'and not after the grace')
  t.equal(await parties.present(fresh), 'accepted')
  parties.begin()
  parties.begin()
  t.equal(await parties.present(fresh), 'TOKEN_INVALID', 'nor two sessions later')
  const last = newToken()
  t.equal(await parties.present(last), 'accepted')
  parties.stop()
  t.equal(await parties.present(last), 'TOKEN_INVALID', 'nor when the channel is gone')
})

t.test('SEC-8 the token key is rotated with an overlap', async (t) => {
  const parties = new TokenParties({ methods: { transfer: {} } }).begin()
  t.teardown(() => parties.stop())
  const sid = parties.sessionId.toString('hex')
  const before = parties.requests.tokenFor(SCOPE, sid, 'k')
  t.equal(await parties.present(before), 'accepted')
  parties.lsKeys.rotate()
  const after = parties.requests.tokenFor(SCOPE, sid, 'k')
  t.not(decodeProtectedHeader(after).kid, decodeProtectedHeader(before).kid)
  t.equal(await parties.present(after), 'accepted', 'the new key came before its first token')
  parties.gate.forget()
  t.equal(await parties.present(before), 'accepted', 'the old one is good until it ends')
  for (let turn = 0; turn < 4; turn++) parties.lsKeys.rotate()
  await parties.bank.judged
  parties.gate.forget()
  t.equal(await parties.present(before), 'TOKEN_INVALID', 'but only so many keys are kept')
})

t.test('SEC-8 one token serves all requests of a scope until half its life is over', async (t) => {
  const parties = new TokenParties({ methods: { transfer: {} } }).begin()
  t.teardown(() => parties.stop())
  const sid = parties.sessionId.toString('hex')
  const first = parties.requests.tokenFor(SCOPE, sid, 'a')
  t.equal(parties.requests.tokenFor(SCOPE, sid, 'b'), first)
  await parties.clock.advance(150_000)
  t.not(parties.requests.tokenFor(SCOPE, sid, 'c'), first)
  t.equal(await parties.present(first), 'accepted')
  const second = parties.gate.check({ method: 'transfer', idempotencyKey: 'x', token: first }, parties.bank)
  t.equal(second, undefined, 'the second time on the same call stack')
  await parties.clock.advance(155_001)
  t.equal(await parties.present(first), 'TOKEN_INVALID', 'a remembered token expires like any other')
})

t.test('SEC-8 what is being verified while the issuers change is not remembered', async (t) => {
  const parties = new TokenParties({ methods: { transfer: {} } }).begin()
  t.teardown(() => parties.stop())
  const token = parties.requests.tokenFor(SCOPE, parties.sessionId.toString('hex'), 'k')
  const bearer = { method: 'transfer', idempotencyKey: 'k', token }
  const first = parties.gate.check(bearer, parties.bank)
  parties.gate.forget()
  await first
  const second = parties.gate.check(bearer, parties.bank)
  t.not(second, undefined, 'it is verified anew, with the keys of now')
  await second
  t.equal(parties.gate.check(bearer, parties.bank), undefined)
})

t.test('SEC-8 a single-use token is good for one idempotency key', async (t) => {
  const parties = new TokenParties({ methods: { transfer: { singleUse: true } }, maxSpent: 2 }).begin()
  t.teardown(() => parties.stop())
  const sid = parties.sessionId.toString('hex')
  const bound = parties.requests.tokenFor({ scope: 'transfers', singleUse: true }, sid, 'key-1')
  t.equal(await parties.present(bound, { key: 'key-1' }), 'accepted')
  t.equal(await parties.present(bound, { key: 'key-1' }), 'accepted', 'a repetition is the same request')
  t.equal(await parties.present(bound, { key: 'key-2' }), 'TOKEN_INVALID')

  const loose = (name: string) => parties.requests.tokenFor({ scope: `transfers ${name}`, singleUse: false }, sid, 'k')
  t.equal(await parties.present(loose('1'), { key: 'a' }), 'accepted')
  t.equal(await parties.present(loose('1'), { key: 'a' }), 'accepted')
  t.equal(await parties.present(loose('1'), { key: 'b' }), 'TOKEN_INVALID', 'bound to the first key that it came with')
  t.equal(await parties.present(loose('2'), { key: 'c' }), 'accepted')
  t.equal(await parties.present(loose('3'), { key: 'd' }), 'BUSY', 'none is forgotten to make room')
  await parties.clock.advance(310_000)
  t.equal(await parties.present(loose('4'), { key: 'e' }), 'accepted', 'only those that have expired')
})

t.test('SEC-8 a method that asks for no token takes any request', async (t) => {
  const parties = new TokenParties({ methods: { transfer: {} } }).begin()
  t.teardown(() => parties.stop())
  t.equal(await parties.present(undefined, { method: 'balance' }), 'accepted')
  t.equal(await parties.present('nonsense', { method: 'balance' }), 'accepted')
  t.equal(parties.gate.asksFor('balance'), false)
})

t.test('a peer cannot send tokens without end', async (t) => {
  const parties = new TokenParties().begin()
  t.teardown(() => parties.stop())
  const [token = ''] = parties.sentByLs
  for (let sent = 0; sent < 1_024; sent++) parties.bank.tokenReceived(token)
  t.match(parties.refusedAtBank, [{ code: 'TOKEN_INVALID', message: /without end/ }])
})

t.test('with tokens off none is sent, and one that comes is not looked at', async (t) => {
  const parties = new TokenParties({ mode: 'off' }).begin()
  t.teardown(() => parties.stop())
  t.strictSame([parties.sentByLs, parties.sentByBank], [[], []])
  parties.bank.tokenReceived('nonsense')
  await parties.clock.advance(10_000)
  t.strictSame(parties.refusedAtBank, [])
})

t.test('SEC-8 clocks that the kx lets differ end no channel', async (t) => {
  const parties = new TokenParties()
  parties.carries = false
  parties.begin()
  t.teardown(() => parties.stop())
  const nowS = Math.floor(parties.clock.nowMs() / 1_000)
  const token = (iat: number) =>
    forge(
      { alg: 'EdDSA', typ: 'ls-session+jwt', kid: parties.lsIdentity.kid },
      parties.sessionClaims({ iat, exp: iat + 3_600 }),
      parties.lsIdentity.sign,
    )
  parties.bank.tokenReceived(token(nowS + 55))
  await parties.bank.judged
  t.strictSame(parties.refusedAtBank, [])
  parties.bank.tokenReceived(token(nowS + 65))
  await parties.bank.judged
  t.match(parties.refusedAtBank, [{ code: 'TOKEN_INVALID' }])
})
