import { encodeMap, type FrameHeader, FrameType, HEADER_BYTES, readHeader, writeHeader } from '../frames/index.ts'
import { LsxError, toLsxError } from '../runtime/index.ts'
import { ED25519_KEY_BYTES, ED25519_SIGNATURE_BYTES, MAX_KX_FRAME_BYTES, SESSION_ID_BYTES } from './constants.ts'
import { Fields } from './fields.ts'
import { checkRoute } from './prologue.ts'
import type { IdentityProof } from './proof.ts'
import { offerMap, readOffer, readTerms, type SessionTerms, termsMap, type XchangeOffer } from './terms.ts'

/**
 * KX frame: header (type 1), then one msgpack map, not sealed. Epoch 0 and these sequences, save for a confirming
 * FIN_KX_RSP, which is the first frame of the new epoch and has sequence 0.
 */
export const KxSequence = { initKx: 0, initKxRsp: 1, finKx: 2, refusedFinKx: 3 } as const
const KX_EPOCH = 0

const ACCEPTED = 1
const REFUSED = 0
const NOTHING = Buffer.alloc(0)
const UINT = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const

/** Bank code and session id: in every kx message. */
export interface KxRoute {
  readonly bankCode: string
  readonly sessionId: Buffer
}

export interface InitKx extends KxRoute {
  readonly generation: number
  /** Noise message 1. */
  readonly body: Buffer
}

/** What INIT_KX_RSP carries: Noise message 2, or a refusal that does not say why. */
export type InitKxAnswer = { readonly accepted: true; readonly body: Buffer } | { readonly accepted: false }

/** What FIN_KX_RSP carries: the sealed confirmation put together again as a whole frame, or a refusal. */
export type FinKxAnswer = { readonly accepted: true; readonly sealedFrame: Buffer } | { readonly accepted: false }

export function encodeInitKx(message: InitKx): Buffer {
  const { bankCode, sessionId, generation, body } = message
  return encodeKxFrame(KX_EPOCH, KxSequence.initKx, {
    command: 'INIT_KX',
    bankCode,
    sessionId,
    generation,
    body,
  })
}

/** Throws KX_FAILED, as all decoding here does. */
export function decodeInitKx(frame: Buffer): InitKx {
  const { header, fields } = decodeKxFrame(frame, 'INIT_KX', ['generation', 'body'])
  expectHeader(header, KX_EPOCH, KxSequence.initKx)
  const message = {
    bankCode: fields.string('bankCode'),
    sessionId: fields.bytes('sessionId'),
    generation: fields.integer('generation', UINT),
    body: fields.bytes('body'),
  }
  checkRoute(message.bankCode, message.sessionId)
  return message
}

/** `body` undefined: refused. */
export function encodeInitKxRsp(route: KxRoute, body: Buffer | undefined): Buffer {
  return encodeKxFrame(KX_EPOCH, KxSequence.initKxRsp, {
    command: 'INIT_KX_RSP',
    bankCode: route.bankCode,
    sessionId: route.sessionId,
    response: body === undefined ? REFUSED : ACCEPTED,
    body: body ?? NOTHING,
  })
}

export function decodeInitKxRsp(frame: Buffer, route: KxRoute): InitKxAnswer {
  const { header, fields } = decodeKxFrame(frame, 'INIT_KX_RSP', ['response', 'body'])
  expectHeader(header, KX_EPOCH, KxSequence.initKxRsp)
  expectRoute(fields, route)
  const body = fields.bytes('body')
  if (fields.integer('response', { minimum: REFUSED, maximum: ACCEPTED }) === REFUSED) return { accepted: false }
  return { accepted: true, body }
}

export function encodeFinKx(route: KxRoute, body: Buffer): Buffer {
  const { bankCode, sessionId } = route
  return encodeKxFrame(KX_EPOCH, KxSequence.finKx, { command: 'FIN_KX', bankCode, sessionId, body })
}

/** Returns Noise message 3. */
export function decodeFinKx(frame: Buffer, route: KxRoute): Buffer {
  const { header, fields } = decodeKxFrame(frame, 'FIN_KX', ['body'])
  expectHeader(header, KX_EPOCH, KxSequence.finKx)
  expectRoute(fields, route)
  return fields.bytes('body')
}

/** `sealedFrame`: the confirmation, sealed as a KX frame of the new epoch with sequence 0. Undefined: refused. */
export function encodeFinKxRsp(route: KxRoute, sealedFrame: Buffer | undefined): Buffer {
  const map = { command: 'FIN_KX_RSP', bankCode: route.bankCode, sessionId: route.sessionId }
  if (sealedFrame === undefined) {
    return encodeKxFrame(KX_EPOCH, KxSequence.refusedFinKx, { ...map, status: REFUSED, body: NOTHING })
  }
  const { epoch, sequence } = readHeader(sealedFrame)
  return encodeKxFrame(epoch, sequence, { ...map, status: ACCEPTED, body: sealedFrame.subarray(HEADER_BYTES) })
}

