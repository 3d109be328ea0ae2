import { createHash } from 'node:crypto'

/** Who brought a thing about, and how much of that is proven. */
export interface AuditActor {
  /** `ls-admin.sock`, `signal`, `rule` or `daemon`. */
  readonly via: string
  /** Proven by the system: only processes of these users could have done it. */
  readonly provenUids?: readonly number[]
  /** What the program at the other end says of itself. Nobody has checked it. */
  readonly claimed?: Readonly<Record<string, unknown>>
}

/** What is to be recorded. `facts` never hold keys, tokens or payloads. */
export interface AuditEntry<Event extends string = string> {
  readonly event: Event
  readonly bankCode?: string | undefined
  readonly by?: AuditActor | undefined
  readonly facts?: Readonly<Record<string, unknown>>
}

/** One line of the log. */
export interface AuditRecord {
  /** From 0, without a gap over all files of a chain. */
  readonly seq: number
  /** ISO 8601, UTC. */
  readonly at: string
  readonly event: string
  readonly bankCode?: string
  readonly by?: AuditActor
  readonly facts: Readonly<Record<string, unknown>>
  /** Hash of the record before. */
  readonly prev: string
  readonly hash: string
}

/** Where a chain has got to. */
export interface ChainHead {
  /** Of the last record; -1 before the first. */
  readonly seq: number
  readonly hash: string
}

const LABEL = 'LS-AUDIT-1\n'
const HASH = /^[A-Za-z0-9_-]{43}$/
const HASH_NAME = ',"hash":"'
const TAIL_LENGTH = HASH_NAME.length + 43 + '"}'.length
const FIELDS = ['seq', 'at', 'event', 'bankCode', 'by', 'facts', 'prev', 'hash']
const NEEDED = ['seq', 'at', 'event', 'facts', 'prev', 'hash']

/** What the first record of a chain has as `prev`: it fixes the chain's id. */
export function genesisHash(chain: string): string {
  return createHash('sha256').update(`${LABEL}chain ${chain}`).digest('base64url')
}

/**
 * The line of the next record, without a newline, and the head after it. The hash is SHA-256 over the label
 * `LS-AUDIT-1\n` and the very bytes of the line that stand before `,"hash":`, of which `prev` is one part.
 */
export function appendRecord(head: ChainHead, entry: AuditEntry, nowMs: number): { line: string; head: ChainHead } {
  const seq = head.seq + 1
  const content = JSON.stringify({
    seq,
    at: new Date(nowMs).toISOString(),
    event: entry.event,
    bankCode: entry.bankCode,
    by: entry.by,
    facts: entry.facts ?? {},
    prev: head.hash,
  }).slice(0, -1)
  const hash = hashOf(content)
  return { line: `${content}${HASH_NAME}${hash}"}`, head: { seq, hash } }
}

/** A line as a record, with the hash that its bytes have; undefined when it is not a record in its one spelling. */
export function readRecord(line: string): { record: AuditRecord; computedHash: string } | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch {
    return undefined
  }
  if (!isRecord(parsed) || JSON.stringify(parsed) !== line) return undefined
  return { record: parsed, computedHash: hashOf(line.slice(0, -TAIL_LENGTH)) }
}

function hashOf(content: string): string {
  return createHash('sha256').update(LABEL).update(content).digest('base64url')
}

function isRecord(value: unknown): value is AuditRecord {
  if (!isMap(value)) return false
  const names = Object.keys(value)
  if (names.join() !== FIELDS.filter((name) => names.includes(name)).join()) return false
  if (!NEEDED.every((name) => names.includes(name))) return false
  const { seq, at, event, bankCode, by, facts, prev, hash } = value
  return (
    Number.isSafeInteger(seq) &&
    typeof seq === 'number' &&
    seq >= 0 &&
    isIsoTime(at) &&
    typeof event === 'string' &&
    (bankCode === undefined || typeof bankCode === 'string') &&
    (by === undefined || isMap(by)) &&
    isMap(facts) &&
    isHash(prev) &&
    isHash(hash)
  )
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && HASH.test(value)
}

function isIsoTime(value: unknown): boolean {
  if (typeof value !== 'string') return false
  const time = new Date(value)
  return !Number.isNaN(time.getTime()) && time.toISOString() === value
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
