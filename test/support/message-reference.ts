import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'

/**
 * Message signatures written a second time, from docs/PROTOCOL.md and without the product's code, as somebody would in
 * another language: slow and plain. The vectors are made with it, and the product is compared with it.
 */

export interface ReferenceMessage {
  readonly id: number
  /** Budget of a request, status of a response. */
  readonly detail: number
  readonly key: string
  readonly method: string
  /** Hash of the request's message; of a request empty. */
  readonly requestHash: Buffer
  /** Entries of the meta map, encoded. */
  readonly metaEntries: Buffer
  readonly payload: Buffer
}

export interface ReferenceContext {
  readonly direction: 1 | 2
  readonly party: string
  readonly bankCode: string
  readonly sessionId: Buffer
}

const u16 = (value: number) => Buffer.from([value >> 8, value & 0xff])
const u32 = (value: number) => Buffer.from(value.toString(16).padStart(8, '0'), 'hex')
const u64 = (value: number) => Buffer.from(value.toString(16).padStart(16, '0'), 'hex')
const short = (bytes: Buffer | string) =>
  Buffer.concat([u16(Buffer.from(bytes as string).length), Buffer.from(bytes as string)])
const long = (bytes: Buffer) => Buffer.concat([u32(bytes.length), bytes])

export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest()

export function messageOf(context: ReferenceContext, message: ReferenceMessage, timeMs: number): Buffer {
  return Buffer.concat([
    Buffer.from('LS-MSG-1'),
    Buffer.from([context.direction]),
    u64(timeMs),
    short(context.party),
    short(context.bankCode),
    short(context.sessionId),
    u32(message.id),
    u32(message.detail),
    short(message.key),
    short(message.method),
    short(message.requestHash),
    long(message.metaEntries),
    long(message.payload),
  ])
}

export const leafHash = (message: Buffer) => sha256(Buffer.concat([Buffer.from([0]), message]))
const nodeHash = (left: Buffer, right: Buffer) => sha256(Buffer.concat([Buffer.from([1]), left, right]))

/** RFC 9162 section 2.1.1: the largest power of two below n. */
function split(n: number): number {
  let k = 1
  while (k * 2 < n) k *= 2
  return k
}

export function treeRoot(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 1) return leaves[0] as Buffer
  const k = split(leaves.length)
  return nodeHash(treeRoot(leaves.slice(0, k)), treeRoot(leaves.slice(k)))
}

/** RFC 9162 section 2.1.3.1. */
export function auditPath(index: number, leaves: readonly Buffer[]): Buffer[] {
  if (leaves.length === 1) return []
  const k = split(leaves.length)
  return index < k
    ? [...auditPath(index, leaves.slice(0, k)), treeRoot(leaves.slice(k))]
    : [...auditPath(index - k, leaves.slice(k)), treeRoot(leaves.slice(0, k))]
}

export interface ReferenceKey {
  readonly party: string
  readonly seed: Buffer
  readonly keyId: string
  readonly jwk: Record<string, unknown>
  sign(bytes: Buffer): Buffer
}

export function referenceKey(party: string, seed: Buffer): ReferenceKey {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' })
  const keyId = sha256(Buffer.from(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`))
    .toString('base64url')
    .slice(0, 16)
  const jwk = { kty: 'OKP', crv: 'Ed25519', x, kid: keyId, alg: 'EdDSA', use: 'sig' }
  return { party, seed, keyId, jwk, sign: (bytes) => sign(null, bytes, privateKey) }
}

export function treeHead(key: ReferenceKey, timeMs: number, size: number, root: Buffer): Buffer {
  return Buffer.concat([Buffer.from('LS-TREE-1'), short(key.party), short(key.keyId), u64(timeMs), u32(size), root])
}

export function proofOf(key: ReferenceKey, timeMs: number, leaves: readonly Buffer[], index: number): Buffer {
  return Buffer.concat([
    Buffer.from([1, key.keyId.length]),
    Buffer.from(key.keyId),
    u64(timeMs),
    u32(leaves.length),
    u32(index),
    key.sign(treeHead(key, timeMs, leaves.length, treeRoot(leaves))),
    ...auditPath(index, leaves),
  ])
}

/** The meta with `sig` in front; at most 14 other entries. */
export function metaWith(signature: Buffer | string, entries: Buffer, count: number): Buffer {
  const isText = typeof signature === 'string'
  const bytes = Buffer.from(signature as string)
  const head =
    bytes.length < 256
      ? Buffer.from([isText ? 0xd9 : 0xc4, bytes.length])
      : Buffer.concat([Buffer.from([isText ? 0xda : 0xc5]), u16(bytes.length)])
  return Buffer.concat([Buffer.from([0x81 + count]), Buffer.from('a3736967', 'hex'), head, bytes, entries])
}

export function jwsOf(key: ReferenceKey, context: ReferenceContext, message: ReferenceMessage, timeMs: number): string {
  const isRequest = context.direction === 1
  const header = {
    alg: 'EdDSA',
    kid: key.keyId,
    typ: 'ls-msg+jws',
    dir: isRequest ? 'request' : 'response',
    party: context.party,
    bankCode: context.bankCode,
    sessionId: context.sessionId.toString('hex'),
    id: message.id,
    key: message.key,
    method: message.method,
    ...(isRequest ? { budgetMs: message.detail } : { status: message.detail }),
    ...(message.requestHash.length === 0 ? {} : { requestHash: message.requestHash.toString('base64url') }),
    ...(message.metaEntries.length === 0 ? {} : { metaHash: sha256(message.metaEntries).toString('base64url') }),
    iatMs: timeMs,
  }
  const encoded = Buffer.from(JSON.stringify(header)).toString('base64url')
  const signature = key.sign(Buffer.from(`${encoded}.${message.payload.toString('base64url')}`))
  return `${encoded}..${signature.toString('base64url')}`
}
