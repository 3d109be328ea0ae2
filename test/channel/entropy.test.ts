import { createPublicKey, diffieHellman, KeyObject } from 'node:crypto'
import t from 'tap'
import { newBootId, newSessionId, newX25519KeyPair } from '../../lib/channel/entropy.ts'
import { x25519KeyPairFromRaw } from '../../lib/kx/index.ts'

t.test('LS-6 a new key pair is an X25519 pair whose raw public key belongs to it, and no two are alike', async (t) => {
  const [one, other] = [newX25519KeyPair(), newX25519KeyPair()]
  t.equal(one.publicKey.length, 32)
  t.notSame(one.publicKey, other.publicKey)
  t.ok(one.privateKey instanceof KeyObject)
  const raw = one.privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32)
  t.same(x25519KeyPairFromRaw(raw).publicKey, one.publicKey)
  t.equal(diffieHellman({ privateKey: one.privateKey, publicKey: publicKeyOf(other.publicKey) }).length, 32)
})

t.test('session and boot ids have 16 random bytes', async (t) => {
  for (const newId of [newSessionId, newBootId]) {
    const ids = Array.from({ length: 100 }, newId)
    t.ok(ids.every((id) => id.length === 16))
    t.equal(new Set(ids.map((id) => id.toString('hex'))).size, 100)
  }
})

function publicKeyOf(raw: Buffer) {
  return createPublicKey({
    key: Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), raw]),
    format: 'der',
    type: 'spki',
  })
}
