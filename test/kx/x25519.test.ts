import { randomBytes } from 'node:crypto'
import t from 'tap'
import { x25519, x25519KeyPairFromRaw } from '../../lib/kx/x25519.ts'

const hex = (text: string) => Buffer.from(text, 'hex')

/**
 * Every u, reduced or not, whose point has an order that divides 8, on the curve or its twist (RFC 7748, section 7).
 */
const LOW_ORDER_POINTS = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]

t.test('key pairs and the shared secret of RFC 7748 section 6.1', async (t) => {
  const alice = x25519KeyPairFromRaw(hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'))
  const bob = x25519KeyPairFromRaw(hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'))
  t.equal(alice.publicKey.toString('hex'), '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a')
  t.equal(bob.publicKey.toString('hex'), 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f')
  const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742'
  t.equal(x25519(alice.privateKey, bob.publicKey).toString('hex'), shared)
  t.equal(x25519(bob.privateKey, alice.publicKey).toString('hex'), shared)
})

t.test('low-order points are KX_FAILED, with and without the bit that X25519 ignores', async (t) => {
  const { privateKey } = x25519KeyPairFromRaw(randomBytes(32))
  for (const point of LOW_ORDER_POINTS) {
    const plain = hex(point)
    const withHighBit = Buffer.from(plain)
    withHighBit[31] = (withHighBit[31] ?? 0) | 0x80
    t.throws(() => x25519(privateKey, plain), { code: 'KX_FAILED', party: 'peer' }, point)
    t.throws(() => x25519(privateKey, withHighBit), { code: 'KX_FAILED', party: 'peer' }, `${point} with the high bit`)
  }
})

t.test('keys of another length are refused', async (t) => {
  const { privateKey } = x25519KeyPairFromRaw(randomBytes(32))
  for (const length of [0, 31, 33]) {
    t.throws(() => x25519(privateKey, randomBytes(length)), { code: 'KX_FAILED' })
    t.throws(() => x25519KeyPairFromRaw(randomBytes(length)), { code: 'INTERNAL' })
  }
})
