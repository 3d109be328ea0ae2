import { type AuditSigner, type ChainReport, ChainVerifier, signCheckpoint } from '../../lib/audit/index.ts'
import { type AuditEntry, appendRecord, type ChainHead, genesisHash } from '../../lib/audit/record.ts'

export interface TestFile {
  readonly name: string
  lines: string[]
}

const START_MS = 1_800_000_000_000

/** Writes a chain as the daemon does, in memory. */
export class ChainBuilder {
  readonly files: TestFile[] = []
  readonly chain: string
  readonly every: number
  readonly #signer: AuditSigner
  #head: ChainHead
  #since = 0
  #nowMs = START_MS

  constructor(signer: AuditSigner, options: { chain?: string; every?: number } = {}) {
    this.chain = options.chain ?? 'c0ffee'
    this.every = options.every ?? 4
    this.#signer = signer
    this.#head = { seq: -1, hash: genesisHash(this.chain) }
    this.beginFile()
  }

  beginFile(): void {
    const before = this.files.at(-1)
    const name = `audit.00000${this.files.length + 1}.ndjson`
    const facts = { chain: this.chain, party: 'ls', file: name, checkpointEvery: this.every }
    if (before !== undefined) {
      this.add({ event: 'rotated', facts: { next: name } })
      if (this.#since > 0) this.checkpoint()
    }
    this.files.push({ name, lines: [] })
    const previous = before === undefined ? {} : { previous: { file: before.name, ...this.#head } }
    this.add({ event: 'file-began', facts: { ...facts, ...previous } })
  }

  add(entry: AuditEntry): void {
    this.#write(entry)
    this.#since++
    if (this.#since >= this.every) this.checkpoint()
  }

  checkpoint(): void {
    const { seq, hash } = this.#head
    const at = new Date(this.#nowMs).toISOString()
    const signed = { chain: this.chain, party: 'ls', seq, hash, at, count: this.#since, every: this.every }
    this.#write({
      event: 'checkpoint',
      facts: { through: seq, count: this.#since, jws: signCheckpoint(signed, this.#signer) },
    })
    this.#since = 0
  }

  #write(entry: AuditEntry): void {
    const { line, head } = appendRecord(this.#head, entry, this.#nowMs)
    this.files.at(-1)?.lines.push(line)
    this.#head = head
    if (entry.event !== 'checkpoint') this.#nowMs += 1_000
  }
}

/** Writes every line from `index` on anew, each hash right: what somebody can do who has the file and not the key. */
export function rehashed(lines: readonly string[], index: number): string[] {
  const result = [...lines]
  for (let at = index; at < result.length; at++) {
    const before = at === 0 ? undefined : (JSON.parse(result[at - 1] ?? '') as { seq: number; hash: string })
    const own = JSON.parse(result[at] ?? '') as { at: string; prev: string; seq: number } & AuditEntry
    const head = before ?? { seq: own.seq - 1, hash: own.prev }
    const { event, bankCode, by, facts } = own
    result[at] = appendRecord(
      head,
      { event, bankCode, by, ...(facts === undefined ? {} : { facts }) },
      Date.parse(own.at),
    ).line
  }
  return result
}

export function verified(
  files: readonly TestFile[],
  pins: readonly Buffer[],
  options: { expected?: { seq: number }; torn?: string } = {},
): ChainReport {
  const verifier = new ChainVerifier(pins)
  for (const { name, lines } of files) {
    verifier.beginFile(name)
    for (const line of lines) verifier.addLine(line)
  }
  if (options.torn !== undefined) verifier.addLine(options.torn, { isWhole: false })
  return verifier.end(options.expected)
}
