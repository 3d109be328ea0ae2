import t from 'tap'
import { VerificationCache, type VerificationKey } from '../../../lib/message/jws/index.ts'
import { newKey, verificationKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const key = newKey('ls')
const verifier = verificationKey(key)
const messageOf = (n: number) => Buffer.from(`message ${n}`)

t.test('SEC-4 the same bytes are verified once, for an hour, by default', async (t) => {
  const clock = new VirtualClock()
  const cache = new VerificationCache({ clock })
  const signature = key.sign(messageOf(1))
  t.ok(cache.verify(verifier, messageOf(1), signature))
  t.ok(cache.verify(verifier, messageOf(1), signature))
  t.match(cache.counts, { size: 1, hits: 1, misses: 1 })
  await clock.advance(3_600_000 - 1)
  t.ok(cache.verify(verifier, messageOf(1), signature))
  t.equal(cache.counts.hits, 2)
  await clock.advance(2)
  t.ok(cache.verify(verifier, messageOf(1), signature))
  t.match(cache.counts, { hits: 2, misses: 2 }, 'verified anew')
})

t.test('SEC-4 at most 1,000 by default, the least recently used go first', async (t) => {
  const cache = new VerificationCache({ clock: new VirtualClock() })
  const signatures = Array.from({ length: 1_001 }, (_, n) => key.sign(messageOf(n)))
  for (const [n, signature] of signatures.entries()) cache.verify(verifier, messageOf(n), signature)
  t.match(cache.counts, { size: 1_000, hits: 0, misses: 1_001 })
  cache.verify(verifier, messageOf(1_000), signatures[1_000] ?? Buffer.alloc(0))
  t.equal(cache.counts.hits, 1)
  cache.verify(verifier, messageOf(0), signatures[0] ?? Buffer.alloc(0))
  t.match(cache.counts, { size: 1_000, hits: 1, misses: 1_002 }, 'the oldest was forgotten')
})

t.test('SEC-4 size and time are settings; 0 remembers nothing', async (t) => {
  const clock = new VirtualClock()
  const small = new VerificationCache({ clock, size: 2, ttlMs: 1_000 })
  for (const n of [1, 2, 3]) small.verify(verifier, messageOf(n), key.sign(messageOf(n)))
  t.equal(small.counts.size, 2)
  const none = new VerificationCache({ clock, size: 0 })
  for (let n = 0; n < 2; n++) t.ok(none.verify(verifier, messageOf(1), key.sign(messageOf(1))))
  t.match(none.counts, { size: 0, hits: 0, misses: 2 })
})

t.test('SEC-4 a signature that is remembered says nothing of another key, message or signature', async (t) => {
  const cache = new VerificationCache({ clock: new VirtualClock() })
  const message = messageOf(1)
  const signature = key.sign(message)
  t.ok(cache.verify(verifier, message, signature))
  t.notOk(cache.verify(verificationKey(newKey('ls')), message, signature), 'another key')
  const renamed: VerificationKey = { ...verificationKey(newKey('ls')), keyId: key.keyId }
  t.notOk(cache.verify(renamed, message, signature), 'another key of the same name')
  t.notOk(cache.verify(verifier, messageOf(2), signature), 'another message')
  t.notOk(cache.verify(verifier, Buffer.concat([signature, message]), Buffer.alloc(0)), 'the same bytes, cut elsewhere')
  t.notOk(cache.verify(verifier, message.subarray(1), Buffer.concat([signature, message.subarray(0, 1)])))
  t.notOk(cache.verify(verifier, message, Buffer.alloc(64)), 'another signature')
  t.notOk(cache.verify(verifier, message, Buffer.alloc(64)), 'what is wrong is not remembered')
  t.equal(cache.counts.size, 1)
})
