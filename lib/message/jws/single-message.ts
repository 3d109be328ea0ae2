import { type Clock, LsxError } from '../../runtime/index.ts'
import { readBatchProof } from './batch-proof.ts'
import { parseDetachedJws, verifyDetachedJws } from './detached.ts'
import { isValidAt, type VerificationKey } from './jwk.ts'
import type { KeyFinder } from './key-directory.ts'
import { rootOf } from './merkle.ts'
import { sha256 } from './message.ts'
import { checkClaims, timeOf } from './message-jws.ts'
import { type ReadMessage, readMessage } from './message-reader.ts'
import type { MessageEvidence } from './signing-batch.ts'
import { treeHeadBytes } from './tree-head.ts'
import { VerificationCache } from './verification-cache.ts'

/** A message whose signature is good, with the key that it was verified with. */
export interface ProvenMessage extends ReadMessage {
  readonly hash: string
  readonly key: VerificationKey
}

/** Nothing is verified twice here. */
const NO_CLOCK: Clock = { nowMs: () => 0, monotonicMs: () => 0, startTimer: () => ({}), cancelTimer: () => {} }

/**
 * Verifies one message by itself, long after it was sent: all that is needed beside message and signature are the keys
 * of that time. Whether its time is true is not asked here.
 *
 * @throws LsxError SIGNATURE_INVALID
 */
export function proveMessage({ message, signature }: MessageEvidence, keys: KeyFinder): ProvenMessage {
  const cache = new VerificationCache({ clock: NO_CLOCK, size: 0 })
  const read = readMessage(message)
  const { context, parts, timeMs } = read
  const hash = sha256(message)
  const keyFor = (keyId: string) => {
    const key = keys.find(context.party, keyId)
    if (key === undefined) throw invalid(`the key ${keyId} of ${context.party} is not among the keys that are trusted`)
    if (!isValidAt(key, timeMs)) throw invalid(`the key ${keyId} of ${context.party} was not valid at that time`)
    return key
  }
  if (typeof signature === 'string') {
    const jws = parseDetachedJws(signature)
    if (timeOf(jws) !== timeMs) throw invalid('its JWS has another time')
    checkClaims(jws, context, parts)
    const key = keyFor(String(jws.header.kid))
    verifyDetachedJws(jws, { payload: parts.payload, key, cache, atMs: timeMs })
    return { ...read, hash, key }
  }
  const proof = readBatchProof(signature)
  if (proof === undefined) throw invalid('its proof is malformed')
  if (proof.timeMs !== timeMs) throw invalid('its proof has another time')
  const key = keyFor(proof.keyId)
  const { party } = context
  const root = rootOf(hash, proof.index, proof.size, proof.path)
  const head =
    root === undefined ? undefined : treeHeadBytes({ party, keyId: key.keyId, timeMs, size: proof.size, root })
  if (key.algorithm !== 'EdDSA' || head === undefined || !cache.verify(key, head, proof.signature))
    throw invalid('its path does not lead to a root that was signed')
  return { ...read, hash, key }
}

function invalid(problem: string): LsxError {
  return new LsxError('SIGNATURE_INVALID', `a message is not proven: ${problem}`)
}

/** What a signature says of itself, for people and for readers in other languages. Nothing of it is verified here. */
export function describeSignature(evidence: MessageEvidence): Record<string, unknown> {
  const { message, signature } = evidence
  const { context } = readMessage(message)
  const hash = sha256(message)
  if (typeof signature === 'string') {
    const { header } = parseDetachedJws(signature)
    return { form: 'jws', hash: hexOf(hash), keyId: header.kid, protectedHeader: header }
  }
  const proof = readBatchProof(signature)
  const root = proof === undefined ? undefined : rootOf(hash, proof.index, proof.size, proof.path)
  if (proof === undefined || root === undefined) throw invalid('its proof is malformed')
  const { keyId, timeMs, size, index, path } = proof
  const hashes = Buffer.from(path, 'latin1').toString('hex').match(/.{64}/g) ?? []
  const treeHead = treeHeadBytes({ party: context.party, keyId, timeMs, size, root }).toString('base64')
  return {
    form: 'batch',
    hash: hexOf(hash),
    keyId,
    batch: { size, index, path: hashes, root: hexOf(root), treeHead, signature: proof.signature.toString('base64') },
  }
}

function hexOf(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('hex')
}
