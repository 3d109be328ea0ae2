import t from 'tap'
import {
  decodeMeta,
  decodeRequestBatch,
  decodeResponseBatch,
  encodeMap,
  type RequestRecord,
  type ResponseRecord,
} from '../../../lib/frames/index.ts'
import {
  LsSigning,
  type SignedRequest,
  type SigningMode,
  VerificationCache,
  XchangeSigning,
} from '../../../lib/message/jws/index.ts'
import { keysOf, seededKey, verificationKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const SESSION = Buffer.alloc(16, 1)
const OTHER_SESSION = Buffer.alloc(16, 2)
const ls = seededKey('ls')
const bank = seededKey('044')
const otherBank = seededKey('058')

interface Origin {
  readonly key: string
  readonly method: string
  signed: readonly SignedRequest[] | undefined
}

/** Both ends of a channel whose messages are signed, with three requests on their way. */
function stage(mode: SigningMode, changes: { bankCode?: string; verifierBank?: string } = {}) {
  const clock = new VirtualClock()
  const keys = keysOf(verificationKey(ls), verificationKey(bank), verificationKey(otherBank))
  const options = { mode, policy: 'required', keys, cache: new VerificationCache({ clock }), clock } as const
  const { bankCode = '044', verifierBank = bankCode } = changes
  const atLs = new LsSigning<Origin>({ ...options, bankCode, key: () => ls })
  const atXchange = new XchangeSigning({ ...options, bankCode: verifierBank, key: () => bank, lsParty: 'ls' })
  const origins: Origin[] = ['k-1', 'k-2', 'k-3'].map((key) => ({ key, method: 'transfer', signed: undefined }))
  const batch = atLs.newBatch(65_508, () => SESSION)
  for (const [index, origin] of origins.entries()) {
    batch.append({
      id: index + 1,
      key: origin.key,
      method: origin.method,
      budgetMs: 30_000,
      payload: Buffer.from(`payload ${index}`),
      meta: encodeMap({ traceparent: `t-${index}`, code: 'X' }),
      origin,
    })
  }
  const requests = decodeRequestBatch(Buffer.from(batch.take()))
  return { clock, atLs, atXchange, origins, requests, bankCode }
}

/** As if this had been sent under that id. */
function sentAs(recordId: number, origin: Origin | undefined): readonly SignedRequest[] {
  return (origin?.signed ?? []).map((sent) => ({ ...sent, recordId }))
}

/** How many of these the xchange takes. */
function taken(signing: XchangeSigning, requests: readonly RequestRecord[], sessionId = SESSION): number {
  return signing.verify(requests, sessionId).filter(({ error }) => error === undefined).length
}

function flip(bytes: Buffer, index: number, bit = 1): Buffer {
  const changed = Buffer.from(bytes)
  changed[index] = (changed[index] ?? 0) ^ bit
  return changed
}

/** Each change of one field of a request record. */
const REQUEST_CHANGES: Record<string, (request: RequestRecord, others: readonly RequestRecord[]) => RequestRecord> = {
  id: (request) => ({ ...request, id: request.id + 1 }),
  key: (request) => ({ ...request, key: 'k-9' }),
  'key, one letter more': (request) => ({ ...request, key: `${request.key}0` }),
  method: (request) => ({ ...request, method: 'transfers' }),
  'a letter moved from key to method': (request) => ({ ...request, key: 'k-', method: `1${request.method}` }),
  budgetMs: (request) => ({ ...request, budgetMs: 0 }),
  'payload, one bit': (request) => ({ ...request, payload: flip(request.payload, 3) }),
  'payload, cut short': (request) => ({ ...request, payload: request.payload.subarray(1) }),
  'payload, longer': (request) => ({ ...request, payload: Buffer.concat([request.payload, Buffer.alloc(1)]) }),
  'payload of another request': (request, others) => ({ ...request, payload: others[1]?.payload ?? request.payload }),
  'meta, another value': (request) => ({
    ...request,
    meta: encodeMap({ ...decodeMeta(request.meta), traceparent: 't-9' }),
  }),
  'meta, an entry more': (request) => ({ ...request, meta: encodeMap({ ...decodeMeta(request.meta), ilp: 1 }) }),
  'meta, an entry less': (request) => ({
    ...request,
    meta: encodeMap({ sig: decodeMeta(request.meta).sig, traceparent: 't-0' }),
  }),
  'meta, another order': (request) => {
    const { sig, traceparent, code } = decodeMeta(request.meta)
    return { ...request, meta: encodeMap({ sig, code, traceparent }) }
  },
  'meta, only the signature': (request) => ({ ...request, meta: encodeMap({ sig: decodeMeta(request.meta).sig }) }),
  'no meta': (request) => ({ ...request, meta: undefined }),
  'the signature behind the other entries': (request) => {
    const { sig, ...entries } = decodeMeta(request.meta)
    return { ...request, meta: encodeMap({ ...entries, sig }) }
  },
  'the signature as another type': (request) => {
    const { sig, ...entries } = decodeMeta(request.meta)
    const other = Buffer.isBuffer(sig) ? sig.toString('latin1') : Buffer.from(String(sig))
    return { ...request, meta: encodeMap({ sig: other, ...entries }) }
  },
  'the signature as a map': (request) => ({ ...request, meta: encodeMap({ ...decodeMeta(request.meta), sig: {} }) }),
  'an empty signature': (request) => ({
    ...request,
    meta: encodeMap({ ...decodeMeta(request.meta), sig: Buffer.alloc(0) }),
  }),
  'the signature of another request': (request, others) => ({
    ...request,
    meta: encodeMap({ ...decodeMeta(request.meta), sig: decodeMeta(others[1]?.meta).sig }),
  }),
}

for (const mode of ['batch', 'each'] as const) {
  t.test(
    `SEC-3 a request of which anything is changed is refused, and the others are taken, mode ${mode}`,
    async (t) => {
      for (const [name, change] of Object.entries(REQUEST_CHANGES)) {
        const { atXchange, requests } = stage(mode)
        t.equal(taken(atXchange, requests), 3, 'as it came')
        const [first, ...others] = requests
        if (first === undefined) throw new Error('there are requests')
        const changed = change(first, requests)
        t.equal(taken(atXchange, [changed]), 0, `alone: ${name}`)
        t.equal(taken(atXchange, [changed, ...others]), 2, `with the others: ${name}`)
        const [verdict] = atXchange.verify([changed], SESSION)
        t.match(verdict, { error: { code: 'SIGNATURE_INVALID' }, answered: { key: changed.key, messageHash: '' } })
      }
    },
  )

  t.test(`SEC-3 every bit of a signature counts, mode ${mode}`, async (t) => {
    const { atXchange, requests } = stage(mode)
    const request = requests[1]
    if (request === undefined) throw new Error('there are requests')
    const { sig, ...entries } = decodeMeta(request.meta)
    const bytes = Buffer.from(sig as Buffer | string)
    let accepted = 0
    for (let index = 0; index < bytes.length; index++) {
      for (const bit of mode === 'batch' ? [1, 16, 128] : [1, 4]) {
        const changed = flip(bytes, index, bit)
        const value = typeof sig === 'string' ? changed.toString('latin1') : changed
        // Only text of one byte a character can be written as such.
        if (typeof sig === 'string' && (changed[index] ?? 0) > 0x7f) continue
        accepted += taken(atXchange, [{ ...request, meta: encodeMap({ sig: value, ...entries }) }])
      }
    }
    t.equal(accepted, 0, `${bytes.length} bytes`)
    for (const length of [0, 1, 2, 20, bytes.length - 33, bytes.length - 32, bytes.length - 1]) {
      const cut = bytes.subarray(0, length)
      const value = typeof sig === 'string' ? cut.toString('latin1') : cut
      t.equal(taken(atXchange, [{ ...request, meta: encodeMap({ sig: value, ...entries }) }]), 0, `cut to ${length}`)
      const longer = Buffer.concat([bytes, bytes.subarray(bytes.length - 32)])
      const more = typeof sig === 'string' ? longer.toString('latin1') : longer
      t.equal(taken(atXchange, [{ ...request, meta: encodeMap({ sig: more, ...entries }) }]), 0, 'with bytes behind it')
    }
  })

  t.test(`SEC-3 a good message is of no use to anybody else, mode ${mode}`, async (t) => {
    const { atXchange, requests, clock } = stage(mode)
    t.equal(taken(atXchange, requests, OTHER_SESSION), 0, 'in another session')
    t.equal(
      taken(stage(mode, { bankCode: '058', verifierBank: '044' }).atXchange, stage(mode, { bankCode: '058' }).requests),
      0,
      'at another bank',
    )
    const fromBank = new XchangeSigning({
      bankCode: '044',
      mode,
      policy: 'required',
      keys: keysOf(verificationKey(ls), verificationKey(bank)),
      cache: new VerificationCache({ clock }),
      clock,
      key: () => bank,
      lsParty: '044',
    })
    t.equal(taken(fromBank, requests), 0, 'as if of another party')
    await clock.advance(300_001)
    t.equal(taken(atXchange, requests), 0, 'too late')
  })
}

const RESPONSE_CHANGES: Record<
  string,
  (response: ResponseRecord, others: readonly ResponseRecord[]) => ResponseRecord
> = {
  id: (response) => ({ ...response, id: 99 }),
  status: (response) => ({ ...response, status: 2 }),
  payload: (response) => ({ ...response, payload: flip(response.payload, 0) }),
  'payload of another response': (response, others) => ({
    ...response,
    payload: others[1]?.payload ?? response.payload,
  }),
  meta: (response) => ({ ...response, meta: encodeMap({ ...decodeMeta(response.meta), code: 'BUSY' }) }),
  'no meta': (response) => ({ ...response, meta: undefined }),
}

for (const mode of ['batch', 'each'] as const) {
  t.test(`SEC-3 a response of which anything is changed is not believed, mode ${mode}`, async (t) => {
    const { atLs, atXchange, origins, requests } = stage(mode)
    const verdicts = atXchange.verify(requests, SESSION)
    const batch = atXchange.newBatch(65_508, () => SESSION)
    for (const [index, { answered }] of verdicts.entries())
      batch.append({ id: index + 1, status: 0, payload: Buffer.from(`answer ${index}`), meta: undefined, answered })
    const responses = decodeResponseBatch(Buffer.from(batch.take()))
    const believed = (changed: readonly ResponseRecord[], of: readonly (Origin | undefined)[], sessionId = SESSION) =>
      atLs
        .verify(
          changed.map((response, index) => ({ response, request: of[index] as Origin })),
          sessionId,
        )
        .filter(({ error }) => error === undefined).length
    t.equal(believed(responses, origins), 3, 'as they came')
    t.equal(believed(responses, origins, OTHER_SESSION), 0, 'in another session')
    const [first, ...others] = responses
    if (first === undefined) throw new Error('there are responses')
    for (const [name, change] of Object.entries(RESPONSE_CHANGES)) {
      const changed = change(first, responses)
      t.equal(believed([changed], origins), 0, `alone: ${name}`)
      t.equal(believed([changed, ...others], origins), 2, `with the others: ${name}`)
    }
    t.equal(believed([first], [origins[1]]), 0, 'as the answer to another request')
    t.equal(believed([first], [{ ...(origins[0] as Origin), key: 'k-9' }]), 0, 'to another key')
    t.equal(believed([first], [{ ...(origins[0] as Origin), method: 'balance' }]), 0, 'to another method')
    t.equal(
      believed([first], [{ ...(origins[0] as Origin), signed: undefined }]),
      0,
      'to a request that was not signed',
    )
    t.equal(
      believed([first], [{ ...(origins[0] as Origin), signed: sentAs(1, origins[1]) }]),
      0,
      'to a request of the same key and another content',
    )
    t.equal(taken(atXchange, requests), 3)
    const asRequests = responses.map((response, index) => ({
      ...(requests[index] as RequestRecord),
      meta: response.meta,
    }))
    t.equal(taken(atXchange, asRequests), 0, 'a signature of a response is none of a request')
  })
}

t.test('SEC-5 an answer that a bank repeats in a frame is kept as evidence once', async (t) => {
  const clock = new VirtualClock()
  const keys = keysOf(verificationKey(ls), verificationKey(bank))
  const options = { mode: 'batch', policy: 'required', keys, cache: new VerificationCache({ clock }), clock } as const
  const kept: string[] = []
  const evidence = { isWanted: () => true, onProven: ({ key }: Origin) => void kept.push(key) }
  const atLs = new LsSigning<Origin>({ ...options, bankCode: '044', key: () => ls, evidence })
  const atXchange = new XchangeSigning({ ...options, bankCode: '044', key: () => bank, lsParty: 'ls' })
  const answered = { key: 'k-1', method: 'transfer', messageHash: '' }
  const request: Origin = { key: 'k-1', method: 'transfer', signed: undefined }
  const batch = atXchange.newBatch(65_508, () => SESSION)
  for (let time = 0; time < 5; time++)
    batch.append({ id: 1, status: 0, payload: Buffer.from('done'), meta: undefined, answered })
  const answers = decodeResponseBatch(Buffer.from(batch.take())).map((response) => ({ request, response }))
  t.ok(atLs.verify(answers, SESSION).every(({ error }) => error === undefined))
  t.strictSame(kept, ['k-1'])
})

t.test('SEC-3 a request that was sent again on the same channel may be answered under either id', async (t) => {
  const { atLs, atXchange, origins, requests } = stage('batch')
  const [origin] = origins
  const [first] = requests
  if (origin === undefined || first === undefined) throw new Error('there are requests')
  const send = (id: number) => {
    const batch = atLs.newBatch(65_508, () => SESSION)
    const { key, method } = origin
    batch.append({ id, key, method, budgetMs: 0, payload: first.payload, meta: undefined, origin })
    return decodeRequestBatch(Buffer.from(batch.take()))
  }
  const answer = (id: number, received: readonly RequestRecord[]) => {
    const batch = atXchange.newBatch(65_508, () => SESSION)
    const [verdict] = atXchange.verify(received, SESSION)
    if (verdict === undefined) throw new Error('there is a verdict')
    batch.append({ id, status: 0, payload: Buffer.from('late'), meta: undefined, answered: verdict.answered })
    return decodeResponseBatch(Buffer.from(batch.take()))
  }
  const isBelieved = (responses: readonly ResponseRecord[]) =>
    atLs.verify(
      responses.map((response) => ({ response, request: origin })),
      SESSION,
    )[0]?.error === undefined
  const again = send(9)
  t.ok(isBelieved(answer(1, [first])), 'the first sending, though there was a second')
  t.ok(isBelieved(answer(9, again)), 'the second')
  t.notOk(isBelieved(answer(9, [first])), 'but not the one under the id of the other')
  for (const id of [10, 11, 12, 13]) send(id)
  t.notOk(isBelieved(answer(9, again)), 'old sendings are forgotten')
  t.equal(origin.signed?.length, 4)
})
