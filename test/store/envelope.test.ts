import fc from 'fast-check'
import t from 'tap'
import { checksumEnvelope, recordPlace } from '../../lib/store/envelope.ts'

const place = recordPlace(Buffer.from('accounts'), Buffer.from('0123456789'))

t.test('what was enclosed opens at its place', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const body = Buffer.from(bytes)
      t.ok(checksumEnvelope.open(place, checksumEnvelope.enclose(place, body))?.equals(body))
    }),
    { numRuns: 50 },
  )
})

t.test('each single flipped bit is found', async (t) => {
  const record = checksumEnvelope.enclose(place, Buffer.from('amountMinor: 125000'))
  let opened = 0
  for (let bit = 0; bit < record.length * 8; bit++) {
    const damaged = Buffer.from(record)
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    if (checksumEnvelope.open(place, damaged) !== undefined) opened++
  }
  t.equal(opened, 0)
})

t.test('a record cut short or lengthened is found', async (t) => {
  const record = checksumEnvelope.enclose(place, Buffer.from('amountMinor: 125000'))
  for (let length = 0; length < record.length; length++) {
    t.equal(checksumEnvelope.open(place, record.subarray(0, length)), undefined)
  }
  t.equal(checksumEnvelope.open(place, Buffer.concat([record, Buffer.alloc(1)])), undefined)
})

t.test('a record of another table or key does not open', async (t) => {
  const record = checksumEnvelope.enclose(place, Buffer.from('value'))
  const elsewhere = [
    ['accounts', '0123456788'],
    ['account', '0123456789'],
    ['account', 's0123456789'],
    ['accounts0', '123456789'],
  ] as const
  for (const [table, key] of elsewhere) {
    t.equal(checksumEnvelope.open(recordPlace(Buffer.from(table), Buffer.from(key)), record), undefined)
  }
})
