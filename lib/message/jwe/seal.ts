import { CompactEncrypt, compactDecrypt } from 'jose'
import { LsxError } from '../../runtime/index.ts'
import { CONTENT_ENCRYPTION } from './algorithms.ts'
import { isSealedFor, readSealedHeader, type SealedContext, type SealedHeader, type SealedKind } from './header.ts'
import type { SealingKey, SealingPublicKey } from './keys.ts'

/** Seals to a public key: a JWE in compact form, whose header names what it is about. */
export async function sealBytes(
  plaintext: Buffer,
  recipient: SealingPublicKey,
  header: SealedContext & { readonly kind: SealedKind; readonly sealedAtMs: number; readonly status?: number },
): Promise<Buffer> {
  const { kind, bankCode, method, idempotencyKey, sealedAtMs, status } = header
  const jwe = await new CompactEncrypt(plaintext)
    .setProtectedHeader({
      alg: recipient.algorithm,
      enc: CONTENT_ENCRYPTION,
      kid: recipient.keyId,
      typ: kind,
      bankCode,
      method,
      idempotencyKey,
      iat: Math.floor(sealedAtMs / 1_000),
      ...(status === undefined ? {} : { status }),
    })
    .encrypt(recipient.publicKey)
  return Buffer.from(jwe, 'latin1')
}

/**
 * Opens what was sealed for this request with this key, and for no other. Rejects BAD_REQUEST for anything else: which of
 * the checks failed is for the log.
 */
export async function openBytes(
  bytes: Buffer,
  options: { readonly kind: SealedKind; readonly context: SealedContext; readonly key: SealingKey },
): Promise<{ plaintext: Buffer; header: SealedHeader }> {
  const { kind, context, key } = options
  const header = readSealedHeader(bytes, kind)
  if (!isSealedFor(header, context)) {
    throw new LsxError('BAD_REQUEST', 'a sealed payload was made for another request')
  }
  // The key decides the algorithm, not the message.
  if (header.kid !== key.keyId || header.alg !== key.algorithm) {
    throw new LsxError('BAD_REQUEST', 'a sealed payload is for another key')
  }
  try {
    const { plaintext } = await compactDecrypt(bytes.toString('latin1'), key.privateKey, {
      keyManagementAlgorithms: [key.algorithm],
      contentEncryptionAlgorithms: [CONTENT_ENCRYPTION],
      maxDecompressedLength: 0,
    })
    return { plaintext: Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength), header }
  } catch (cause) {
    throw new LsxError('BAD_REQUEST', 'a sealed payload cannot be opened', { cause })
  }
}