export function decodeFinKxRsp(frame: Buffer, route: KxRoute): FinKxAnswer {
  const { header, fields } = decodeKxFrame(frame, 'FIN_KX_RSP', ['status', 'body'])
  expectRoute(fields, route)
  const body = fields.bytes('body')
  if (fields.integer('status', { minimum: REFUSED, maximum: ACCEPTED }) === REFUSED) {
    expectHeader(header, KX_EPOCH, KxSequence.refusedFinKx)
    return { accepted: false }
  }
  return { accepted: true, sealedFrame: Buffer.concat([frame.subarray(0, HEADER_BYTES), body]) }
}

/** Payload of Noise message 2. */
export function encodeXchangePayload(proof: IdentityProof, offer: XchangeOffer): Buffer {
  return encodeMap({ proof: proofMap(proof), offer: offerMap(offer) })
}

export function decodeXchangePayload(payload: Buffer): { proof: IdentityProof; offer: XchangeOffer } {
  const fields = Fields.decode(payload, 'the payload of INIT_KX_RSP', ['proof', 'offer'])
  return { proof: readProof(fields), offer: readOffer(fields) }
}

/** Payload of Noise message 3. */
export function encodeLsPayload(proof: IdentityProof, terms: SessionTerms): Buffer {
  return encodeMap({ proof: proofMap(proof), terms: termsMap(terms) })
}

export function decodeLsPayload(payload: Buffer): { proof: IdentityProof; terms: SessionTerms } {
  const fields = Fields.decode(payload, 'the payload of FIN_KX', ['proof', 'terms'])
  return { proof: readProof(fields), terms: readTerms(fields) }
}

/** What the xchange seals into FIN_KX_RSP. */
export function encodeConfirmation(route: KxRoute, epoch: number): Buffer {
  return encodeMap({ status: ACCEPTED, bankCode: route.bankCode, sessionId: route.sessionId, epoch })
}

export function checkConfirmation(plaintext: Buffer, route: KxRoute, epoch: number): void {
  const fields = Fields.decode(plaintext, 'the confirmation', ['status', 'bankCode', 'sessionId', 'epoch'])
  fields.expect('status', ACCEPTED)
  fields.expect('epoch', epoch)
  expectRoute(fields, route)
}

function encodeKxFrame(epoch: number, sequence: number, map: Record<string, unknown>): Buffer {
  const body = encodeMap(map)
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length)
  writeHeader(frame, { type: FrameType.kx, epoch, sequence })
  body.copy(frame, HEADER_BYTES)
  return frame
}

function decodeKxFrame(
  frame: Buffer,
  command: string,
  ownFields: readonly string[],
): { header: FrameHeader; fields: Fields } {
  if (frame.length > MAX_KX_FRAME_BYTES) {
    throw new LsxError('KX_FAILED', `a kx frame of ${frame.length} bytes is over ${MAX_KX_FRAME_BYTES}`)
  }
  let header: FrameHeader
  try {
    header = readHeader(frame)
  } catch (cause) {
    throw new LsxError('KX_FAILED', `the header of ${command} is invalid`, { cause: toLsxError(cause) })
  }
  if (header.type !== FrameType.kx) throw new LsxError('KX_FAILED', `${command} was due, not a frame of another type`)
  const names = ['command', 'bankCode', 'sessionId', ...ownFields]
  const fields = Fields.decode(frame.subarray(HEADER_BYTES), command, names)
  fields.expect('command', command)
  return { header, fields }
}

function expectHeader(header: FrameHeader, epoch: number, sequence: number): void {
  if (header.epoch === epoch && header.sequence === sequence) return
  throw new LsxError('KX_FAILED', 'a kx frame has the wrong epoch or sequence', {
    facts: { epoch: header.epoch, sequence: header.sequence, expectedEpoch: epoch, expectedSequence: sequence },
  })
}

function expectRoute(fields: Fields, route: KxRoute): void {
  fields.expect('bankCode', route.bankCode)
  if (!fields.bytes('sessionId', SESSION_ID_BYTES).equals(route.sessionId)) {
    throw new LsxError('KX_FAILED', 'a kx message is of another session', {
      facts: { expectedSessionId: route.sessionId.toString('hex'), evidence: 'session-mixup' },
    })
  }
}

function proofMap(proof: IdentityProof): Record<string, unknown> {
  const { identity, notBefore, notAfter, signature } = proof
  return { identity, notBefore, notAfter, signature }
}

function readProof(payload: Fields): IdentityProof {
  const fields = payload.map('proof', ['identity', 'notBefore', 'notAfter', 'signature'])
  return {
    identity: fields.bytes('identity', ED25519_KEY_BYTES),
    notBefore: fields.integer('notBefore', UINT),
    notAfter: fields.integer('notAfter', UINT),
    signature: fields.bytes('signature', ED25519_SIGNATURE_BYTES),
  }
}
