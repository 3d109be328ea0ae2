export { EVIDENCE_FORMAT, type EvidenceFile, evidenceFile, parseEvidenceFile } from './evidence-file.ts'
export type { EvidenceRecord } from './evidence-record.ts'
export { type EvidenceCounts, EvidenceStore, type EvidenceStoreOptions, requireEvidence } from './evidence-store.ts'
export { type EvidenceReport, type ExchangeReport, type MessageReport, verifyEvidence } from './verify-evidence.ts'
