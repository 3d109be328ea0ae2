import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { encodeMap, FrameType, readHeader, writeHeader } from '../../lib/frames/index.ts'
import { MAX_KX_FRAME_BYTES } from '../../lib/kx/constants.ts'
import {
  checkConfirmation,
  decodeFinKx,
  decodeFinKxRsp,
  decodeInitKx,
  decodeInitKxRsp,
  decodeLsPayload,
  decodeXchangePayload,
  encodeConfirmation,
  encodeFinKx,
  encodeFinKxRsp,
  encodeInitKx,
  encodeInitKxRsp,
  encodeLsPayload,
  encodeXchangePayload,
} from '../../lib/kx/messages.ts'
import { kxParties } from '../support/kx-parties.ts'

const FAILED = { code: 'KX_FAILED' }
const route = { bankCode: '044', sessionId: randomBytes(16) }
const proof = { identity: randomBytes(32), notBefore: 1, notAfter: 1_800_000_000_000, signature: randomBytes(64) }
const { terms } = kxParties().ls
const { offer } = kxParties().xchange

function kxFrame(
  map: Record<string, unknown>,
  header: { type?: FrameType; epoch?: number; sequence?: number } = {},
): Buffer {
  const frame = Buffer.concat([Buffer.alloc(12), encodeMap(map)])
  writeHeader(frame, { type: FrameType.kx, epoch: 0, sequence: 0, ...header })
  return frame
}

t.test('LS-4 every message carries bank code and session id, and comes out as it went in', async (t) => {
  const body = randomBytes(96)
  const init = { ...route, generation: 1_800_000_000_000, body }
  t.same(decodeInitKx(encodeInitKx(init)), init)
  t.same(decodeInitKxRsp(encodeInitKxRsp(route, body), route), { accepted: true, body })
  t.same(decodeInitKxRsp(encodeInitKxRsp(route, undefined), route), { accepted: false })
  t.same(decodeFinKx(encodeFinKx(route, body), route), body)
  t.same(decodeFinKxRsp(encodeFinKxRsp(route, undefined), route), { accepted: false })
  const sealedFrame = Buffer.concat([Buffer.alloc(12), body])
  writeHeader(sealedFrame, { type: FrameType.kx, epoch: 7, sequence: 0 })
  t.same(decodeFinKxRsp(encodeFinKxRsp(route, sealedFrame), route), { accepted: true, sealedFrame })
  t.same(decodeXchangePayload(encodeXchangePayload(proof, offer)), { proof, offer })
  t.same(decodeLsPayload(encodeLsPayload(proof, terms)), { proof, terms })
  t.doesNotThrow(() => checkConfirmation(encodeConfirmation(route, 7), route, 7))
})

t.test('headers: type 1, epoch 0, sequence = message index', async (t) => {
  const frames = [
    encodeInitKx({ ...route, generation: 1, body: randomBytes(32) }),
    encodeInitKxRsp(route, randomBytes(96)),
    encodeFinKx(route, randomBytes(64)),
    encodeFinKxRsp(route, undefined),
  ]
  for (const [sequence, frame] of frames.entries()) {
    t.same(readHeader(frame), { type: FrameType.kx, epoch: 0, sequence })
  }
})

t.test('the generation travels as an integer, never as a float', async (t) => {
  for (const generation of [0, 1, 2 ** 32, 1_800_000_000_000, Number.MAX_SAFE_INTEGER]) {
    const frame = encodeInitKx({ ...route, generation, body: Buffer.alloc(0) })
    const at = frame.indexOf('generation') + 'generation'.length
    t.not(frame[at], 0xcb, `${generation}`)
    t.equal(decodeInitKx(frame).generation, generation)
  }
})

t.test('INIT_KX that is not exactly right is refused', async (t) => {
  const map = { command: 'INIT_KX', ...route, generation: 1, body: randomBytes(32) }
  t.doesNotThrow(() => decodeInitKx(kxFrame(map)))
  const { body: _body, ...withoutBody } = map
  const wrong: Record<string, Record<string, unknown>> = {
    'field missing': withoutBody,
    'unknown field': { ...map, extra: 1 },
    'unknown field in place of another': { ...withoutBody, extra: 1 },
    'other command': { ...map, command: 'FIN_KX' },
    'bank code not a string': { ...map, bankCode: 44 },
    'bank code empty': { ...map, bankCode: '' },
    'session id as hex': { ...map, sessionId: route.sessionId.toString('hex') },
    'session id short': { ...map, sessionId: randomBytes(15) },
    'generation negative': { ...map, generation: -1 },
    'generation with a fraction': { ...map, generation: 1.5 },
    'generation above 2^53-1': { ...map, generation: 2n ** 53n },
    'generation of 64 bits': { ...map, generation: 2n ** 64n - 1n },
    'generation as a string': { ...map, generation: '1' },
    'body not binary': { ...map, body: 'abc' },
    'body null': { ...map, body: null },
  }
  for (const [what, spoiled] of Object.entries(wrong)) t.throws(() => decodeInitKx(kxFrame(spoiled)), FAILED, what)
  t.throws(() => decodeInitKx(kxFrame(map, { type: FrameType.request })), FAILED, 'other type')
  t.throws(() => decodeInitKx(kxFrame(map, { epoch: 1 })), FAILED, 'other epoch')
  t.throws(() => decodeInitKx(kxFrame(map, { sequence: 1 })), FAILED, 'other sequence')
  t.throws(() => decodeInitKx(kxFrame({ ...map, body: Buffer.alloc(MAX_KX_FRAME_BYTES) })), FAILED, 'too long')
  t.throws(() => decodeInitKx(Buffer.concat([kxFrame(map), Buffer.of(0xc0)])), FAILED, 'bytes after it')
})

