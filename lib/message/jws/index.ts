export { JWS_ALGORITHMS, type JwsAlgorithm } from './algorithms.ts'
export { decodeBase64url } from './base64url.ts'
export { detachedJws, type ParsedJws, parseDetachedJws, verifyDetachedJws } from './detached.ts'
export { parseJsonObject } from './json-object.ts'
export { defaultKeyId, isValidAt, parsePublicJwk, publicJwk, thumbprintOf, type VerificationKey } from './jwk.ts'
export { KeyDirectory, type KeyDirectoryOptions, type KeyFinder } from './key-directory.ts'
export {
  type Answer,
  type AnswerVerdict,
  type ChannelSigningOptions,
  type EvidenceKeeper,
  type ExchangeProof,
  LsSigning,
  MAX_SKEW_MS,
} from './ls-signing.ts'
export { MessageDirection } from './message.ts'
export { type ReadMessage, readMessage } from './message-reader.ts'
export type { VerifyPolicy } from './message-verifier.ts'
export { checkParty, isKeyId, isParty } from './names.ts'
export type {
  SignableRequest,
  SignedRequest,
} from './record-forms.ts'
export type { MessageEvidence, SignedMessage, SigningMode } from './signing-batch.ts'
export {
  type BankSigningConfig,
  bankSigningField,
  partyField,
  type SigningConfig,
  signingFields,
} from './signing-config.ts'
export {
  createSigningKeyFiles,
  loadSigningKey,
  type NewSigningKeyFiles,
  newSigningPrivateKey,
  type SigningKey,
  type SigningKeyOptions,
  signingKey,
} from './signing-key.ts'
export { checkSigningMode, SigningMaterial, type SigningMaterialOptions } from './signing-material.ts'
export { describeSignature, type ProvenMessage, proveMessage } from './single-message.ts'
export { VerificationCache, type VerificationCacheOptions } from './verification-cache.ts'
export { type RequestVerdict, XchangeSigning } from './xchange-signing.ts'
