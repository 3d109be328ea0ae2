import { unpack } from 'msgpackr'
import t from 'tap'
import { RefusalLog } from '../../lib/channel/index.ts'
import { decodeMeta, encodeMap, type ResponseRecord, ResponseStatus } from '../../lib/frames/index.ts'
import { encodePayload } from '../../lib/ipc/index.ts'
import {
  newSealingKey,
  openAnswer,
  SEALED_TYPE,
  type SealedExchange,
  sealRequest,
} from '../../lib/message/jwe/index.ts'
import { type Handler, HandlerError, InDoubtError } from '../../lib/xchange/handler.ts'
import { plainBytesWithin, RequestSealing } from '../../lib/xchange/request-sealing.ts'
import type { Route } from '../../lib/xchange/route.ts'
import { recordingLogger } from '../support/channel-log.ts'
import { DispatcherHarness, requestOf } from '../support/dispatcher-harness.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const bankKey = newSealingKey('x25519')
const HOUR_MS = 3_600_000

/** A node with one key, whose `transfer` takes sealed payloads only. */
function bankWith(transfer: Handler | Route) {
  const clock = new VirtualClock()
  const log = recordingLogger()
  const sealing = new RequestSealing(
    {
      keys: new Map([[bankKey.keyId, bankKey]]),
      requiredMethods: new Set(['transfer']),
      minRsaBits: 4_096,
      maxAgeMs: HOUR_MS,
    },
    { bankCode: '044', clock, refusals: new RefusalLog(log, clock) },
  )
  const harness = new DispatcherHarness({ transfer }, { clock, sealing })
  const seal = (payload: unknown, idempotencyKey = 'k', method = 'transfer') =>
    sealRequest(encodePayload(payload), {
      context: { bankCode: '044', method, idempotencyKey },
      bankKey,
      nowMs: clock.nowMs(),
    })
  const send = (exchange: SealedExchange, fields: Partial<Parameters<typeof requestOf>[0]> = {}) =>
    new Promise<ResponseRecord>((resolve) => {
      const request = requestOf({
        method: 'transfer',
        key: exchange.context.idempotencyKey,
        bytes: exchange.bytes,
        meta: encodeMap({ type: SEALED_TYPE }),
        budgetMs: 10_000,
        ...fields,
      })
      harness.dispatcher.dispatch(request, resolve)
    })
  return { clock, harness, seal, send }
}

async function opened(response: ResponseRecord, exchange: SealedExchange): Promise<unknown> {
  return unpack(await openAnswer(response.payload, exchange, response.status))
}

t.test('SEC-9 the handler gets what was sealed, and its answers and errors are sealed to the app', async (t) => {
  const bank = bankWith((payload) => {
    if ((payload as { fail?: boolean }).fail === true) throw new HandlerError('NO', 'no', { why: 'secret' })
    return { got: payload }
  })
  const good = await bank.seal({ account: 'a' })
  const answer = await bank.send(good)
  t.equal(answer.status, ResponseStatus.ok)
  t.strictSame(decodeMeta(answer.meta), { type: SEALED_TYPE })
  t.strictSame(await opened(answer, good), { got: { account: 'a' } })
  const bad = await bank.seal({ fail: true }, 'k-2')
  const failed = await bank.send(bad)
  t.equal(failed.status, ResponseStatus.failed)
  t.notOk(failed.payload.includes('secret'))
  t.match(await opened(failed, bad), { code: 'NO', why: 'secret' })
})

t.test('SEC-9 a repetition gets the stored answer, and is not opened again', async (t) => {
  let runs = 0
  const bank = bankWith(() => ++runs)
  const exchange = await bank.seal({})
  const [first, joined] = await Promise.all([bank.send(exchange), bank.send(exchange, { id: 2 })])
  const again = await bank.send(exchange, { id: 3 })
  t.strictSame(joined.payload, first.payload)
  t.strictSame(again.payload, first.payload)
  t.equal(runs, 1)
  const anew = await bank.seal({})
  t.strictSame(decodeMeta((await bank.send(anew, { id: 4 })).meta), { code: 'DUPLICATE_MISMATCH' })
})

t.test('SEC-9 what was sealed long ago is not run, but a stored answer to it is given', async (t) => {
  let runs = 0
  const bank = bankWith(() => ++runs)
  const used = await bank.seal({}, 'used')
  const recorded = await bank.seal({}, 'recorded')
  const first = await bank.send(used)
  await bank.clock.advance(HOUR_MS + 1_000)
  t.strictSame(decodeMeta((await bank.send(recorded, { id: 2 })).meta), { code: 'DEADLINE_EXCEEDED' })
  t.strictSame((await bank.send(used, { id: 3 })).payload, first.payload)
  t.equal(runs, 1)
})

t.test('SEC-9 nothing is run of what is plain, from the future, or cannot be opened', async (t) => {
  let runs = 0
  const bank = bankWith(() => ++runs)
  const exchange = await bank.seal({})
  const future = await sealRequest(encodePayload({}), {
    context: exchange.context,
    bankKey,
    nowMs: bank.clock.nowMs() + HOUR_MS,
  })
  const broken = { ...exchange, bytes: Buffer.from(exchange.bytes) }
  broken.bytes[broken.bytes.length - 40] = broken.bytes.at(-40) === 0x41 ? 0x42 : 0x41
  const notMsgpack = await sealRequest(Buffer.from([0xc1]), {
    context: exchange.context,
    bankKey,
    nowMs: bank.clock.nowMs(),
  })
  for (const [name, response] of Object.entries({
    future: () => bank.send(future),
    broken: () => bank.send(broken, { id: 2 }),
    'no msgpack inside': () => bank.send(notMsgpack, { id: 3 }),
    plain: () =>
      new Promise<ResponseRecord>((resolve) =>
        bank.harness.dispatcher.dispatch(requestOf({ method: 'transfer', id: 4 }), resolve),
      ),
  })) {
    t.strictSame(decodeMeta((await response()).meta), { code: 'BAD_REQUEST' }, name)
  }
  t.equal(runs, 0)
  t.equal((await bank.send(exchange, { id: 5 })).status, ResponseStatus.ok, 'and the key is still free')
})

t.test('SEC-9 what an inquiry settles is sealed as well', async (t) => {
  const bank = bankWith({
    handler: () => {
      throw new InDoubtError('no answer')
    },
    inquire: async () => ({ done: true, payload: 'found' }),
  })
  const exchange = await bank.seal({})
  t.equal((await bank.send(exchange)).status, ResponseStatus.inDoubt)
  const settled = await bank.send(exchange, { id: 2, budgetMs: 0 })
  t.equal(settled.status, ResponseStatus.ok)
  t.equal(await opened(settled, exchange), 'found')
})

t.test('SEC-9 an answer that fits plain and not sealed is told as too large, and that is sealed', async (t) => {
  const maxPayloadBytes = 65_536 - 256
  const bank = bankWith((payload) => Buffer.alloc((payload as { bytes: number }).bytes))
  const fits = await bank.seal({ bytes: plainBytesWithin(maxPayloadBytes) - 8 }, 'fits')
  const answer = await bank.send(fits)
  t.equal(answer.status, ResponseStatus.ok)
  t.ok(answer.payload.length <= maxPayloadBytes)
  const tooLarge = await bank.seal({ bytes: plainBytesWithin(maxPayloadBytes) }, 'too-large')
  const failed = await bank.send(tooLarge)
  t.equal(failed.status, ResponseStatus.failed)
  t.match(await opened(failed, tooLarge), { code: 'TOO_LARGE' })
})
