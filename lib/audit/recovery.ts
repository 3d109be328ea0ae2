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
  /** The first record behind an orderly end that no start of the daemon writes there. */
  readonly addedSeq: number | undefined
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
  const ends = new EndWatch()
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
    ends.add(record)
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
      addedSeq: ends.addedSeq,
      hashes,
    },
  }
}

/** What a start writes before its first checkpoint. */
const OF_A_START: ReadonlySet<string> = new Set(['recovered', 'started', 'rotated', 'file-began'])

/**
 * Behind an orderly end nothing follows but the next start, which is signed at once. Anybody can chain a record there, and
 * the next start would sign it with the rest.
 */
class EndWatch {
  #state: 'runs' | 'stopped' | 'ended' | 'starts' = 'runs'
  addedSeq: number | undefined

  add({ event, seq }: AuditRecord): void {
    if (event === 'chain-broken') {
      // Told already.
      this.#state = 'runs'
      this.addedSeq = undefined
    } else if (event === 'checkpoint') {
      if (this.#state === 'stopped') this.#state = 'ended'
      else if (this.#state === 'starts') this.#state = 'runs'
    } else if (event === 'stopped' && this.#state === 'runs') this.#state = 'stopped'
    else if (this.#state === 'ended' && event === 'started') this.#state = 'starts'
    else if (this.#state === 'stopped') this.#state = 'runs'
    else if (this.#state !== 'runs' && !OF_A_START.has(event)) this.addedSeq ??= seq
  }
}

/** How the log contradicts itself, as no run of the daemon leaves it, or undefined. */
export function logProblem({ addedSeq }: FoundLog): string | undefined {
  return addedSeq === undefined ? undefined : `record ${addedSeq} was added behind an orderly end`
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
