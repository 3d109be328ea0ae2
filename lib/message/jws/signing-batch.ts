import { LsxError } from '../../runtime/index.ts'
import { batchProofBytes, writeBatchProof } from './batch-proof.ts'
import { ByteWriter } from './byte-writer.ts'
import { merkleTree } from './merkle.ts'
import { type MessageContext, type MessageParts, sha256, writeMessageBody, writeMessageHead } from './message.ts'
import { messageJws, messageJwsBytes } from './message-jws.ts'
import { checkMetaRoom, metaEntries, metaGrowth, withSignature } from './meta-signature.ts'
import type { SigningKey } from './signing-key.ts'
import { treeHeadBytes } from './tree-head.ts'

/** One signature for all messages that leave together, or one for each. */
export type SigningMode = 'batch' | 'each'

/** What is left of a signature that was made or verified. */
export interface SignedMessage {
  /** SHA-256 over the signed message, 32 characters of latin1: a response names its request by it. */
  readonly hash: string
  /** Who signed, with which key and when (Unix ms). */
  readonly party: string
  readonly keyId: string
  readonly timeMs: number
  /** All that a third party needs to verify it, where it is to be kept. */
  readonly evidence: MessageEvidence | undefined
}

export interface MessageEvidence {
  /** The signed message, as `readMessage` takes it apart. */
  readonly message: Buffer
  /** Batch proof, or JWS as text. */
  readonly signature: Buffer | string
}

/** How records of one kind are signed and encoded. */
export interface RecordForm<R> {
  readonly direction: MessageContext['direction']
  /** Bytes that the record takes without a signature. */
  recordBytes(record: R): number
  /** Throws BAD_REQUEST for a record that cannot be encoded. */
  check(record: R): void
  parts(record: R, metaEntries: Buffer): MessageParts
  withMeta(record: R, meta: Buffer): R
  keepsEvidence(record: R): boolean
  onSigned(record: R, signed: SignedMessage): void
}

/** What collects the records of a frame. */
export interface OutgoingBatch<R> {
  readonly recordCount: number
  readonly byteLength: number
  append(record: R): boolean
  take(): Buffer
}

interface Encoder<R> {
  append(record: R): boolean
  take(): Buffer
}

interface Waiting<R> {
  readonly record: R
  readonly meta: { readonly entries: Buffer; readonly count: number }
}

interface Signing {
  readonly context: MessageContext
  readonly key: SigningKey
  readonly timeMs: number
}

/** More messages would make each one's proof longer, and the batch wait. */
const MAX_BATCH = 256

/**
 * Keeps the records of the next frame until it leaves, and signs them then: what the signature says of time and session
 * is true at that moment. It promises room for the signatures from the first record on.
 */
export class SigningBatch<R extends { readonly meta: Buffer | undefined }> implements OutgoingBatch<R> {
  readonly #form: RecordForm<R>
  readonly #encoder: Encoder<R>
  readonly #maxBodyBytes: number
  readonly #currentKey: () => SigningKey | undefined
  readonly #mode: SigningMode
  readonly #bankCode: string
  readonly #sessionId: () => Buffer | undefined
  readonly #nowMs: () => number
  readonly #writer = new ByteWriter()
  #key: SigningKey | undefined
  #waiting: Waiting<R>[] = []
  #unsignedBytes = 0
  /** Room for the signatures where each message has its own: they differ in length. */
  #jwsBytes = 0

  constructor(options: {
    form: RecordForm<R>
    encoder: Encoder<R>
    /** The agreed frame size without header and tag. */
    maxBodyBytes: number
    /** The key as it is now. One batch is signed with one key: that of its first record. */
    key: () => SigningKey | undefined
    mode: SigningMode
    bankCode: string
    /** Of the session whose key will seal the frame. */
    sessionId: () => Buffer | undefined
    /** Unix ms. */
    nowMs: () => number
  }) {
    this.#form = options.form
    this.#encoder = options.encoder
    this.#maxBodyBytes = options.maxBodyBytes
    this.#currentKey = options.key
    this.#mode = options.mode
    this.#bankCode = options.bankCode
    this.#sessionId = options.sessionId
    this.#nowMs = options.nowMs
  }

  get recordCount(): number {
    return this.#waiting.length
  }

  /** Without the signatures: how soon a batch leaves shall not depend on them. */
  get byteLength(): number {
    return this.#unsignedBytes
  }

