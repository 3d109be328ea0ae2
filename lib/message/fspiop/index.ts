export { canonicalJson } from './canonical-json.ts'
export {
  FSPIOP_ALGORITHMS,
  type FspiopRequest,
  type PartyKeys,
  type ReceivedFspiopRequest,
  type SignedFspiopRequest,
  signFspiop,
  type VerifiedFspiopRequest,
  verifyFspiop,
} from './fspiop-signature.ts'
