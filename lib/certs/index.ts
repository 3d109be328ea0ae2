export { type AuthorityFiles, type AuthorityOptions, createAuthority } from './authority.ts'
export { type CertificateFacts, certificateFacts, daysLeft, readCertificates } from './certificate.ts'
export { type CheckedFile, checkCertificates, EXPIRY_WARNING_DAYS } from './check.ts'
export { ExpiryWatch } from './expiry-watch.ts'
export {
  createDirectory,
  createFileExclusive,
  PUBLIC_MODE,
  readPublicFile,
  readSecretFile,
  reasonOf,
  SECRET_MODE,
  secretFileFault,
  syncDirectory,
  writeFileAtomic,
} from './files.ts'
export {
  createIdentityFile,
  formatIdentityPin,
  type IdentityFiles,
  identityPublicKey,
  loadIdentityKey,
  pinFileOf,
  readIdentityPin,
  writePinFile,
} from './identity.ts'
export { type IssuedFiles, type IssueOptions, issueCertificate } from './issue.ts'
export {
  bankCodeOfSpiffeId,
  type CertificateRole,
  checkBankCode,
  checkTrustDomain,
  lsSpiffeId,
  xchangeSpiffeId,
} from './names.ts'
export { type RotatedFiles, type RotateOptions, rotateCertificate } from './rotate.ts'
export { spiffeIdOf } from './subject-alt-name.ts'
export {
  checkedParty,
  createSecureContext,
  loadTlsMaterial,
  secureContextOptions,
  type TlsFiles,
  type TlsMaterial,
} from './tls-material.ts'
