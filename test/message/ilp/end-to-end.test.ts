import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { conditionOf, IlpSecret, makePair } from '../../../lib/message/ilp/index.ts'
import { TestBed } from '../../support/daemons.ts'

const SECRET_TEXT = 'what bank 044 fulfils with, 2026'
const OTHER_TEXT = 'what bank 044 fulfilled with before'
const secret = new IlpSecret(Buffer.from(SECRET_TEXT))

const METHODS = ['echo', 'sleep', 'pid']

/** LS and bank 044. `isShared`: LS has the bank's secret. */
async function start(t: Test, options: { isShared?: boolean; clockSkewMs?: number } = {}) {
  const { isShared = false, clockSkewMs = 0 } = options
  const bed = await TestBed.create({ banks: [{ code: '044', dial: 'ls' }] })
  t.teardown(() => bed.stop())
  const secretFile = join(bed.dir, 'ilp.secret')
  const otherFile = join(bed.dir, 'other.secret')
  writeFileSync(secretFile, SECRET_TEXT, { mode: 0o600 })
  writeFileSync(otherFile, OTHER_TEXT, { mode: 0o600 })
  const methods = METHODS.filter((method) => method !== 'echo')
  await bed.startXchange('044', { config: { ilp: { methods, secretFiles: [secretFile, otherFile], clockSkewMs } } })
  const ls = await bed.startLs({
    config: { ilp: { methods, clockSkewMs } },
    ...(isShared ? { banks: { '044': { ilpSecretFile: secretFile } } } : {}),
  })
  await ls.connected('044')
  return { bed, ls }
}

function quote(options: { version?: 1 | 4; expiresInMs?: number; with?: IlpSecret } = {}) {
  const { version = 4, expiresInMs = 30_000 } = options
  const expiresAtMs = Date.now() + expiresInMs
  const transaction = `{"amount":{"amount":"50.00","currency":"NGN"},"quoteId":"${randomUUID()}"}`
  const terms = { version, amount: 5_000n, destination: 'g.044.account', expiresAtMs, transaction }
  const pair = makePair(terms, options.with ?? secret)
  const { packet, condition } = pair
  return { pair, ilp: { packet, condition, ...(version === 1 ? { expiresAt: expiresAtMs } : {}) } }
}

t.test('SEC-6 a transfer is proven end to end, for both versions of ILP and both forms of the socket', async (t) => {
  const { ls } = await start(t)
  for (const version of [1, 4] as const) {
    const { pair, ilp } = quote({ version })
    const reply = await ls.ask({ to: '044', method: 'pid', payload: {}, ilp })
    t.match(reply, { outcome: 'answered', code: undefined, ilp: { fulfilment: pair.fulfilment } }, `version ${version}`)
    t.strictSame(conditionOf(reply.ilp?.fulfilment ?? Buffer.alloc(0)), pair.condition)
  }
  const { pair: spoken, ilp: bytes } = quote()
  const [packet, condition] = [bytes.packet, bytes.condition].map((part) => part.toString('base64url'))
  const line = { op: 'request', id: 1, to: '044', method: 'pid', payload: {}, ilp: { packet, condition } }
  t.match(await askInJson(ls.appSocket, line), {
    outcome: 'answered',
    ilp: { fulfilment: spoken.fulfilment.toString('base64url'), condition },
  })
  const { pair, ilp } = quote({ with: new IlpSecret(Buffer.from(OTHER_TEXT)) })
  const older = await ls.ask({ to: '044', method: 'echo', payload: {}, ilp })
  t.match(
    older,
    { outcome: 'answered', ilp: { fulfilment: pair.fulfilment } },
    'of an older secret, on a method that asks for none',
  )
})

/** One line of the human form, and the line that answers it. */
async function askInJson(path: string, message: Record<string, unknown>): Promise<unknown> {
  const socket = connect(path)
  socket.end(`${JSON.stringify(message)}\n`)
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return JSON.parse(Buffer.concat(chunks).toString())
}

t.test('SEC-6 the bank runs nothing that it could not prove', async (t) => {
  const { ls } = await start(t)
  const foreign = quote({ with: new IlpSecret(Buffer.from('of another bank altogether')) })
  const refused = await ls.ask({ to: '044', method: 'pid', payload: {}, ilp: foreign.ilp })
  t.match(refused, { outcome: 'refused', code: 'FULFILMENT_INVALID', ilp: undefined })
  const expired = await ls.ask({ to: '044', method: 'pid', payload: {}, ilp: quote({ expiresInMs: -1 }).ilp })
  t.match(expired, { outcome: 'refused', code: 'DEADLINE_EXCEEDED' })
  t.match(await ls.ask({ to: '044', method: 'pid', payload: {} }), { outcome: 'refused', code: 'BAD_REQUEST' })
  t.match(await ls.admin('ilp-failures', {}), { total: 1, failures: [{ type: 'refused', bankCode: '044' }] })
})

