export {
  LEAST_RSA_BITS,
  MIN_RSA_BITS,
  SEALING_KEY_KINDS,
  type SealingAlgorithm,
  type SealingKeyKind,
} from './algorithms.ts'
export {
  type OpenedRequest,
  openAnswer,
  openRequest,
  type SealedExchange,
  sealAnswer,
  sealRequest,
} from './exchange.ts'
export { isSealedFor, readSealedHeader, SEALED_TYPE, type SealedContext, type SealedHeader } from './header.ts'
export {
  createSealingKeyFiles,
  loadSealingKey,
  newSealingKey,
  parseSealingJwk,
  readSealingPublicKey,
  type SealingKey,
  type SealingKeyFiles,
  type SealingPublicKey,
  sealingJwk,
  sealingKeyOf,
  sealingPublicKeyOf,
} from './keys.ts'