t.test('messages of another bank or session are refused', async (t) => {
  for (const other of [
    { ...route, bankCode: '058' },
    { ...route, sessionId: randomBytes(16) },
  ]) {
    t.throws(() => decodeInitKxRsp(encodeInitKxRsp(other, randomBytes(96)), route), FAILED)
    t.throws(() => decodeInitKxRsp(encodeInitKxRsp(other, undefined), route), FAILED)
    t.throws(() => decodeFinKx(encodeFinKx(other, randomBytes(64)), route), FAILED)
    t.throws(() => decodeFinKxRsp(encodeFinKxRsp(other, undefined), route), FAILED)
    t.throws(() => checkConfirmation(encodeConfirmation(other, 1), route, 1), FAILED)
  }
  t.throws(() => checkConfirmation(encodeConfirmation(route, 2), route, 1), FAILED, 'other epoch')
})

t.test('answers other than 0 and 1 are refused', async (t) => {
  const map = { ...route, body: Buffer.alloc(0) }
  for (const answer of [2, -1, true, '1', null]) {
    const initRsp = kxFrame({ command: 'INIT_KX_RSP', ...map, response: answer }, { sequence: 1 })
    t.throws(() => decodeInitKxRsp(initRsp, route), FAILED, `response ${answer}`)
    const finRsp = kxFrame({ command: 'FIN_KX_RSP', ...map, status: answer }, { sequence: 3 })
    t.throws(() => decodeFinKxRsp(finRsp, route), FAILED, `status ${answer}`)
  }
})

t.test('offers and terms out of their bounds are refused', async (t) => {
  const badOffers = [
    { windowRecords: 0 },
    { windowRecords: 65_537 },
    { windowRecords: 1.5 },
    { maxFrameBytes: 1_023 },
    { maxFrameBytes: 1_048_577 },
    { bootId: randomBytes(15) },
  ]
  for (const bad of badOffers) {
    const payload = encodeXchangePayload(proof, { ...offer, ...bad })
    t.throws(() => decodeXchangePayload(payload), FAILED, JSON.stringify(bad))
  }
  for (const name of Object.keys(terms)) {
    for (const value of [0, -1, 1.5, 2n ** 60n]) {
      const payload = encodeMap({ proof, terms: { ...terms, [name]: value } })
      t.throws(() => decodeLsPayload(payload), FAILED, `${name} ${value}`)
    }
  }
  t.throws(
    () => decodeLsPayload(encodeLsPayload(proof, { ...terms, echoIntervalMs: 2 ** 31 })),
    FAILED,
    'no timer is so long',
  )
  t.throws(() => decodeLsPayload(encodeMap({ proof, terms: { ...terms, extra: 1 } })), FAILED, 'unknown term')
  t.throws(() => decodeLsPayload(encodeMap({ proof, terms, extra: 1 })), FAILED, 'unknown field')
  t.throws(() => decodeLsPayload(encodeMap({ proof, terms: [] })), FAILED, 'terms not a map')
  t.throws(() => decodeLsPayload(encodeMap({ proof: null, terms })), FAILED, 'proof not a map')
  t.throws(() => decodeLsPayload(encodeMap({ proof: { ...proof, signature: randomBytes(63) }, terms })), FAILED)
})

t.test('random bytes only ever give KX_FAILED', async (t) => {
  const outcomes = new Set<string>()
  const attempt = (decode: () => unknown) => {
    try {
      decode()
      outcomes.add('decoded')
    } catch (error) {
      outcomes.add(error instanceof Error && 'code' in error ? String(error.code) : String(error))
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, withHeader) => {
      const header = kxFrame({}).subarray(0, 12)
      const frame = withHeader ? Buffer.concat([header, bytes]) : Buffer.from(bytes)
      attempt(() => decodeInitKx(frame))
      attempt(() => decodeInitKxRsp(frame, route))
      attempt(() => decodeFinKx(frame, route))
      attempt(() => decodeFinKxRsp(frame, route))
      attempt(() => decodeLsPayload(frame))
      attempt(() => decodeXchangePayload(frame))
    }),
    { numRuns: 500 },
  )
  t.same([...outcomes], ['KX_FAILED'])
})
