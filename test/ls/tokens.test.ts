import { generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { decodeMap, FrameType } from '../../lib/frames/index.ts'
import { testBed } from '../support/daemons.ts'
import { dialPeer, FakeLs } from '../support/fake-peers.ts'

const ONE_BANK = [{ code: '044', dial: 'ls' as const }]
const ASKS = { methods: { echo: { scope: 'transfers' } } }
const ONCE = { methods: { echo: { scope: 'transfers', singleUse: true } } }

t.test('SEC-8 LS brings the token that a method asks for, and without one nothing is begun', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  await bed.startXchange('044', { config: { tokens: ASKS } })
  const ls = await bed.startLs({ config: { tokens: ASKS } })
  await ls.connected('044')
  t.match(await ls.ask({ to: '044', method: 'echo', payload: 1 }), { outcome: 'answered', payload: 1 })
  const app = await ls.connectApp()
  const many = await Promise.all(
    Array.from({ length: 200 }, (_, n) => app.request({ to: '044', method: 'echo', payload: n })),
  )
  t.strictSame(
    many.map(({ payload }) => payload),
    Array.from({ length: 200 }, (_, n) => n),
  )
  await ls.admin('rekey', { bank: '044' })
  t.match(await ls.ask({ to: '044', method: 'echo', payload: 2 }), { outcome: 'answered' }, 'also under a new session')
  t.match(await ls.ask({ to: '044', method: 'pid' }), { outcome: 'answered' }, 'others need none')
  t.match((await ls.bankStatus('044')).tokenNotAfter, /Z$/, "the status has the end of the bank's token")
})

t.test('SEC-8 a request without a token is refused and its key stays free', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  const xchange = await bed.startXchange('044', { config: { tokens: ASKS } })
  const ls = await bed.startLs()
  await ls.connected('044')
  const refused = await ls.ask({ to: '044', method: 'echo', payload: 1, key: 'the-key' })
  t.match(refused, { outcome: 'refused', code: 'TOKEN_INVALID' })
  t.match(await xchange.log.until({ audit: true, code: 'TOKEN_INVALID' }), { idempotencyKey: 'the-key' })
  await ls.stop()
  const again = await bed.startLs({ config: { tokens: ASKS } })
  await again.connected('044')
  const answered = await again.ask({ to: '044', method: 'echo', payload: 1, key: 'the-key' })
  t.match(answered, { outcome: 'answered', payload: 1 }, 'the refusal was not remembered')
  await again.stop()
  const bare = await bed.startLs()
  await bare.connected('044')
  t.match(
    await bare.ask({ to: '044', method: 'echo', payload: 1, key: 'the-key' }),
    { outcome: 'in-doubt', code: 'IN_DOUBT' },
    'what was executed is not called refused, and its answer is not given away',
  )
})

t.test('SEC-8 single-use tokens: one for each request', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  await bed.startXchange('044', { config: { tokens: ONCE } })
  const ls = await bed.startLs({ config: { tokens: ONCE } })
  await ls.connected('044')
  for (let n = 0; n < 5; n++)
    t.match(await ls.ask({ to: '044', method: 'echo', payload: n }), { outcome: 'answered', payload: n })
})

