import { truncate, unlink } from 'node:fs/promises'
import { formatIdentityPin } from '../certs/index.ts'
import { describeError, LsxError, type Service, type TimerHandle } from '../runtime/index.ts'
import type { AuditHealth, AuditLogOptions, AuditSink } from './audit-options.ts'
import { signCheckpoint } from './checkpoint.ts'
import { AUDIT_EVENTS, type AuditEvent } from './events.ts'
import { recordableFacts } from './facts.ts'
import { type AuditFile, auditFile, listAuditFiles, makeAuditDir } from './files.ts'
import { type AuditEntry, appendRecord, type ChainHead, genesisHash } from './record.ts'
import { type Anchor, anchorProblem, type FoundLog, logProblem, readNewestFile } from './recovery.ts'
import { Thinning } from './thinning.ts'
import { AuditWriter } from './writer.ts'

const THINNING = { perKind: 6, total: 240, windowMs: 60_000 }
const RETRY_MS = 1_000
const WARN_INTERVAL_MS = 60_000

/**
 * The daemon's audit log: an append-only chain of records in files, signed at intervals. Recording never waits and never
 * throws: a disk that is full or slow is loud in the log and the health, and what was lost is counted in the chain.
 */
export class AuditLog implements Service, AuditSink {
  readonly name = 'audit'
  readonly #options: AuditLogOptions
  readonly #writer: AuditWriter
  readonly #thinning = new Thinning(THINNING)
  #state: 'new' | 'open' | 'closed' = 'new'
  #chain = ''
  #head: ChainHead = { seq: -1, hash: '' }
  #file: AuditFile
  #isNewFile = false
  #fileBytes = 0
  #sinceCheckpoint = 0
  #signedThrough = -1
  #syncedThrough = -1
  #anchorAt: Anchor | undefined
  #lost = 0
  #unrecordedLosses = 0
  #failure: string | undefined
  #intrusion: string | undefined
  #warnedAtMs = Number.NEGATIVE_INFINITY
  #checkpointTimer: TimerHandle | undefined
  #thinningTimer: TimerHandle | undefined

