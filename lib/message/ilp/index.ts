export { type FailureQuery, type IlpFailure, IlpFailures } from './failures.ts'
export {
  conditionOf,
  fulfilmentOf,
  fulfilmentOfPayment,
  fulfilmentOfTransaction,
  isFulfilled,
  transactionOf,
} from './fulfilment.ts'
export { MAX_PACKET_BYTES, PROOF_BYTES } from './limits.ts'
export { type IlpFulfil, type IlpPrepare, type IlpPrepareFields, parseFulfil, parsePrepare } from './meta.ts'
export { type IlpPacket, type IlpVersion, isIlpAddress, type NewPacket, readPacket, writePacket } from './packet.ts'
export { type IlpPair, makePair, type PairTerms } from './pair.ts'
export { createIlpSecretFile, IlpSecret, loadIlpSecret } from './secret.ts'
export { ILP_FAILURES, type IlpFailureType, type IlpTerms, judgeFulfilment } from './verdict.ts'
