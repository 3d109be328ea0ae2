import { createHash } from 'node:crypto'
import type { Checkpoint } from './checkpoint.ts'
import { type AuditFile, listAuditFiles, readAuditFile } from './files.ts'
import { textOf } from './read.ts'
import { type AuditRecord, type ChainHead, readRecord } from './record.ts'

/** The end of the newest file as a start finds it. */
export interface FoundLog {
  readonly file: AuditFile
  readonly chain: string
  readonly party: string
  readonly head: ChainHead
  /** Whole records end here; what follows was torn off. */
  readonly goodBytes: number
  readonly torn: { readonly bytes: number; readonly sha256: string; readonly text: string } | undefined
  readonly sinceCheckpoint: number
  /** The run before ended in order. */
  readonly isClosed: boolean
  /** Hashes by sequence, of this file only. */
  readonly hashes: ReadonlyMap<number, string>
}

/** What a daemon remembers elsewhere of the last checkpoint: whoever cuts the log must change that too. */
export type Anchor = Pick<Checkpoint, 'chain' | 'seq' | 'hash'>

const NEWLINE = 0x0a
const MAX_TORN_TEXT = 300

export type Recovery =
  | { readonly kind: 'none' }
  | { readonly kind: 'found'; readonly log: FoundLog }
  /** The newest file cannot be gone on with: a new chain begins in the next one. */
  | { readonly kind: 'broken'; readonly file: AuditFile; readonly problem: string }

/**
 * Reads the newest file and finds its last whole record. The files before it are for `lsctl audit verify`. A newest file
 * without a whole line was begun in a crash: what is in it is `unbegun`, and the one before it counts.
 */
export function readNewestFile(dir: string): Recovery & { readonly unbegun?: AuditFile } {
  const files = listAuditFiles(dir)
  const newest = files.at(-1)
  if (newest === undefined) return { kind: 'none' }
  if (readAuditFile(newest).includes(NEWLINE)) return readFile(newest)
  const before = files.at(-2)
  return { ...(before === undefined ? { kind: 'none' } : readFile(before)), unbegun: newest }
}

function readFile(file: AuditFile): Recovery {
  const bytes = readAuditFile(file)
  const goodBytes = bytes.lastIndexOf(NEWLINE) + 1
  const lines = textOf(bytes.subarray(0, goodBytes)).split('\n').slice(0, -1)
  const tail = bytes.subarray(goodBytes)
  const torn =
    tail.length === 0
      ? undefined
      : {
          bytes: tail.length,
          sha256: createHash('sha256').update(tail).digest('base64url'),
          text: tail.subarray(0, MAX_TORN_TEXT).toString(),
        }
  const hashes = new Map<number, string>()
  let before: AuditRecord | undefined
  let first: AuditRecord | undefined
  let sinceCheckpoint = 0
  let stopSeq = -1
  for (const [index, line] of lines.entries()) {
    const read = readRecord(line)
    const record = read?.record
    const isNext =
      record !== undefined &&
      record.hash === read?.computedHash &&
      (before === undefined || (record.seq === before.seq + 1 && record.prev === before.hash))
    if (!isNext)
      return { kind: 'broken', file, problem: `line ${index + 1} of ${file.name} was changed, or lines around it` }
    first ??= record
    before = record
    hashes.set(record.seq, record.hash)
    sinceCheckpoint = record.event === 'checkpoint' ? 0 : sinceCheckpoint + 1
    if (record.event === 'stopped') stopSeq = record.seq
  }
  const { chain, party } = (first?.facts ?? {}) as { chain?: unknown; party?: unknown }
  if (before === undefined || first?.event !== 'file-began' || typeof chain !== 'string' || typeof party !== 'string')
    return { kind: 'broken', file, problem: `${file.name} has no first record` }
  return {
    kind: 'found',
    log: {
      file,
      chain,
      party,
      head: { seq: before.seq, hash: before.hash },
      goodBytes,
      torn,
      sinceCheckpoint,
      isClosed: torn === undefined && before.event === 'checkpoint' && stopSeq === before.seq - 1,
      hashes,
    },
  }
}

/** How the log contradicts what was remembered of it, or undefined. */
export function anchorProblem(anchor: Anchor, log: FoundLog | undefined): string | undefined {
  if (log === undefined) return `the log had reached record ${anchor.seq} of chain ${anchor.chain}, and is not there`
  if (log.chain !== anchor.chain) return `the log is of chain ${log.chain}, and the one before it was ${anchor.chain}`
  if (log.head.seq < anchor.seq)
    return `the log ends at record ${log.head.seq}, and ${anchor.seq} was signed: the end was cut off`
  const hash = log.hashes.get(anchor.seq)
  return hash === undefined || hash === anchor.hash ? undefined : `record ${anchor.seq} is not the one that was signed`
}
