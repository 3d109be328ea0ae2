import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createSigningKeyFiles, loadSigningKey, parsePublicJwk } from '../../../lib/message/jws/index.ts'
import { partyRings } from '../../../lib/message/keys/index.ts'

const NOW_MS = 1_800_000_000_000
const HOUR_MS = 3_600_000

for (const algorithm of ['EdDSA', 'ES256'] as const)
  t.test(
    `SEC-10 a JWS key (${algorithm}) is published before it signs, and its end when it signs no more`,
    async (t) => {
      const dir = t.testdir({})
      const [keyFile, directory] = [join(dir, 'signing.key'), join(dir, 'keys')]
      const first = createSigningKeyFiles({ keyFile, directory, party: '044', algorithm })
      const { jws } = partyRings({
        identityKeyFile: join(dir, 'identity.key'),
        storeKeyFile: join(dir, 'store.key'),
        signing: { party: '044', directory, keyFile, algorithm },
        keys: { identityDays: 1, jwsDays: 1, storeDays: 1, overlapDays: 7, automatic: [] },
      })
      const published = (keyId: string) => {
        const file = join(directory, '044', `${keyId}.json`)
        return parsePublicJwk(readFileSync(file), { party: '044', keyId, file })
      }
      const next = jws?.prepare(NOW_MS, NOW_MS + HOUR_MS)
      t.ok(next !== undefined && next.keyId !== first.keyId)
      t.equal(loadSigningKey(keyFile, { party: '044' }).keyId, first.keyId, 'the old one signs on')
      t.match(published(next?.keyId ?? ''), {
        algorithm,
        notBeforeMs: NOW_MS + HOUR_MS - 300_000,
        notAfterMs: undefined,
      })
      jws?.activate(NOW_MS + HOUR_MS)
      const signing = loadSigningKey(keyFile, { party: '044' })
      t.match(signing, { keyId: next?.keyId, algorithm })
      t.match(
        published(first.keyId),
        { notAfterMs: NOW_MS + HOUR_MS + 300_000 },
        'what it signed until then verifies for ever',
      )
      t.match(published(signing.keyId), { notBeforeMs: NOW_MS + HOUR_MS - 300_000, notAfterMs: undefined })
    },
  )

t.test('SEC-10 the end of a stolen key is not moved by the rotation that replaces it', async (t) => {
  const dir = t.testdir({})
  const [keyFile, directory] = [join(dir, 'signing.key'), join(dir, 'keys')]
  const first = createSigningKeyFiles({ keyFile, directory, party: '044', algorithm: 'EdDSA' })
  const { jws } = partyRings({
    identityKeyFile: join(dir, 'identity.key'),
    storeKeyFile: join(dir, 'store.key'),
    signing: { party: '044', directory, keyFile },
    keys: { identityDays: 1, jwsDays: 1, storeDays: 1, overlapDays: 7, automatic: [] },
  })
  const file = join(directory, '044', `${first.keyId}.json`)
  const stolenAtMs = NOW_MS - HOUR_MS
  const jwk = { ...JSON.parse(readFileSync(file, 'utf8')), exp: stolenAtMs / 1_000 }
  writeFileSync(file, JSON.stringify(jwk))
  jws?.prepare(NOW_MS)
  jws?.activate(NOW_MS)
  t.equal(
    parsePublicJwk(readFileSync(file), { party: '044', keyId: first.keyId, file }).notAfterMs,
    stolenAtMs,
    'what the thief signed since is not valid after all',
  )
})

t.test('SEC-10 a signing key whose name is fixed is not rotated', async (t) => {
  const places = { identityKeyFile: 'a.key', storeKeyFile: 'b.key' }
  const keys = { identityDays: 1, jwsDays: 1, storeDays: 1, overlapDays: 7, automatic: [] }
  const signing = { party: '044', directory: 'keys', keyFile: 'c.key', keyId: 'fixed' }
  t.equal(partyRings({ ...places, keys, signing }).jws, undefined)
  t.equal(partyRings({ ...places, keys, signing: undefined }).jws, undefined)
})
