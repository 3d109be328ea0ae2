import fc from 'fast-check'
import * as v4 from 'ilp-packet'
import t from 'tap'
import {
  fulfilmentOf,
  IlpSecret,
  MAX_PACKET_BYTES,
  makePair,
  parseFulfil,
  parsePrepare,
  readPacket,
  transactionOf,
  writePacket,
} from '../../../lib/message/ilp/index.ts'
import { LsxError } from '../../../lib/runtime/index.ts'

const secret = new IlpSecret(Buffer.from('a secret for tests only'))
const EXPIRES_AT_MS = Date.parse('2026-11-22T10:00:30.125Z')

function packetOf(version: 1 | 4): Buffer {
  const transaction = '{"amount":{"amount":"1.00","currency":"NGN"}}'
  return makePair({ version, amount: 100n, destination: 'g.bank', expiresAtMs: EXPIRES_AT_MS, transaction }, secret)
    .packet
}

/** What reading ends in: a packet, or the code of a typed error. Anything else thrown fails the test. */
function readingOf(bytes: Buffer): string {
  try {
    const packet = readPacket(bytes)
    fulfilmentOf(packet, bytes, secret)
    return `version ${packet.version}`
  } catch (error) {
    if (error instanceof LsxError) return error.code
    throw error
  }
}

t.test('SEC-6 hostile bytes end in a typed error, never in a crash', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const reading = readingOf(Buffer.from(bytes))
      return reading === 'BAD_REQUEST' || reading.startsWith('version')
    }),
    { numRuns: 2_000 },
  )
  for (const version of [1, 4] as const) {
    const packet = packetOf(version)
    fc.assert(
      fc.property(fc.nat({ max: packet.length - 1 }), fc.integer({ min: 1, max: 255 }), (index, flip) => {
        const changed = Buffer.from(packet)
        changed[index] = (changed[index] as number) ^ flip
        const reading = readingOf(changed)
        return reading === 'BAD_REQUEST' || reading === `version ${version}`
      }),
      { numRuns: 2_000 },
    )
    for (let length = 0; length < packet.length; length++) {
      if (readingOf(packet.subarray(0, length)) !== 'BAD_REQUEST') t.fail(`cut to ${length} bytes it was read`)
    }
  }
  t.pass('no crash')
})

t.test('SEC-6 a packet has one form only', async (t) => {
  const packet = packetOf(4)
  const cases: Record<string, Buffer> = {
    nothing: Buffer.alloc(0),
    'another type': Buffer.concat([Buffer.from([13]), packet.subarray(1)]),
    'bytes behind the envelope': Buffer.concat([packet, Buffer.alloc(1)]),
    'too many bytes': Buffer.alloc(MAX_PACKET_BYTES + 1, 12),
    'a length that is not in its shortest form': Buffer.concat([
      Buffer.from([12, 0x82, 0x00, packet[2] as number]),
      packet.subarray(3),
    ]),
    'a length of five bytes': Buffer.from([12, 0x85, 0, 0, 0, 0, 1, 0]),
    'an endless length': Buffer.from([12, 0x80, 0]),
    'a month 13': edited(packet, (content) => content.write('13', 8 + 4, 'latin1')),
    'the 31st of June': edited(packet, (content) => content.write('0631', 8 + 4, 'latin1')),
    'the hour 24': edited(packet, (content) => content.write('24', 8 + 8, 'latin1')),
    'a time of letters': edited(packet, (content) => content.write('2o26', 8, 'latin1')),
    'an address with a space': edited(packet, (content) => content.write('g ', 8 + 17 + 32 + 1, 'latin1')),
  }
  for (const [name, bytes] of Object.entries(cases)) t.equal(readingOf(bytes), 'BAD_REQUEST', name)
  t.equal(readingOf(packet), 'version 4')
  t.doesNotThrow(
    () => v4.deserializeIlpPrepare(Buffer.concat([packet, Buffer.alloc(1)])),
    'which ilp-packet does not mind',
  )
})