  /**
   * False: it does not fit beside the others. Throws TOO_LARGE for a record that fits no frame with its signature, and
   * BAD_REQUEST for one that cannot be encoded; the batch stays as it was.
   */
  append(record: R): boolean {
    const meta = metaEntries(record.meta)
    this.#form.check(record)
    const count = this.#waiting.length + 1
    const key = count === 1 ? this.#currentKey() : this.#key
    if (key === undefined) throw new LsxError('INTERNAL', 'there is no key to sign with')
    this.#key = key
    const signatureBytes = this.#signatureBytes(record, count, key)
    checkMetaRoom(record.meta, signatureBytes)
    const unsignedBytes = this.#unsignedBytes + this.#form.recordBytes(record)
    const growthBytes = metaGrowth(signatureBytes)
    const neededBytes = unsignedBytes + (this.#mode === 'batch' ? count * growthBytes : this.#jwsBytes + growthBytes)
    if (neededBytes > this.#maxBodyBytes) {
      if (count > 1) return false
      throw new LsxError('TOO_LARGE', 'the record and its signature do not fit into a frame', {
        facts: { recordBytes: neededBytes, maxBodyBytes: this.#maxBodyBytes },
      })
    }
    if (count > MAX_BATCH) return false
    this.#waiting.push({ record, meta })
    this.#unsignedBytes = unsignedBytes
    this.#jwsBytes += growthBytes
    return true
  }

  take(): Buffer {
    const waiting = this.#waiting
    this.#waiting = []
    this.#unsignedBytes = 0
    this.#jwsBytes = 0
    const sessionId = this.#sessionId()
    const key = this.#key
    if (waiting.length === 0 || key === undefined) throw new LsxError('INTERNAL', 'an empty batch was taken')
    // The channel is over, and nothing will be sent: there is nothing to sign for.
    if (sessionId === undefined) return this.#encode(waiting.map(({ record }) => record))
    const context: MessageContext = {
      direction: this.#form.direction,
      party: key.party,
      bankCode: this.#bankCode,
      sessionId,
    }
    const signed = { context, key, timeMs: this.#nowMs() }
    const metas = this.#mode === 'batch' ? this.#signBatch(waiting, signed) : this.#signEach(waiting, signed)
    return this.#encode(waiting.map(({ record }, index) => this.#form.withMeta(record, metas[index] as Buffer)))
  }

  #encode(records: readonly R[]): Buffer {
    for (const record of records) {
      if (!this.#encoder.append(record)) throw new LsxError('INTERNAL', 'a signed batch does not fit into its frame')
    }
    return this.#encoder.take()
  }

  /** The most that one signature of the batch takes. */
  #signatureBytes(record: R, count: number, key: SigningKey): number {
    if (this.#mode === 'batch') return batchProofBytes(key.keyId.length, count)
    return messageJwsBytes(this.#form.parts(record, NO_BYTES), key, this.#bankCode)
  }

  #signBatch(waiting: readonly Waiting<R>[], { context, key, timeMs }: Signing): Buffer[] {
    const { keyId, party } = key
    const kept: (Buffer | undefined)[] = []
    const leaves = this.#messageHashes(waiting, context, timeMs, kept)
    const tree = merkleTree(leaves)
    const size = leaves.length
    const signature = key.sign(treeHeadBytes({ party, keyId, timeMs, size, root: tree.root }))
    const writer = this.#writer
    return waiting.map(({ record, meta }, index) => {
      writer.rewind(0)
      writeBatchProof(writer, { keyId, timeMs, size, index, signature, path: tree.pathOf(index) })
      const proof = writer.view()
      const message = kept[index]
      const evidence = message === undefined ? undefined : { message, signature: Buffer.from(proof) }
      this.#form.onSigned(record, { hash: leaves[index] as string, party, keyId, timeMs, evidence })
      return withSignature(proof, meta.entries, meta.count)
    })
  }

  #signEach(waiting: readonly Waiting<R>[], { context, key, timeMs }: Signing): Buffer[] {
    const { keyId, party } = key
    const kept: (Buffer | undefined)[] = []
    const hashes = this.#messageHashes(waiting, context, timeMs, kept)
    return waiting.map(({ record, meta }, index) => {
      const jws = messageJws(context, this.#form.parts(record, meta.entries), timeMs, key)
      const message = kept[index]
      const evidence = message === undefined ? undefined : { message, signature: jws }
      this.#form.onSigned(record, { hash: hashes[index] as string, party, keyId, timeMs, evidence })
      return withSignature(jws, meta.entries, meta.count)
    })
  }

  #messageHashes(
    waiting: readonly Waiting<R>[],
    context: MessageContext,
    timeMs: number,
    kept: (Buffer | undefined)[],
  ): string[] {
    const writer = this.#writer
    writer.rewind(0)
    writeMessageHead(writer, context, timeMs)
    const headEnd = writer.end
    return waiting.map(({ record, meta }) => {
      writer.rewind(headEnd)
      writeMessageBody(writer, this.#form.parts(record, meta.entries))
      const bytes = writer.view()
      kept.push(this.#form.keepsEvidence(record) ? Buffer.from(bytes) : undefined)
      return sha256(bytes)
    })
  }
}

const NO_BYTES = Buffer.alloc(0)
