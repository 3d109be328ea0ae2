import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import { type AuditRecord, type ChainHead, genesisHash, readRecord } from './record.ts'

/** What is wrong at one place. Names are stable. */
export type FindingKind =
  | 'not-a-record'
  | 'changed'
  | 'missing'
  | 'out-of-order'
  | 'unlinked'
  | 'torn'
  | 'checkpoint-forged'
  | 'checkpoint-unknown-key'
  | 'checkpoint-mismatch'
  | 'checkpoint-missing'
  | 'file-missing'
  | 'other-chain'
  | 'truncated'
  | 'not-signed'
  | 'told-by-the-daemon'

export interface Finding {
  readonly kind: FindingKind
  readonly file: string
  /** From 1. */
  readonly line: number
  readonly seq: number | undefined
  readonly message: string
}

export interface ChainReport {
  readonly ok: boolean
  readonly chain: string | undefined
  readonly party: string | undefined
  readonly files: number
  readonly records: number
  readonly firstSeq: number | undefined
  readonly lastSeq: number | undefined
  readonly lastHash: string | undefined
  readonly checkpoints: number
  /** The last record that a good checkpoint covers. */
  readonly signedThrough: { readonly seq: number; readonly at: string; readonly pin: string } | undefined
  /** Records after it: chained, and not signed yet. That some were cut off behind them cannot be seen here. */
  readonly unsigned: number
  /** The log ends with an orderly stop. */
  readonly isClosed: boolean
  /** The first so many; `findingCount` has them all. */
  readonly findings: readonly Finding[]
  readonly findingCount: number
}

const MAX_FINDINGS = 100
/** Records that the daemon wrote because it found its own log changed or cut. */
const ALARMS: ReadonlySet<string> = new Set(['chain-broken', 'file-changed'])

/**
 * Checks a log, line by line: hashes, sequence, links over files, and the signatures of the checkpoints against pinned
 * keys. After a finding it goes on from what it found there, so that one change is told once.
 */
export class ChainVerifier {
  readonly #pins: readonly Buffer[]
  readonly #findings: Finding[] = []
  #findingCount = 0
  #file = ''
  #line = 0
  #files = 0
  #records = 0
  #checkpoints = 0
  #firstSeq: number | undefined
  #chain: string | undefined
  #party: string | undefined
  #head: ChainHead | undefined
  #sinceCheckpoint = 0
  /** The limit that the last good checkpoint has promised. */
  #every: number | undefined
  #signedThrough: ChainReport['signedThrough']
  #lastEvent: string | undefined
  #torn = false
  #isStopped = false

  /** `pins`: Ed25519 public keys, 32 bytes each, from a source other than the log. */
  constructor(pins: readonly Buffer[]) {
    this.#pins = pins
  }

  beginFile(file: string): void {
    this.#file = file
    this.#line = 0
    this.#files++
  }

  /** One line without its newline; `isWhole` is false for a last line that has none. Gives the record, if it is one. */
  addLine(line: string, { isWhole = true } = {}): AuditRecord | undefined {
    this.#line++
    if (this.#torn) this.#find('not-a-record', undefined, 'a line follows one that has no end')
    if (!isWhole) {
      this.#torn = true
      this.#find(
        'torn',
        undefined,
        'the last line has no end: the daemon was stopped while it wrote, or somebody cut it',
      )
      return undefined
    }
    const read = readRecord(line)
    if (read === undefined) {
      this.#find('not-a-record', undefined, 'this line is not a record as the daemon writes it')
      return undefined
    }
    const { record, computedHash } = read
    if (record.hash !== computedHash) {
      this.#find('changed', record.seq, 'the content was changed: its hash is another one')
    }
    this.#checkPlace(record)
    this.#records++
    this.#firstSeq ??= record.seq
    if (record.event === 'checkpoint') this.#checkCheckpoint(record)
    else this.#countUnsigned(record)
    if (ALARMS.has(record.event)) this.#find('told-by-the-daemon', record.seq, alarmText(record))
    this.#head = { seq: record.seq, hash: record.hash }
    this.#lastEvent = record.event
    return record
  }

  /** `expected`: a head that was noted elsewhere, which the log must contain or be beyond. */
  end(expected?: { readonly seq: number }): ChainReport {
    const lastSeq = this.#head?.seq
    if (expected !== undefined && (lastSeq ?? -1) < expected.seq) {
      this.#find('truncated', lastSeq, `the log ends at ${lastSeq ?? 'nothing'}, and had reached ${expected.seq}`)
    }
    if (this.#records > 0 && this.#signedThrough === undefined) {
      this.#find('not-signed', lastSeq, 'no checkpoint in it is signed by one of the given keys')
    }
    return {
      ok: this.#findingCount === 0 && this.#records > 0,
      chain: this.#chain,
      party: this.#party,
      files: this.#files,
      records: this.#records,
      firstSeq: this.#firstSeq,
      lastSeq,
      lastHash: this.#head?.hash,
      checkpoints: this.#checkpoints,
      signedThrough: this.#signedThrough,
      unsigned: this.#sinceCheckpoint,
      isClosed: this.#lastEvent === 'checkpoint' && this.#sinceCheckpoint === 0 && this.#isStopped,
      findings: this.#findings,
      findingCount: this.#findingCount,
    }
  }

