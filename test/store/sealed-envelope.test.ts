import { createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { recordPlace } from '../../lib/store/envelope.ts'
import { sealedEnvelope } from '../../lib/store/sealed-envelope.ts'
import { flipBit } from '../support/bit-flips.ts'

const place = recordPlace(Buffer.from('journal'), Buffer.from('0190-key'))
const storeKey = Buffer.alloc(32, 7)
const BODY = Buffer.from('amountMinor: 125000')

t.test('what was sealed opens at its place, for whoever has the key', async (t) => {
  const envelope = sealedEnvelope(storeKey)
  const other = sealedEnvelope(storeKey)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (bytes) => {
      const body = Buffer.from(bytes)
      const record = envelope.enclose(place, body)
      t.equal(record.length, body.length + 41)
      t.ok(envelope.open(place, record)?.equals(body))
      t.ok(other.open(place, record)?.equals(body), 'also after a restart, with another salt')
    }),
    { numRuns: 50 },
  )
})

t.test('the layout of a record is what the source says', async (t) => {
  const salt = randomBytes(16)
  const envelope = sealedEnvelope(storeKey, () => salt)
  envelope.enclose(place, Buffer.from('first'))
  const record = envelope.enclose(place, BODY)
  t.equal(record[0], 2)
  t.ok(record.subarray(1, 17).equals(salt))
  t.equal(record.readBigUInt64BE(17), 1n, 'the second record under this salt')
  const subkey = Buffer.from(hkdfSync('sha256', storeKey, salt, 'LS-STORE-1', 32))
  const nonce = Buffer.concat([Buffer.alloc(4), record.subarray(17, 25)])
  const decipher = createDecipheriv('aes-256-gcm', subkey, nonce, { authTagLength: 16 })
  decipher.setAAD(place)
  decipher.setAuthTag(record.subarray(record.length - 16))
  const body = Buffer.concat([decipher.update(record.subarray(25, record.length - 16)), decipher.final()])
  t.ok(body.equals(BODY))
})

t.test('each single flipped bit is found', async (t) => {
  const envelope = sealedEnvelope(storeKey)
  const record = envelope.enclose(place, BODY)
  const opened = []
  for (let bit = 0; bit < record.length * 8; bit++) {
    if (envelope.open(place, flipBit(record, bit)) !== undefined) opened.push(bit)
  }
  t.same(opened, [])
})

t.test('a record cut short or lengthened, moved, or sealed with another key does not open', async (t) => {
  const envelope = sealedEnvelope(storeKey)
  const record = envelope.enclose(place, BODY)
  for (let length = 0; length < record.length; length++) {
    t.equal(envelope.open(place, record.subarray(0, length)), undefined)
  }
  t.equal(envelope.open(place, Buffer.concat([record, Buffer.alloc(1)])), undefined)
  t.equal(envelope.open(recordPlace(Buffer.from('journal'), Buffer.from('0190-kez')), record), undefined)
  t.equal(sealedEnvelope(Buffer.alloc(32, 8)).open(place, record), undefined)
})

t.test('no nonce is used twice under one key', async (t) => {
  const records = [sealedEnvelope(storeKey), sealedEnvelope(storeKey)].flatMap((envelope) =>
    Array.from({ length: 500 }, () => envelope.enclose(place, BODY)),
  )
  t.equal(new Set(records.map((record) => record.toString('hex', 1, 25))).size, 1_000, 'salt and counter together')
  t.equal(new Set(records.map((record) => record.toString('hex', 1, 17))).size, 2, 'a salt for each start')
})

t.test('the name tells keys apart and says nothing of them', async (t) => {
  const { name } = sealedEnvelope(storeKey)
  t.match(name, /^sealed [0-9a-f]{16}$/)
  t.equal(sealedEnvelope(storeKey).name, name)
  t.not(sealedEnvelope(Buffer.alloc(32, 8)).name, name)
  t.notMatch(name, storeKey.toString('hex').slice(0, 16))
})

t.test('keys and salts have their length', async (t) => {
  for (const length of [0, 16, 31, 33]) t.throws(() => sealedEnvelope(Buffer.alloc(length)), { code: 'INTERNAL' })
  t.throws(() => sealedEnvelope(storeKey, () => Buffer.alloc(15)), { code: 'INTERNAL' })
})
