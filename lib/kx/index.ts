export {
  DEFAULT_CLOCK_SKEW_MS,
  DEFAULT_PROOF_LIFETIME_MS,
  KEY_HARD_STOP_FRAMES,
  KEY_HARD_STOP_MS,
  MAX_EPOCH,
  MAX_KX_FRAME_BYTES,
  SESSION_ID_BYTES,
} from './constants.ts'
export { checkIdentityPublicKey, type Identity, identityFromPrivateKey } from './identity.ts'
export { abandonLsKx, beginLsKx, continueLsKx, type LsKxConfig, type LsKxState, type LsKxStep } from './ls-kx.ts'
export { KxSequence } from './messages.ts'
export type { KxTime, Session } from './session.ts'
export { OpeningKey, SealingKey } from './session-keys.ts'
export type { SessionTerms, XchangeOffer } from './terms.ts'
export { type KeyPair, type KeyPairSource, x25519KeyPairFromRaw } from './x25519.ts'
export {
  abandonXchangeKx,
  answerFinKx,
  answerInitKx,
  type XchangeKxConfig,
  type XchangeKxState,
  type XchangeKxStep,
} from './xchange-kx.ts'