  constructor(options: AuditLogOptions) {
    this.#options = options
    this.#file = auditFile(options.config.dir, 1)
    this.#writer = new AuditWriter({
      clock: options.clock,
      retryMs: RETRY_MS,
      onFailed: (error) => this.#onFailed(error),
      onWorking: () => this.#onWorking(),
      onSynced: (seq) => this.#onSynced(seq),
      onFileChanged: (problem) => this.#onFileChanged(problem),
      ...(options.openFile === undefined ? {} : { openFile: options.openFile }),
    })
  }

  get health(): AuditHealth {
    const problem = this.#intrusion ?? this.#failure
    return {
      state: problem === undefined && this.#state === 'open' ? 'ok' : 'failing',
      problem,
      dir: this.#options.config.dir,
      file: this.#file.name,
      pin: formatIdentityPin(this.#options.signer().publicKey),
      chain: this.#chain,
      seq: this.#head.seq,
      hash: this.#head.hash,
      signedThrough: this.#signedThrough,
      syncedThrough: this.#syncedThrough,
      buffered: this.#writer.buffered,
      lost: this.#lost,
    }
  }

  /** Finds the end of the log, mends it, and goes on from there. @throws LsxError REFUSED, party self */
  async start(signal: AbortSignal): Promise<void> {
    const { config, party, anchor } = this.#options
    makeAuditDir(config.dir)
    const found = readNewestFile(config.dir)
    if (found.unbegun !== undefined) await unlink(found.unbegun.path)
    const log = found.kind === 'found' ? found.log : undefined
    if (log !== undefined && log.party !== party) {
      throw new LsxError(
        'REFUSED',
        `the audit log in ${config.dir} is of ${log.party}: set audit.dir to a directory of its own`,
        {
          party: 'self',
          facts: { file: log.file.path },
        },
      )
    }
    signal.throwIfAborted()
    const remembered = anchor?.read()
    const broken = found.kind === 'broken' ? found.problem : undefined
    const problem =
      broken ??
      (remembered === undefined ? undefined : anchorProblem(remembered, log)) ??
      (log === undefined ? undefined : logProblem(log))
    this.#state = 'open'
    if (log === undefined) this.#beginChain()
    else await this.#goOn(log)
    if (problem !== undefined) {
      this.#intrusion = problem
      this.#options.logger.fatal(
        { audit: true, dir: config.dir },
        `the audit log is not as this daemon left it: ${problem}`,
      )
      this.record({ event: 'chain-broken', facts: { problem, remembered } })
    }
    if (log !== undefined && !log.isClosed) {
      this.#options.logger.warn({ audit: true, torn: log.torn?.bytes ?? 0 }, 'the run before ended without a stop')
      this.record({ event: 'recovered', facts: recoveredFacts(log) })
    }
    this.record({ event: 'started', by: { via: 'daemon' }, facts: this.#options.startFacts })
    if (this.#sinceCheckpoint > 0) this.#appendCheckpoint()
    await this.#writer.flush(signal)
    signal.throwIfAborted()
    if (this.#failure !== undefined) {
      const reason = this.#failure
      await this.#close()
      throw new LsxError('REFUSED', `the audit log cannot be written: ${reason}`, {
        party: 'self',
        facts: { dir: config.dir },
      })
    }
  }

  /** Its sequence number, or undefined when it is only counted. */
  record(entry: AuditEntry<AuditEvent>): number | undefined {
    if (this.#state !== 'open') return undefined
    const { isThinned } = AUDIT_EVENTS[entry.event]
    const nowMs = this.#options.clock.monotonicMs()
    if (isThinned) {
      this.#recordThinned(nowMs)
      if (!this.#thinning.admits(kindOf(entry), nowMs)) {
        this.#armThinning(nowMs)
        return undefined
      }
    }
    return this.#append(entry)
  }

  /** Resolves when all that was recorded is on disk, or `signal` aborts. */
  flush(signal: AbortSignal): Promise<void> {
    return this.#writer.flush(signal)
  }

  async stop(signal: AbortSignal): Promise<void> {
    if (this.#state !== 'open') return
    this.#recordThinned(this.#options.clock.monotonicMs(), { atOnce: true })
    this.#append({ event: 'stopped', by: { via: 'daemon' }, facts: {} })
    if (this.#sinceCheckpoint > 0) this.#appendCheckpoint()
    await this.#writer.flush(signal)
    await this.#close()
  }

  async #close(): Promise<void> {
    const { clock, logger } = this.#options
    this.#state = 'closed'
    if (this.#checkpointTimer !== undefined) clock.cancelTimer(this.#checkpointTimer)
    if (this.#thinningTimer !== undefined) clock.cancelTimer(this.#thinningTimer)
    const { buffered } = this.#writer
    if (buffered > 0) logger.error({ audit: true, buffered }, 'the audit log could not be written to its end')
    await this.#writer.close()
  }

  // ---- where the chain stands

  #beginChain(): void {
    const { config, newChainId } = this.#options
    this.#chain = newChainId()
    this.#head = { seq: -1, hash: genesisHash(this.#chain) }
    this.#file = auditFile(config.dir, (listAuditFiles(config.dir).at(-1)?.number ?? 0) + 1)
    this.#appendFileHead(undefined)
  }

  async #goOn(log: FoundLog): Promise<void> {
    this.#chain = log.chain
    this.#head = log.head
    this.#file = log.file
    this.#fileBytes = log.goodBytes
    this.#sinceCheckpoint = log.sinceCheckpoint
    if (log.torn !== undefined) await truncate(log.file.path, log.goodBytes)
    await this.#writer.resume(log.file)
    // What the run before could not sign any more: `recovered` says how many records this takes on trust.
    if (log.sinceCheckpoint > 0) this.#appendCheckpoint()
  }

  #appendFileHead(previous: { readonly file: string } | undefined): void {
    const { party, config } = this.#options
    this.#isNewFile = true
    this.#fileBytes = 0
    const facts = { chain: this.#chain, party, file: this.#file.name, checkpointEvery: config.checkpointEvery }
    this.#write({
      event: 'file-began',
      facts: previous === undefined ? facts : { ...facts, previous: { ...previous, ...this.#head } },
    })
  }

  #append(entry: AuditEntry<AuditEvent>): number | undefined {
    const { config } = this.#options
    if (this.#writer.buffered >= config.maxBuffered) {
      this.#lost++
      this.#unrecordedLosses++
      this.#warn(`${this.#lost} records were lost: the disk is full or slow`)
      return undefined
    }
    this.#recordLosses()
    const seq = this.#write({ ...entry, facts: recordableFacts(entry.facts ?? {}) })
    if (AUDIT_EVENTS[entry.event].isSigned && this.#sinceCheckpoint > 0) this.#appendCheckpoint()
    if (this.#fileBytes >= config.rotateBytes) this.#rotate()
    return seq
  }

  #recordLosses(): void {
    const count = this.#unrecordedLosses
    this.#unrecordedLosses = 0
    if (count > 0) this.#write({ event: 'records-lost', facts: { count } })
  }

  #appendCheckpoint(): void {
    if (this.#checkpointTimer !== undefined) this.#options.clock.cancelTimer(this.#checkpointTimer)
    this.#checkpointTimer = undefined
    const { clock, config, signer, party } = this.#options
    const nowMs = clock.nowMs()
    const signed = {
      chain: this.#chain,
      party,
      seq: this.#head.seq,
      hash: this.#head.hash,
      at: new Date(nowMs).toISOString(),
      count: this.#sinceCheckpoint,
      every: config.checkpointEvery,
    }
    const facts = { through: signed.seq, count: signed.count, jws: signCheckpoint(signed, signer()) }
    this.#write({ event: 'checkpoint', facts }, nowMs)
    this.#sinceCheckpoint = 0
    this.#signedThrough = signed.seq
    this.#anchorAt = { chain: signed.chain, seq: signed.seq, hash: signed.hash }
  }

  #rotate(): void {
    const { dir } = this.#options.config
    const before = this.#file
    const next = auditFile(dir, before.number + 1)
    this.#write({ event: 'rotated', facts: { next: next.name } })
    if (this.#sinceCheckpoint > 0) this.#appendCheckpoint()
    this.#file = next
    this.#appendFileHead({ file: before.name })
  }

  #write(entry: AuditEntry<AuditEvent>, nowMs: number = this.#options.clock.nowMs()): number {
    const { line, head } = appendRecord(this.#head, entry, nowMs)
    const bytes = Buffer.from(`${line}\n`)
    this.#head = head
    this.#fileBytes += bytes.length
    this.#sinceCheckpoint++
    const { isSynced } = AUDIT_EVENTS[entry.event]
    this.#writer.append({ file: this.#file, isNewFile: this.#isNewFile, bytes, seq: head.seq, isSynced })
    this.#isNewFile = false
    if (entry.event !== 'checkpoint') {
      if (this.#sinceCheckpoint >= this.#options.config.checkpointEvery) this.#appendCheckpoint()
      else this.#armCheckpoint()
    }
    return head.seq
  }

  // ---- timers

  #armCheckpoint(): void {
    if (this.#checkpointTimer !== undefined) return
    this.#checkpointTimer = this.#options.clock.startTimer(this.#options.config.checkpointAfterMs, () => {
      this.#checkpointTimer = undefined
      if (this.#state === 'open' && this.#sinceCheckpoint > 0) this.#appendCheckpoint()
    })
  }

  #armThinning(nowMs: number): void {
    const dueAtMs = this.#thinning.dueAtMs
    if (this.#thinningTimer !== undefined || dueAtMs === undefined) return
    this.#thinningTimer = this.#options.clock.startTimer(Math.max(1, Math.ceil(dueAtMs - nowMs)), () => {
      this.#thinningTimer = undefined
      const firedAtMs = this.#options.clock.monotonicMs()
      this.#recordThinned(firedAtMs)
      this.#armThinning(firedAtMs)
    })
  }

  #recordThinned(nowMs: number, options: { readonly atOnce?: boolean } = {}): void {
    const counts = this.#thinning.takeCounts(nowMs, options)
    if (counts !== undefined) this.#append({ event: 'records-thinned', facts: { counts, windowMs: THINNING.windowMs } })
  }

  // ---- what the writer tells

  #onSynced(seq: number): void {
    this.#syncedThrough = seq
    const anchor = this.#anchorAt
    if (anchor === undefined || anchor.seq > seq) return
    this.#anchorAt = undefined
    this.#options.anchor?.write(anchor)
  }

  #onFailed(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.#failure = message
    this.#warn(`the audit log cannot be written: ${message}`, error)
  }

  #onWorking(): void {
    if (this.#failure === undefined) return
    this.#failure = undefined
    this.#options.logger.warn({ audit: true, lost: this.#lost }, 'the audit log is written again')
    if (this.#state === 'open') this.#recordLosses()
  }

  /** Goes on in a new file: the one that somebody has in hand is left as evidence. */
  #onFileChanged(problem: string): void {
    this.#intrusion = problem
    this.#options.logger.fatal(
      { audit: true, dir: this.#options.config.dir },
      `somebody changes the audit log: ${problem}`,
    )
    if (this.#state !== 'open') return
    this.#rotate()
    this.#append({ event: 'file-changed', facts: { problem } })
  }

  #warn(message: string, error?: unknown): void {
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs - this.#warnedAtMs < WARN_INTERVAL_MS) return
    this.#warnedAtMs = nowMs
    const { buffered } = this.#writer
    const facts = {
      audit: true,
      buffered,
      lost: this.#lost,
      ...(error === undefined ? {} : { error: describeError(error) }),
    }
    this.#options.logger.error(facts, message)
  }
}

function kindOf({ event, bankCode, facts }: AuditEntry): string {
  return [event, facts?.code, bankCode].filter((part) => typeof part === 'string').join(' ')
}

function recoveredFacts({ torn, sinceCheckpoint, head }: FoundLog): Record<string, unknown> {
  const facts = { lastSeq: head.seq, unsignedRecords: sinceCheckpoint, tornBytes: torn?.bytes ?? 0 }
  return torn === undefined ? facts : { ...facts, tornSha256: torn.sha256, tornText: torn.text }
}
