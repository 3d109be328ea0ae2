import { type Clock, LsxError, toLsxError } from '../../runtime/index.ts'
import { type BatchProof, readBatchProof } from './batch-proof.ts'
import { ByteWriter } from './byte-writer.ts'
import { parseDetachedJws, verifyDetachedJws } from './detached.ts'
import { isValidAt, type VerificationKey } from './jwk.ts'
import type { KeyFinder } from './key-directory.ts'
import { merkleTree, rootOf } from './merkle.ts'
import { type MessageContext, type MessageParts, sha256, writeMessageBody, writeMessageHead } from './message.ts'
import { checkClaims, timeOf } from './message-jws.ts'
import { signedMeta } from './meta-signature.ts'
import type { MessageEvidence, SignedMessage } from './signing-batch.ts'
import { treeHeadBytes } from './tree-head.ts'
import type { VerificationCache } from './verification-cache.ts'

/** off: signatures are not looked at. when-present: a message may come without one. required: none may. */
export type VerifyPolicy = 'off' | 'when-present' | 'required'

export interface ReceivedMessage extends Omit<MessageParts, 'metaEntries'> {
  /** With the signature, as received. */
  readonly meta: Buffer | undefined
  readonly keepsEvidence: boolean
}

/** What became of a message's signature. `signed` is there where it had one, verified unless the policy is off. */
export interface Verdict {
  readonly error: LsxError | undefined
  readonly signed: SignedMessage | undefined
}

export interface MessageVerifierOptions {
  readonly keys: KeyFinder
  readonly cache: VerificationCache
  readonly clock: Clock
  readonly policy: VerifyPolicy
  /** How far the time of a signature may be from our clock. */
  readonly maxSkewMs: number
}

interface BatchMember {
  readonly index: number
  readonly proof: BatchProof
  readonly hash: string
  readonly evidence: MessageEvidence | undefined
}

const NOT_SIGNED: Verdict = { error: undefined, signed: undefined }

/** Verifies the messages of one frame. Those of one batch share one signature, which is verified once. */
export class MessageVerifier {
  readonly #options: MessageVerifierOptions
  readonly #writer = new ByteWriter()

  constructor(options: MessageVerifierOptions) {
    this.#options = options
  }