  #checkPlace(record: AuditRecord): void {
    const isHead = record.event === 'file-began'
    if (this.#line === 1 && !isHead) this.#find('missing', record.seq, 'the file does not begin with its first record')
    if (isHead && this.#line !== 1)
      this.#find('out-of-order', record.seq, 'the first record of a file stands in its middle')
    if (isHead) this.#checkFileHead(record)
    const head = this.#head
    if (head === undefined) return
    const expectedSeq = head.seq + 1
    if (record.seq > expectedSeq) {
      this.#find('missing', record.seq, `the records ${rangeText(expectedSeq, record.seq - 1)} are missing before it`)
    } else if (record.seq < expectedSeq) {
      this.#find('out-of-order', record.seq, `record ${record.seq} stands where ${expectedSeq} belongs`)
    } else if (record.prev !== head.hash) {
      this.#find('unlinked', record.seq, 'it was not written after the record that stands before it')
    }
  }

  #checkFileHead(record: AuditRecord): void {
    const { chain, party, previous } = record.facts as { chain?: unknown; party?: unknown; previous?: unknown }
    if (typeof chain !== 'string' || typeof party !== 'string') {
      this.#find('not-a-record', record.seq, 'the first record of the file does not name its chain')
      return
    }
    if (this.#chain !== undefined && chain !== this.#chain) {
      this.#find('other-chain', record.seq, `another chain begins here: ${chain}; the one before is ${this.#chain}`)
      this.#head = undefined
      this.#sinceCheckpoint = 0
      this.#every = undefined
    }
    this.#chain = chain
    this.#party = party
    const before = previous as { file?: unknown } | undefined
    if (record.seq === 0) {
      if (record.prev !== genesisHash(chain)) this.#find('unlinked', 0, 'the first record does not belong to its chain')
    } else if (this.#head === undefined && this.#files > 1) {
      this.#find('file-missing', record.seq, `the file before it is missing: ${String(before?.file)}`)
    }
  }

  #countUnsigned(record: AuditRecord): void {
    this.#isStopped = record.event === 'stopped'
    this.#sinceCheckpoint++
    if (this.#every === undefined || this.#sinceCheckpoint !== this.#every + 1) return
    const message = `more than ${this.#every} records without a checkpoint: one was taken out, or a whole part was written anew`
    this.#find('checkpoint-missing', record.seq, message)
  }

  #checkCheckpoint(record: AuditRecord): void {
    this.#checkpoints++
    const count = this.#sinceCheckpoint
    this.#sinceCheckpoint = 0
    const { jws, through, count: saidCount } = record.facts
    const opened = openCheckpoint(typeof jws === 'string' ? jws : '', this.#pins)
    if ('problem' in opened) {
      if (opened.problem === 'unknown-key')
        this.#find('checkpoint-unknown-key', record.seq, `signed by ${opened.pin}, which is not one of the given keys`)
      else this.#find('checkpoint-forged', record.seq, `the signature is not good: ${opened.problem}`)
      return
    }
    const { checkpoint, pin } = opened
    const problem = this.#mismatchOf(checkpoint, record, count, { through, count: saidCount })
    this.#every = checkpoint.every
    if (problem === undefined) this.#signedThrough = { seq: checkpoint.seq, at: checkpoint.at, pin }
    else this.#find('checkpoint-mismatch', record.seq, problem)
  }

  #mismatchOf(
    checkpoint: Checkpoint,
    record: AuditRecord,
    count: number,
    said: { through: unknown; count: unknown },
  ): string | undefined {
    if (checkpoint.chain !== this.#chain) return `it signs another chain: ${checkpoint.chain}`
    if (checkpoint.party !== this.#party) return `it signs the log of another party: ${checkpoint.party}`
    const isExact = Object.keys(record.facts).length === 3 && record.bankCode === undefined && record.by === undefined
    if (!isExact || said.through !== checkpoint.seq || said.count !== checkpoint.count || record.at !== checkpoint.at)
      return 'the record says something else than what is signed in it'
    if (checkpoint.seq !== record.seq - 1)
      return `it signs the chain up to ${checkpoint.seq}, and stands at ${record.seq}`
    if (checkpoint.hash !== record.prev || (this.#head !== undefined && checkpoint.hash !== this.#head.hash))
      return `records up to ${checkpoint.seq} were changed after they were signed: the signed hash is another one`
    // Where the log begins in the middle of a chain, the records before are not at hand to be counted.
    const isCounted = this.#signedThrough !== undefined || this.#firstSeq === 0
    if (isCounted && checkpoint.count !== count)
      return `it signs ${checkpoint.count} records, and ${count} stand before it`
    return undefined
  }

  #find(kind: FindingKind, seq: number | undefined, message: string): void {
    this.#findingCount++
    if (this.#findings.length < MAX_FINDINGS)
      this.#findings.push({ kind, file: this.#file, line: this.#line, seq, message })
  }
}

function rangeText(first: number, last: number): string {
  return first === last ? String(first) : `${first} to ${last}`
}

function alarmText({ event, facts }: AuditRecord): string {
  return `the daemon itself found this (${event}): ${typeof facts.problem === 'string' ? facts.problem : 'no words'}`
}