t.test(
  'SEC-6 an answer after the expiry leaves the transfer in doubt; a repeated key gets its proof again',
  async (t) => {
    const { ls } = await start(t)
    const late = quote({ expiresInMs: 150 })
    const reply = await ls.ask({ to: '044', method: 'sleep', payload: { ms: 200 }, ilp: late.ilp, key: 'late' })
    t.match(reply, { outcome: 'in-doubt', code: 'FULFILMENT_INVALID', payload: undefined, ilp: undefined })
    const inTime = quote({ expiresInMs: 300 })
    const first = await ls.ask({ to: '044', method: 'sleep', payload: { ms: 0 }, ilp: inTime.ilp, key: 'in-time' })
    t.match(first, { outcome: 'answered', ilp: { fulfilment: inTime.pair.fulfilment } })
    // Past the expiry of both packets: what was stored then tells when it was done.
    await ls.ask({ to: '044', method: 'sleep', payload: { ms: 320 }, ilp: quote().ilp })
    const again = await ls.ask({ to: '044', method: 'sleep', payload: { ms: 0 }, ilp: inTime.ilp, key: 'in-time' })
    t.match(again, { outcome: 'answered', ilp: { fulfilment: inTime.pair.fulfilment } })
    const lateAgain = await ls.ask({ to: '044', method: 'sleep', payload: { ms: 200 }, ilp: late.ilp, key: 'late' })
    t.match(lateAgain, { outcome: 'in-doubt', code: 'FULFILMENT_INVALID' })
  },
)

t.test(
  'SEC-6 LS makes packets with the secret that it shares with the bank, over the hash of the payload',
  async (t) => {
    const { ls } = await start(t, { isShared: true })
    const reply = await ls.ask({ to: '044', method: 'pid', payload: {}, ilp: { amount: 5_000, currency: 'NGN' } })
    t.match(reply, { outcome: 'answered', ilp: { packet: Buffer } })
    const again = await ls.ask({ to: '044', method: 'pid', payload: { other: 1 } })
    const { packet, condition } = again.ilp ?? {}
    t.match(again, { outcome: 'answered' })
    // The packet of one request, brought with another.
    const stolen = { packet: packet as Buffer, condition: condition as Buffer }
    const replayed = await ls.ask({ to: '044', method: 'pid', payload: { other: 1 }, ilp: stolen })
    t.match(replayed, { outcome: 'refused', code: 'FULFILMENT_INVALID' }, 'under another key')
    const changed = await ls.ask({ to: '044', method: 'pid', payload: { other: 2 }, ilp: stolen, key: again.key })
    t.match(changed, { outcome: 'refused', code: 'DUPLICATE_MISMATCH' }, 'with another payload')
    const elsewhere = await ls.ask({ to: '044', method: 'echo', payload: { other: 1 }, ilp: stolen, key: again.key })
    t.match(elsewhere, { outcome: 'refused', code: 'DUPLICATE_MISMATCH' }, 'to another method')
  },
)

t.test('SEC-6 no secret, fulfilment or packet is in the logs', async (t) => {
  const { ls } = await start(t)
  const { pair, ilp } = quote()
  await ls.ask({ to: '044', method: 'pid', payload: {}, ilp })
  const text = JSON.stringify(ls.log.lines)
  for (const secretText of [SECRET_TEXT, pair.fulfilment.toString('base64url'), pair.fulfilment.toString('hex')]) {
    t.notOk(text.includes(secretText))
  }
})

t.test('SEC-12 an app that asks with one key for two amounts cannot have the bank taken for a forger', async (t) => {
  const { ls } = await start(t, { isShared: true })
  const asked = { to: '044', method: 'pid', payload: {}, key: 'one-key' }
  t.match(await ls.ask({ ...asked, ilp: { amount: 1n } }), { outcome: 'answered' })
  for (const amount of [2n, 3n, 4n, 5n, 6n, 7n])
    t.match(await ls.ask({ ...asked, ilp: { amount } }), { outcome: 'in-doubt' })
  t.equal((await ls.bankStatus('044')).state, 'connected')
  const again = await ls.ask({ ...asked, ilp: { amount: 1n } })
  t.equal(again.outcome, 'answered', 'the packet that was executed is proven again')
})
