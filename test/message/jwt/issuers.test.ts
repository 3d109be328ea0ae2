import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type IssuerConfig, loadIssuer } from '../../../lib/message/jwt/index.ts'

const pair = generateKeyPairSync('ed25519')
const publicKey = pair.publicKey.export({ format: 'jwk' })

t.test('SEC-8 the key file of an issuer has public keys that can be told apart, and nothing else', async (t) => {
  const keysFile = join(t.testdir({}), 'issuer.json')
  const config: IssuerConfig = {
    issuer: 'https://issuer.example',
    keysFile,
    algorithms: ['EdDSA', 'RS256'],
    audience: 'spiffe://ls-xchange.test/xchange/044',
    maxLifetimeMs: 3_600_000,
    singleUse: false,
    scopes: undefined,
  }
  const load = (text: unknown) => {
    writeFileSync(keysFile, typeof text === 'string' ? text : JSON.stringify(text))
    return loadIssuer(config)
  }
  const shortRsa = generateKeyPairSync('rsa', { modulusLength: 1_024 }).publicKey.export({ format: 'jwk' })
  const wrong: readonly (readonly [string, unknown])[] = [
    ['no JSON', '{'],
    ['no keys', {}],
    ['an empty set', { keys: [] }],
    ['a list', []],
    ['keys named twice', '{"keys":[],"keys":[]}'],
    ['no kid', { keys: [publicKey] }],
    [
      'one kid for two',
      {
        keys: [
          { ...publicKey, kid: 'a' },
          { ...publicKey, kid: 'a' },
        ],
      },
    ],
    ['a private key', { keys: [{ ...pair.privateKey.export({ format: 'jwk' }), kid: 'a' }] }],
    ['a shared key', { keys: [{ kty: 'oct', k: 'AAAA', kid: 'a' }] }],
    ['a key to encrypt with', { keys: [{ ...publicKey, kid: 'a', use: 'enc' }] }],
    ['a short RSA key', { keys: [{ ...shortRsa, kid: 'a' }] }],
    ['no key at all', { keys: [{ kty: 'OKP', crv: 'Ed25519', kid: 'a' }] }],
    ['too many', { keys: Array.from({ length: 17 }, (_, n) => ({ ...publicKey, kid: `${n}` })) }],
  ]
  for (const [what, text] of wrong) t.throws(() => load(text), { code: 'REFUSED', party: 'self' }, what)
  const { keys } = load({ keys: [{ ...publicKey, kid: 'a', alg: 'EdDSA', use: 'sig' }] })
  t.strictSame([...keys.keys()], ['a'])
  chmodSync(keysFile, 0o666)
  t.throws(() => loadIssuer(config), { code: 'REFUSED', message: /changed by anybody/ })
})