  /** One verdict for each message, in their order. */
  verify(context: MessageContext, messages: readonly ReceivedMessage[]): Verdict[] {
    const verdicts: Verdict[] = []
    const batches: BatchMember[][] = []
    for (const [index, message] of messages.entries()) {
      try {
        verdicts.push(this.#readOne(context, message, index, batches))
      } catch (thrown) {
        const isOff = this.#options.policy === 'off'
        verdicts.push(isOff ? NOT_SIGNED : { error: toLsxError(thrown, 'SIGNATURE_INVALID'), signed: undefined })
      }
    }
    for (const batch of batches) this.#verifyBatch(context.party, batch, verdicts)
    return verdicts
  }

  /** A message of a batch is noted in `batches` and judged later. */
  #readOne(context: MessageContext, message: ReceivedMessage, index: number, batches: BatchMember[][]): Verdict {
    const { signature, entries } = signedMeta(message.meta)
    if (signature === undefined) {
      if (this.#options.policy === 'required') throw invalid('the message is not signed', { isSetup: true })
      return NOT_SIGNED
    }
    const parts: MessageParts = {
      id: message.id,
      detail: message.detail,
      key: message.key,
      method: message.method,
      requestHash: message.requestHash,
      metaEntries: entries,
      payload: message.payload,
    }
    if (typeof signature === 'string') return this.#verifyJws(context, parts, signature, message.keepsEvidence)
    const proof = readBatchProof(signature)
    if (proof === undefined) throw invalid('the proof of the message is malformed')
    const bytes = this.#messageBytes(context, parts, proof.timeMs)
    const evidence = message.keepsEvidence
      ? { message: Buffer.from(bytes), signature: Buffer.from(signature) }
      : undefined
    const member: BatchMember = { index, proof, hash: sha256(bytes), evidence }
    const last = batches.at(-1)
    if (last?.[0] !== undefined && isSameBatch(last[0].proof, proof)) last.push(member)
    else batches.push([member])
    return NOT_SIGNED
  }

  #verifyJws(context: MessageContext, parts: MessageParts, jws: string, keepsEvidence: boolean): Verdict {
    const parsed = parseDetachedJws(jws)
    const timeMs = timeOf(parsed)
    const keyId = typeof parsed.header.kid === 'string' ? parsed.header.kid : ''
    if (this.#options.policy !== 'off') {
      checkClaims(parsed, context, parts)
      const key = this.#keyFor(context.party, keyId, timeMs)
      verifyDetachedJws(parsed, { payload: parts.payload, key, cache: this.#options.cache, atMs: timeMs })
    }
    const bytes = this.#messageBytes(context, parts, timeMs)
    const evidence = keepsEvidence ? { message: Buffer.from(bytes), signature: jws } : undefined
    return { error: undefined, signed: { hash: sha256(bytes), party: context.party, keyId, timeMs, evidence } }
  }

  #verifyBatch(party: string, batch: readonly BatchMember[], verdicts: Verdict[]): void {
    const first = batch[0]
    if (first === undefined) return
    const settle = (member: BatchMember, error: LsxError | undefined) => {
      const { hash, evidence, proof } = member
      const { keyId, timeMs } = proof
      verdicts[member.index] =
        error === undefined ? { error, signed: { hash, party, keyId, timeMs, evidence } } : { error, signed: undefined }
    }
    if (this.#options.policy === 'off') {
      for (const member of batch) settle(member, undefined)
      return
    }
    let key: VerificationKey
    try {
      key = this.#keyFor(party, first.proof.keyId, first.proof.timeMs)
      if (key.algorithm !== 'EdDSA') throw invalid('the key of a batch is not an Ed25519 key')
    } catch (thrown) {
      for (const member of batch) settle(member, toLsxError(thrown))
      return
    }
    if (isWhole(batch)) {
      const tree = merkleTree(batch.map(({ hash }) => hash))
      if (this.#isSigned(key, first.proof, tree.root)) {
        for (const member of batch)
          settle(member, member.proof.path === tree.pathOf(member.proof.index) ? undefined : wrongPath())
        return
      }
    }
    // Not all of them are here, or one of them is not what was signed: each is judged by its own path.
    const roots = new Map<string, boolean>()
    for (const member of batch) {
      const { index, size, path } = member.proof
      const root = rootOf(member.hash, index, size, path)
      if (root === undefined) settle(member, wrongPath())
      else {
        const isSigned = roots.get(root) ?? this.#isSigned(key, member.proof, root)
        roots.set(root, isSigned)
        settle(member, isSigned ? undefined : invalid('the signature does not verify'))
      }
    }
  }

  #isSigned(key: VerificationKey, proof: BatchProof, root: string): boolean {
    const { timeMs, size, signature } = proof
    const head = treeHeadBytes({ party: key.party, keyId: key.keyId, timeMs, size, root })
    return this.#options.cache.verify(key, head, signature)
  }

  /** @throws LsxError SIGNATURE_INVALID */
  #keyFor(party: string, keyId: string, timeMs: number): VerificationKey {
    const { keys, clock, maxSkewMs } = this.#options
    const key = keys.find(party, keyId)
    if (key === undefined) throw invalid(`${party} has no such key`, { keyId: keyId.slice(0, 64), isSetup: true })
    const nowMs = clock.nowMs()
    if (Math.abs(nowMs - timeMs) > maxSkewMs)
      throw invalid('it was signed too long ago, or in the future', {
        keyId,
        signedAt: timeMs,
        skewMs: nowMs - timeMs,
        isSetup: true,
      })
    // By our clock too: who has a key that is over could write any time.
    if (!isValidAt(key, timeMs) || !isValidAt(key, nowMs))
      throw invalid('its key is not valid at this time', { keyId, isSetup: true })
    return key
  }

  #messageBytes(context: MessageContext, parts: MessageParts, timeMs: number): Buffer {
    this.#writer.rewind(0)
    writeMessageHead(this.#writer, context, timeMs)
    writeMessageBody(this.#writer, parts)
    return this.#writer.view()
  }
}

function isSameBatch(a: BatchProof, b: BatchProof): boolean {
  return a.size === b.size && a.timeMs === b.timeMs && a.keyId === b.keyId && a.signature.equals(b.signature)
}

/** Every message of the batch is here, in order. */
function isWhole(batch: readonly BatchMember[]): boolean {
  return batch.length === batch[0]?.proof.size && batch.every(({ proof }, position) => proof.index === position)
}

function wrongPath(): LsxError {
  return invalid('the path of the message does not lead to the signed root')
}

function invalid(problem: string, facts: Record<string, unknown> = {}): LsxError {
  return new LsxError('SIGNATURE_INVALID', `the signature of a message is refused: ${problem}`, { facts })
}
