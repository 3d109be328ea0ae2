import { createDecipheriv, randomBytes } from 'node:crypto'
import t from 'tap'
import { openSealed, sealInto } from '../../lib/kx/aes-gcm.ts'

function seal(key: Buffer, counter: number, associatedData: Buffer, plaintext: Buffer): Buffer {
  const sealed = Buffer.alloc(plaintext.length + 16)
  sealInto(sealed, 0, key, counter, associatedData, plaintext)
  return sealed
}

t.test('the nonce is 4 zero bytes and the counter as u64 big endian, also above 32 bits', async (t) => {
  const key = randomBytes(32)
  const associatedData = randomBytes(12)
  const plaintext = randomBytes(50)
  for (const counter of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7, Number.MAX_SAFE_INTEGER]) {
    const sealed = seal(key, counter, associatedData, plaintext)
    const nonce = Buffer.alloc(12)
    nonce.writeBigUInt64BE(BigInt(counter), 4)
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 })
    decipher.setAAD(associatedData).setAuthTag(sealed.subarray(50))
    t.same(Buffer.concat([decipher.update(sealed.subarray(0, 50)), decipher.final()]), plaintext, `${counter}`)
    t.same(openSealed(key, counter, associatedData, sealed), plaintext, `${counter}`)
  }
})

t.test('a tag of 4 to 15 bytes does not pass for one of 16', async (t) => {
  const key = randomBytes(32)
  const associatedData = randomBytes(12)
  const sealed = seal(key, 0, associatedData, Buffer.alloc(0))
  for (let length = 0; length < 16; length++) {
    t.equal(openSealed(key, 0, associatedData, sealed.subarray(0, length)), undefined, `${length} bytes`)
  }
  t.same(openSealed(key, 0, associatedData, sealed), Buffer.alloc(0))
})

t.test('no plaintext leaves before the tag is checked', async (t) => {
  const key = randomBytes(32)
  const sealed = seal(key, 5, Buffer.from('a'), Buffer.from('secret'))
  t.equal(openSealed(key, 5, Buffer.from('b'), sealed), undefined, 'other associated data')
  t.equal(openSealed(key, 6, Buffer.from('a'), sealed), undefined, 'other counter')
  t.equal(openSealed(randomBytes(32), 5, Buffer.from('a'), sealed), undefined, 'other key')
})
