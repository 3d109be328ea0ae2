import { createRequire } from 'node:module'
import fc from 'fast-check'
import * as v4 from 'ilp-packet'
import * as v1 from 'ilp-packet-v1'
import t from 'tap'
import {
  conditionOf,
  fulfilmentOf,
  IlpSecret,
  isFulfilled,
  judgeFulfilment,
  makePair,
  readPacket,
  transactionOf,
} from '../../../lib/message/ilp/index.ts'

/** What of Mojaloop's components the tests use; the package has no types for it. */
interface MojaloopIlp {
  getResponseIlp(transaction: unknown): { fulfilment: string; condition: string; ilpPacket: string }
  calculateFulfil(packet: string): string
  calculateConditionFromFulfil(fulfilment: string): string
  validateFulfil(fulfilment: string, condition: string): boolean
  getTransactionObject(packet: string): unknown
}

interface Mojaloop {
  readonly Ilp: {
    readonly ilpFactory: (version: string, options: { secret: string; logger: unknown }) => MojaloopIlp
    readonly ILP_VERSIONS: { readonly v1: string; readonly v4: string }
  }
}

const { Ilp } = createRequire(import.meta.url)('@mojaloop/sdk-standard-components') as Mojaloop
const quiet = { child: () => quiet, debug: () => {}, warn: () => {}, info: () => {}, isDebugEnabled: false }

const SECRET = 'the secret of bank 044, as its SDK has it'
const secret = new IlpSecret(Buffer.from(SECRET))
const theirs = {
  1: Ilp.ilpFactory(Ilp.ILP_VERSIONS.v1, { secret: SECRET, logger: quiet }),
  4: Ilp.ilpFactory(Ilp.ILP_VERSIONS.v4, { secret: SECRET, logger: quiet }),
}

const EXPIRATION = '2026-11-22T10:00:30.125Z'
const transaction = {
  transactionId: '85feac2f-39b2-491b-817e-4a03203d4f14',
  quoteId: '7c23e80c-d078-4077-8263-2c047876fcf6',
  payee: { partyIdInfo: { partyIdType: 'ACCOUNT_ID', partyIdentifier: '9876543210', fspId: '044' } },
  payer: { partyIdInfo: { partyIdType: 'MSISDN', partyIdentifier: '234800000001', fspId: '058' } },
  amount: { currency: 'NGN', amount: '2500.50' },
  transactionType: { scenario: 'TRANSFER', initiator: 'PAYER', initiatorType: 'CONSUMER' },
  note: 'rent for März, 50% ✓',
  expiration: EXPIRATION,
}