t.test('SEC-8 an app brings its own token, of an issuer that the bank trusts', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  const issuer = 'https://issuer.example'
  const audience = 'spiffe://ls-xchange.test/xchange/044'
  const keysFile = join(bed.dir, 'issuer.json')
  const keys = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')] as const
  const writeKeys = (...kids: (0 | 1)[]) => {
    const jwks = kids.map((kid) => ({
      ...keys[kid].publicKey.export({ format: 'jwk' }),
      kid: `key-${kid}`,
      use: 'sig',
    }))
    writeFileSync(keysFile, JSON.stringify({ keys: jwks }))
  }
  const token = (kid: 0 | 1, over: Record<string, unknown> = {}) => {
    const nowS = Math.floor(Date.now() / 1_000)
    const claims = { iss: issuer, sub: 'app-7', aud: audience, scope: 'transfers', iat: nowS, exp: nowS + 60 }
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
    const header = { alg: 'EdDSA', typ: 'at+jwt', kid: `key-${kid}` }
    const signed = `${encode(header)}.${encode({ ...claims, jti: randomUUID(), ...over })}`
    return `${signed}.${sign(null, Buffer.from(signed), keys[kid].privateKey).toString('base64url')}`
  }
  writeKeys(0)
  const xchange = await bed.startXchange('044', {
    config: { tokens: { ...ASKS, issuers: [{ issuer, keysFile, singleUse: true }] } },
  })
  const ls = await bed.startLs()
  await ls.connected('044')
  const ask = (bearer: string, key?: string) =>
    ls.ask({ to: '044', method: 'echo', payload: 1, token: bearer, ...(key === undefined ? {} : { key }) })
  const good = token(0)
  t.match(await ask(good, 'first'), { outcome: 'answered' })
  t.match(await ask(good, 'second'), { outcome: 'refused', code: 'TOKEN_INVALID' }, 'each is good once')
  t.match(await ask(good, 'first'), { outcome: 'answered' }, 'for its own request again')
  for (const wrong of [
    { scope: 'balances' },
    { iss: 'https://other.example' },
    { aud: 'spiffe://ls-xchange.test/xchange/058' },
  ])
    t.match(await ask(token(0, wrong)), { outcome: 'refused', code: 'TOKEN_INVALID' }, JSON.stringify(wrong))
  t.match(await ask(token(1)), { code: 'TOKEN_INVALID' }, 'a key that is not in the file')
  const durable = { to: '044', method: 'echo', payload: 2, key: 'durable', token: token(0), durable: true }
  t.match(await ls.ask(durable), { outcome: 'answered' }, 'the journal keeps it with the request')
  writeKeys(0, 1)
  await xchange.reload()
  t.match(await ask(token(1)), { outcome: 'answered' }, 'both keys in the overlap')
  t.match(await ask(token(0)), { outcome: 'answered' })
  const last = token(0)
  writeKeys(1)
  await xchange.reload()
  t.match(await ask(last), { code: 'TOKEN_INVALID' }, 'and the old one not after it')
})

t.test('SEC-8 a token that does not speak for LS ends its channel', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  const xchange = await bed.startXchange('044', { config: { tokens: ASKS } })
  const ls = await bed.startLs({ config: { tokens: ASKS } })
  await ls.connected('044')
  await ls.stop()
  const node = bed.node('lsd')
  const fakeLs = async () => {
    const socket = await dialPeer({ port: xchange.port, node })
    const fake = new FakeLs(socket, { node, bankCode: '044', xchangePin: bed.node('044').pin })
    await fake.key()
    return fake
  }
  const first = await fakeLs()
  const { body } = await first.receive(FrameType.control)
  const { kind, token } = decodeMap(body)
  t.equal(kind, 'token', "the node's first word of a session is its token")
  first.sendSealed(FrameType.control, { kind: 'token', token: token as string })
  t.match(await first.socket.closed, { code: 4403, reason: 'TOKEN_INVALID' }, 'its own token does not speak for LS')
  t.match(await xchange.log.until({ audit: true, cause: 'policy' }), { code: 'TOKEN_INVALID' })
})

t.test('SEC-8 where tokens are required, a peer without one gets no channel for long', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK, times: { kx: { timeoutMs: 300 } } })
  await bed.startXchange('044', { config: { tokens: { session: 'off' } } })
  const ls = await bed.startLs({ config: { tokens: { session: 'required' } } })
  await ls.connected('044')
  t.match(await ls.log.until({ bankCode: '044', to: 'idle', code: 'TOKEN_INVALID' }), { cause: 'policy' })
})

t.test('peers of before tokens are served as ever', async (t) => {
  const bed = await testBed(t, { banks: ONE_BANK })
  await bed.startXchange('044', { config: { tokens: { session: 'off' } } })
  const ls = await bed.startLs()
  await ls.connected('044')
  t.match(await ls.ask({ to: '044', method: 'echo', payload: 1 }), { outcome: 'answered' })
  t.equal((await ls.bankStatus('044')).tokenNotAfter, undefined)
})
