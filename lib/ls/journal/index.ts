export type { DamagedRecord } from './damage.ts'
export { type JournalCounts, RequestJournal, type RequestJournalOptions } from './journal.ts'
export type { JournalQuery, OpenPage } from './journal-reader.ts'
export { type JournalRecord, type JournalSettlement, journalDigest, type NewRequest } from './journal-record.ts'
