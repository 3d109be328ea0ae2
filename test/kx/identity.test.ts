import { createPublicKey, generateKeyPairSync, randomBytes, verify } from 'node:crypto'
import t from 'tap'
import {
  checkIdentityPublicKey,
  identityFromPrivateKey,
  isPinned,
  verifyIdentitySignature,
} from '../../lib/kx/identity.ts'
import { encodePoint, FIELD_PRIME, smallOrderPoints } from '../support/edwards25519.ts'
import { newIdentity } from '../support/kx-parties.ts'

const DENIED = { code: 'IDENTITY_DENIED' }

t.test('an identity signs, and its signature verifies for it and its message only', async (t) => {
  const identity = newIdentity()
  const message = randomBytes(100)
  const signature = identity.sign(message)
  t.equal(identity.publicKey.length, 32)
  t.doesNotThrow(() => checkIdentityPublicKey(identity.publicKey))
  t.ok(verifyIdentitySignature(identity.publicKey, message, signature))
  t.notOk(verifyIdentitySignature(newIdentity().publicKey, message, signature))
  t.notOk(verifyIdentitySignature(identity.publicKey, randomBytes(100), signature))
  t.notOk(verifyIdentitySignature(identity.publicKey, message, signature.subarray(1)))
})

t.test('keys of another kind are no identity', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  t.doesNotThrow(() => identityFromPrivateKey(privateKey))
  t.throws(() => identityFromPrivateKey(publicKey), { ...DENIED, party: 'self' })
  t.throws(() => identityFromPrivateKey(generateKeyPairSync('x25519').privateKey), { ...DENIED, party: 'self' })
})

t.test('small-order points are refused: under them a signature that nobody made can verify', async (t) => {
  const points = smallOrderPoints()
  t.equal(points.length, 8)
  for (const point of points) t.throws(() => checkIdentityPublicKey(point), DENIED, point.toString('hex'))

  const neutral = encodePoint(1n, 0n)
  const forged = Buffer.concat([neutral, Buffer.alloc(32)])
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), neutral])
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  // Node 20 and 22 accept it; the OpenSSL of Node 24 does not any more. We do not depend on which.
  const [major = 0] = process.versions.node.split('.').map(Number)
  t.equal(verify(null, randomBytes(20), key, forged), major < 24, 'the trap is real where OpenSSL leaves it open')
})

t.test('encodings that are not canonical are refused', async (t) => {
  for (let excess = 0n; excess < 19n; excess++) {
    for (const sign of [0n, 1n]) {
      const raw = encodePoint(FIELD_PRIME + excess, sign)
      t.throws(() => checkIdentityPublicKey(raw), DENIED, `p + ${excess}, sign ${sign}`)
    }
  }
  for (const sign of [0n, 1n]) {
    t.throws(() => checkIdentityPublicKey(encodePoint(1n, sign)), DENIED, 'x = 0 has no sign')
    t.throws(() => checkIdentityPublicKey(encodePoint(FIELD_PRIME - 1n, sign)), DENIED, 'x = 0 has no sign')
    t.doesNotThrow(() => checkIdentityPublicKey(encodePoint(FIELD_PRIME - 2n, sign)), 'the largest y but one is taken')
  }
})

t.test('keys of another length are refused', async (t) => {
  for (const length of [0, 31, 33]) t.throws(() => checkIdentityPublicKey(randomBytes(length)), DENIED)
})

t.test('any of several pins matches, for rotation', async (t) => {
  const [first, second, other] = [newIdentity().publicKey, newIdentity().publicKey, newIdentity().publicKey]
  t.ok(isPinned(first, [first, second]))
  t.ok(isPinned(second, [first, second]))
  t.notOk(isPinned(other, [first, second]))
  t.notOk(isPinned(first, []))
  t.notOk(isPinned(first.subarray(0, 31), [first]))
})
