import fc from 'fast-check'
import t from 'tap'
import { decodeRequestBatch, encodeMap } from '../../../lib/frames/index.ts'
import {
  LsSigning,
  type SigningKey,
  type SigningMode,
  VerificationCache,
  XchangeSigning,
} from '../../../lib/message/jws/index.ts'
import { anyBytes, key as anyKey, method as anyMethod } from '../../support/frame-arbitraries.ts'
import { keysOf, newKey, seededKey, verificationKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const SESSION = Buffer.alloc(16, 1)
const clock = new VirtualClock()

function batchOf(mode: SigningMode, maxBodyBytes: number, key: () => SigningKey = () => seededKey('ls')) {
  const signing = new LsSigning<{ key: string; method: string; signed: undefined }>({
    bankCode: '044',
    mode,
    policy: 'off',
    keys: keysOf(),
    cache: new VerificationCache({ clock }),
    clock,
    key,
  })
  return { signing, batch: signing.newBatch(maxBodyBytes, () => SESSION) }
}

function verifierOf(...keys: SigningKey[]) {
  return new XchangeSigning({
    bankCode: '044',
    mode: 'batch',
    policy: 'required',
    keys: keysOf(...keys.map((key) => verificationKey(key))),
    cache: new VerificationCache({ clock }),
    clock,
    key: undefined,
    lsParty: 'ls',
  })
}

function recordOf(id: number, parts: { key?: string; method?: string; payload?: Buffer; meta?: Buffer } = {}) {
  const { key = `k-${id}`, method = 'm', payload = Buffer.alloc(10), meta } = parts
  return { id, key, method, budgetMs: 1_000, payload, meta, origin: { key, method, signed: undefined } }
}

for (const mode of ['batch', 'each'] as const) {
  t.test(`BEY-6 whatever comes together fits the frame and is verified, mode ${mode}`, async (t) => {
    const anyRecord = fc.record({
      key: anyKey,
      method: anyMethod,
      payload: anyBytes(400),
      meta: fc.option(anyBytes(60), { nil: undefined }),
    })
    const verifier = verifierOf(seededKey('ls'))
    const property = fc.property(
      fc.array(anyRecord, { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 2_100, max: 9_000 }),
      (records, maxBodyBytes) => {
        const { batch } = batchOf(mode, maxBodyBytes)
        let verified = 0
        const send = () => {
          const body = batch.take()
          const requests = decodeRequestBatch(Buffer.from(body))
          verified += verifier.verify(requests, SESSION).filter(({ error }) => error === undefined).length
          return body.length <= maxBodyBytes
        }
        for (const [id, { key, method, payload, meta }] of records.entries()) {
          const record = recordOf(id, {
            key,
            method,
            payload,
            ...(meta === undefined ? {} : { meta: encodeMap({ meta }) }),
          })
          if (batch.append(record)) continue
          if (!send() || !batch.append(record)) return false
        }
        return send() && batch.recordCount === 0 && verified === records.length
      },
    )
    t.doesNotThrow(() => fc.assert(property, { numRuns: mode === 'batch' ? 60 : 20 }))
  })

  t.test(
    `SEC-3 what fits no frame beside its signature is refused, and the batch stays as it was, mode ${mode}`,
    async (t) => {
      const { batch, signing } = batchOf(mode, 4_096)
      t.ok(batch.append(recordOf(1)))
      const room = 4_096 - signing.growthBytes - 100
      t.ok(room > 1_000)
      t.equal(batch.append(recordOf(2, { payload: Buffer.alloc(3_900) })), false, 'not beside another')
      t.equal(batch.recordCount, 1)
      batch.take()
      t.throws(() => batch.append(recordOf(3, { payload: Buffer.alloc(4_090) })), { code: 'TOO_LARGE' })
      t.throws(() => batch.append(recordOf(4, { key: '' })), { code: 'BAD_REQUEST' })
      t.throws(() => batch.append(recordOf(4, { method: 'a b' })), { code: 'BAD_REQUEST' })
      t.throws(() => batch.append(recordOf(5, { meta: encodeMap({ a: 1, sig: 2 }) })), { code: 'BAD_REQUEST' })
      t.equal(batch.recordCount, 0)
      const large = batchOf(mode, 65_508).batch
      t.throws(() => large.append(recordOf(6, { meta: encodeMap({ a: Buffer.alloc(16_370) }) })), { code: 'TOO_LARGE' })
    },
  )
}

t.test('SEC-10 a key that is replaced between two records: one batch is signed with one key', async (t) => {
  const [first, second] = [newKey('ls'), newKey('ls')]
  let key = first
  const { batch } = batchOf('batch', 65_508, () => key)
  batch.append(recordOf(1))
  key = second
  batch.append(recordOf(2))
  const before = decodeRequestBatch(Buffer.from(batch.take()))
  batch.append(recordOf(3))
  const after = decodeRequestBatch(Buffer.from(batch.take()))
  const isGood = (verifier: XchangeSigning, requests: typeof before) =>
    verifier.verify(requests, SESSION).every(({ error }) => error === undefined)
  t.ok(isGood(verifierOf(first), before))
  t.ok(isGood(verifierOf(second), after))
  t.ok(isGood(verifierOf(first, second), before) && isGood(verifierOf(first, second), after), 'both in the overlap')
  t.notOk(isGood(verifierOf(second), before), 'the old key is gone from the directory')
})

t.test('SEC-3 time: a signature is of the moment in which the frame leaves', async (t) => {
  const verifier = verifierOf(seededKey('ls'))
  const { batch } = batchOf('batch', 65_508)
  batch.append(recordOf(1))
  await clock.advance(3_600_000)
  const requests = decodeRequestBatch(Buffer.from(batch.take()))
  t.equal(verifier.verify(requests, SESSION)[0]?.error, undefined)
  await clock.advance(300_001)
  t.match(verifier.verify(requests, SESSION)[0]?.error, { code: 'SIGNATURE_INVALID', facts: { skewMs: 300_001 } })
})