function edited(packet: Buffer, edit: (content: Buffer) => void): Buffer {
  const copy = Buffer.from(packet)
  // Type, 0x81 and a length of one byte.
  edit(copy.subarray((packet[1] as number) < 0x80 ? 2 : 3))
  return copy
}

t.test('SEC-6 the data of a version 4 packet must be base64url to the last bit', async (t) => {
  for (const [data, ok] of [
    ['e30', true],
    ['e31', false],
    ['e30=', false],
    ['e3 0', false],
    ['+/+/', false],
    ['e', false],
    ['', true],
  ] as const) {
    const bytes = writePacket({
      version: 4,
      amount: 1n,
      destination: 'g.bank',
      data: Buffer.from(data),
      expiresAtMs: EXPIRES_AT_MS,
      condition: Buffer.alloc(32),
    })
    if (ok) t.doesNotThrow(() => transactionOf(readPacket(bytes)), data)
    else t.throws(() => transactionOf(readPacket(bytes)), { code: 'BAD_REQUEST' }, data)
  }
})

t.test('SEC-6 the `ilp` of a request is checked field by field', async (t) => {
  const { packet, condition } = makePair(
    { version: 4, amount: 1n, destination: 'g.bank', expiresAtMs: EXPIRES_AT_MS, transaction: '{}' },
    secret,
  )
  t.match(parsePrepare({ packet, condition }), { expiresAtMs: EXPIRES_AT_MS })
  for (const [name, value] of Object.entries({
    'no map': [1],
    bytes: packet,
    'no packet': { condition },
    'no condition': { packet },
    'a short condition': { packet, condition: condition.subarray(1) },
    'a condition that is not the one in the packet': { packet, condition: Buffer.alloc(32) },
    'an expiry beside version 4': { packet, condition, expiresAt: EXPIRES_AT_MS },
    'an unknown field': { packet, condition, fulfilment: condition },
    'version 1 without an expiry': { packet: packetOf(1), condition },
    'version 1 with an expiry that is no time': { packet: packetOf(1), condition, expiresAt: -1 },
    'a packet that is too large': { packet: Buffer.alloc(MAX_PACKET_BYTES + 1), condition },
  })) {
    t.throws(() => parsePrepare(value), { code: 'BAD_REQUEST' }, name)
  }
  t.match(parsePrepare({ packet: packetOf(1), condition, expiresAt: EXPIRES_AT_MS }), { expiresAtMs: EXPIRES_AT_MS })
  fc.assert(
    fc.property(fc.anything(), (value) => {
      const fulfil = parseFulfil(value)
      return fulfil === undefined || fulfil === 'malformed'
    }),
  )
})

t.test('SEC-6 a secret is neither printed nor too short', async (t) => {
  t.notMatch(JSON.stringify({ secret }), /a secret for/)
  t.throws(() => new IlpSecret(Buffer.alloc(15)), { code: 'REFUSED' })
  t.throws(() => new IlpSecret(Buffer.alloc(1_025)), { code: 'REFUSED' })
})

t.test('SEC-6 what no packet can carry is refused before it is written', async (t) => {
  const terms = {
    version: 4,
    amount: 1n,
    destination: 'g.bank',
    expiresAtMs: EXPIRES_AT_MS,
    transaction: '{}',
  } as const
  t.throws(() => makePair({ ...terms, amount: 2n ** 64n }, secret), { code: 'BAD_REQUEST' })
  t.throws(() => makePair({ ...terms, amount: -1n }, secret), { code: 'BAD_REQUEST' })
  t.throws(() => makePair({ ...terms, destination: 'bank' }, secret), { code: 'BAD_REQUEST' })
  t.throws(() => makePair({ ...terms, expiresAtMs: Number.NaN }, secret), { code: 'BAD_REQUEST' })
  t.throws(() => makePair({ ...terms, transaction: 'x'.repeat(MAX_PACKET_BYTES) }, secret), { code: 'TOO_LARGE' })
})
