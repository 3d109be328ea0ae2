import { encodeMap } from '../../lib/frames/index.ts'
import {
  auditPath,
  jwsOf,
  leafHash,
  messageOf,
  metaWith,
  proofOf,
  type ReferenceContext,
  type ReferenceKey,
  type ReferenceMessage,
  referenceKey,
  sha256,
  treeHead,
  treeRoot,
} from './message-reference.ts'

const TIME_MS = 1_800_000_000_000
const SESSION_ID = Buffer.from('64b721968443bfc212cceb77265e5749', 'hex')
const NO_BYTES = Buffer.alloc(0)

const REQUESTS: readonly ReferenceMessage[] = [
  request(1, '0192f0c1-7b1e-7c3a-9d55-2f6f1c0a9e11', 'balance', { account: '0123456789' }),
  request(
    2,
    'k-2',
    'transfer',
    { to: '9876543210', amountMinor: 250_000 },
    { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
  ),
  request(300, 'schlüssel', 'name/enquiry', {}),
]

function request(
  id: number,
  key: string,
  method: string,
  payload: Record<string, unknown>,
  meta?: Record<string, unknown>,
): ReferenceMessage {
  return {
    id,
    detail: 30_000,
    key,
    method,
    requestHash: NO_BYTES,
    metaEntries: meta === undefined ? NO_BYTES : encodeMap(meta).subarray(1),
    payload: encodeMap(payload),
  }
}

function responses(requestHashes: readonly Buffer[]): ReferenceMessage[] {
  return REQUESTS.map(({ id, key, method }, index) => ({
    id,
    detail: index === 2 ? 2 : 0,
    key,
    method,
    requestHash: requestHashes[index] as Buffer,
    metaEntries: index === 2 ? encodeMap({ code: 'UNKNOWN_METHOD' }).subarray(1) : NO_BYTES,
    payload: index === 2 ? NO_BYTES : encodeMap({ balanceMinor: 100_000_000 }),
  }))
}

function batch(key: ReferenceKey, context: ReferenceContext, messages: readonly ReferenceMessage[]) {
  const encoded = messages.map((message) => messageOf(context, message, TIME_MS))
  const leaves = encoded.map(leafHash)
  const head = treeHead(key, TIME_MS, leaves.length, treeRoot(leaves))
  return {
    ...facts(key, context),
    treeHead: head.toString('hex'),
    signature: key.sign(head).toString('hex'),
    messages: messages.map((message, index) => ({
      ...parts(message),
      message: encoded[index]?.toString('hex'),
      hash: leaves[index]?.toString('hex'),
      path: auditPath(index, leaves).map((hash) => hash.toString('hex')),
      meta: metaWith(
        proofOf(key, TIME_MS, leaves, index),
        message.metaEntries,
        message.metaEntries.length === 0 ? 0 : 1,
      ).toString('hex'),
    })),
  }
}

function each(key: ReferenceKey, context: ReferenceContext, messages: readonly ReferenceMessage[]) {
  return {
    ...facts(key, context),
    messages: messages.map((message) => {
      const jws = jwsOf(key, context, message, TIME_MS)
      return {
        ...parts(message),
        hash: leafHash(messageOf(context, message, TIME_MS)).toString('hex'),
        jws,
        meta: metaWith(jws, message.metaEntries, message.metaEntries.length === 0 ? 0 : 1).toString('hex'),
      }
    }),
  }
}

function facts(key: ReferenceKey, { direction, party, bankCode, sessionId }: ReferenceContext) {
  return { direction, party, keyId: key.keyId, bankCode, sessionId: sessionId.toString('hex'), timeMs: TIME_MS }
}

function parts({ id, detail, key, method, requestHash, metaEntries, payload }: ReferenceMessage) {
  return {
    id,
    detail,
    key,
    method,
    requestHash: requestHash.toString('hex'),
    metaEntries: metaEntries.toString('hex'),
    payload: payload.toString('hex'),
  }
}

/** What test/vectors/message-signatures.json holds. */
export function messageVectors() {
  const ls = referenceKey('ls', sha256(Buffer.from('LS')))
  const bank = referenceKey('044', sha256(Buffer.from('bank 044')))
  const toBank: ReferenceContext = { direction: 1, party: 'ls', bankCode: '044', sessionId: SESSION_ID }
  const toLs: ReferenceContext = { direction: 2, party: '044', bankCode: '044', sessionId: SESSION_ID }
  const requestHashes = REQUESTS.map((message) => leafHash(messageOf(toBank, message, TIME_MS)))
  const answers = responses(requestHashes)
  return {
    keys: [ls, bank].map(({ party, seed, jwk }) => ({ party, seed: seed.toString('hex'), jwk })),
    trees: [1, 2, 3, 4, 5, 7, 8, 13].map((size) => {
      const leaves = Array.from({ length: size }, (_, index) => leafHash(Buffer.from([index])))
      return {
        leaves: leaves.map((leaf) => leaf.toString('hex')),
        root: treeRoot(leaves).toString('hex'),
        paths: leaves.map((_, index) => auditPath(index, leaves).map((hash) => hash.toString('hex'))),
      }
    }),
    batches: [batch(ls, toBank, REQUESTS), batch(bank, toLs, answers), batch(ls, toBank, REQUESTS.slice(0, 1))],
    each: [each(ls, toBank, REQUESTS), each(bank, toLs, answers)],
  }
}