/** As `safe-stable-stringify` of theirs writes it: sorted keys, no white space. */
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(',')}}`
}

const bytesOf = (text: string) => Buffer.from(text, 'base64url')
const textOf = (bytes: Buffer) => bytes.toString('base64url')

const DESTINATION = { 1: 'g.044.account_id.9876543210', 4: 'g.mojaloop' }

for (const version of [1, 4] as const) {
  t.test(`SEC-6 version ${version}: packet, condition and fulfilment are those of Mojaloop's components`, async (t) => {
    const their = theirs[version].getResponseIlp(transaction)
    const our = makePair(
      {
        version,
        amount: 250_050n,
        destination: DESTINATION[version],
        expiresAtMs: Date.parse(EXPIRATION),
        transaction: canonical(transaction),
      },
      secret,
    )
    t.equal(textOf(our.packet), their.ilpPacket)
    t.equal(textOf(our.condition), their.condition)
    t.equal(textOf(our.fulfilment), their.fulfilment)
  })

  t.test(`SEC-6 version ${version}: theirs accept ours`, async (t) => {
    const { packet, condition, fulfilment } = makePair(
      {
        version,
        amount: 100n,
        destination: 'g.bank.account',
        expiresAtMs: Date.parse(EXPIRATION),
        transaction: canonical({
          amount: { amount: '1.00', currency: 'NGN' },
          expiration: EXPIRATION,
          note: 'ÿ~~>>??',
        }),
      },
      secret,
    )
    const their = theirs[version]
    t.ok(their.validateFulfil(textOf(fulfilment), textOf(condition)))
    t.equal(their.calculateConditionFromFulfil(textOf(fulfilment)), textOf(condition))
    t.equal(their.calculateFulfil(textOf(packet)), textOf(fulfilment), 'they make the same fulfilment from our packet')
    t.match(their.getTransactionObject(textOf(packet)), { note: 'ÿ~~>>??' })
    const otherFulfilment = Buffer.from(fulfilment)
    otherFulfilment[31] = (otherFulfilment[31] as number) ^ 1
    t.notOk(their.validateFulfil(textOf(otherFulfilment), textOf(condition)))
  })

  t.test(`SEC-6 version ${version}: ours accept theirs`, async (t) => {
    const their = theirs[version].getResponseIlp(transaction)
    const packetBytes = bytesOf(their.ilpPacket)
    const packet = readPacket(packetBytes)
    t.equal(packet.amount, 250_050n)
    t.equal(packet.destination, DESTINATION[version])
    t.equal(packet.expiresAtMs, version === 4 ? Date.parse(EXPIRATION) : undefined)
    t.strictSame(JSON.parse(transactionOf(packet).toString()), transaction)
    const fulfilment = fulfilmentOf(packet, packetBytes, secret)
    t.equal(textOf(fulfilment), their.fulfilment)
    t.ok(isFulfilled(bytesOf(their.condition), bytesOf(their.fulfilment)))
  })

  t.test(`SEC-6 version ${version}: any transaction gives both the same fulfilment`, async (t) => {
    const transactions = fc.record({
      amount: fc.record({
        currency: fc.constantFrom('NGN', 'KES', 'USD'),
        amount: fc.nat({ max: 1e9 }).map(String),
      }),
      expiration: fc.constant(EXPIRATION),
      payee: fc.constant(transaction.payee),
      note: fc.string({ unit: 'binary' }),
      extension: fc.dictionary(
        fc.string().filter((name) => name !== '__proto__'),
        fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.double({ noNaN: true, noDefaultInfinity: true })),
      ),
    })
    fc.assert(
      fc.property(transactions, (any) => {
        const their = theirs[version].getResponseIlp(any)
        const packetBytes = bytesOf(their.ilpPacket)
        return textOf(fulfilmentOf(readPacket(packetBytes), packetBytes, secret)) === their.fulfilment
      }),
      { numRuns: 200 },
    )
    t.pass('200 transactions')
  })

  t.test(
    `SEC-6 version ${version}: no changed byte of a packet keeps the fulfilment, for ours or theirs`,
    async (t) => {
      const { ilpPacket, condition, fulfilment } = theirs[version].getResponseIlp(transaction)
      const original = bytesOf(ilpPacket)
      // Version 4: amount, expiry, condition and destination are outside of what the fulfilment covers; data is not.
      const from = version === 1 ? 0 : original.length - readPacket(original).data.length
      let accepted = 0
      for (let index = from; index < original.length; index++) {
        const changed = Buffer.from(original)
        changed[index] = (changed[index] as number) ^ 0x01
        try {
          const made = fulfilmentOf(readPacket(changed), changed, secret)
          if (isFulfilled(bytesOf(condition), made)) accepted++
        } catch (error) {
          t.match(error, { code: 'BAD_REQUEST' })
        }
      }
      t.equal(accepted, 0)
      t.equal(new Set([fulfilment]).size, 1)
    },
  )
}

t.test('SEC-6 a wrong secret, and a wrong fulfilment, are refused by both', async (t) => {
  const otherSecret = new IlpSecret(Buffer.from('the secret of another bank altogether'))
  for (const version of [1, 4] as const) {
    const { ilpPacket, condition } = theirs[version].getResponseIlp(transaction)
    const packet = readPacket(bytesOf(ilpPacket))
    const wrong = fulfilmentOf(packet, bytesOf(ilpPacket), otherSecret)
    t.notOk(isFulfilled(bytesOf(condition), wrong))
    t.notOk(theirs[version].validateFulfil(textOf(wrong), condition))
    const terms = { condition: bytesOf(condition), expiresAtMs: 2_000 }
    t.strictSame(judgeFulfilment(terms, { fulfilment: wrong }, { receivedAtMs: 1_000, clockSkewMs: 0 }), {
      failure: 'mismatch',
    })
  }
})

t.test('SEC-6 the reader takes what ilp-packet writes, and says the same of it', async (t) => {
  const address = fc
    .array(fc.stringMatching(/^[a-zA-Z0-9_~-]{1,20}$/), { minLength: 1, maxLength: 6 })
    .map((parts) => `g.${parts.join('.')}`)
  const fields = fc.record({
    amount: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    address,
    data: fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes)),
    condition: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
    expiresAtMs: fc.integer({ min: 0, max: 4_000_000_000_000 }),
  })
  fc.assert(
    fc.property(fields, ({ amount, address: destination, data, condition, expiresAtMs }) => {
      const prepare = v4.serializeIlpPrepare({
        amount: String(amount),
        destination,
        data,
        executionCondition: condition,
        expiresAt: new Date(expiresAtMs),
      })
      t.strictSame(readPacket(prepare), { version: 4, amount, destination, data, condition, expiresAtMs })
      const payment = v1.serializeIlpPayment({ amount: String(amount), account: destination, data })
      t.match(readPacket(payment), { version: 1, amount, destination, data })
    }),
    { numRuns: 100 },
  )
  t.ok(conditionOf(Buffer.alloc(32)).length === 32)
})
