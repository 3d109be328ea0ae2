import { isDeepStrictEqual } from 'node:util'
import { type AuditActor, type AuditSink, actorText } from '../audit/index.ts'
import { type Clock, describeError, type Logger, LsxError } from '../runtime/index.ts'
import type { Table } from '../store/index.ts'
import type { BankLink } from './bank-link.ts'
import type { Quarantine } from './quarantine.ts'
import { type Evidence, type EvidenceKind, type QuarantineRule, QuarantineRules } from './quarantine-rules.ts'

/** Where those who see a bank misbehave tell of it. The caller answers for it that the bank's key has proven who it was. */
export interface EvidenceSink {
  note(bankCode: string, kind: EvidenceKind, facts: Readonly<Record<string, unknown>>): void
}

export interface QuarantineDeskOptions {
  readonly linkOf: (bankCode: string) => BankLink | undefined
  readonly table: Table<Quarantine>
  readonly rules: () => readonly QuarantineRule[]
  readonly audit: AuditSink
  readonly clock: Clock
  readonly logger: Logger
  /** Runs what is to happen outside of the call that told the evidence. */
  readonly defer: (work: () => void) => void
}

/** Puts banks in quarantine and lets them back: by an operator's word, or by evidence. Each is kept, and on record. */
export class QuarantineDesk implements EvidenceSink {
  readonly #options: QuarantineDeskOptions
  #rules: QuarantineRules
  #rulesOf: readonly QuarantineRule[]

  constructor(options: QuarantineDeskOptions) {
    this.#options = options
    this.#rulesOf = options.rules()
    this.#rules = new QuarantineRules(this.#rulesOf)
  }

  /** The quarantine in force, also one that was before. Rejects when it could not be kept: the bank is in quarantine all the same, until the next start. */
  async quarantine(
    link: BankLink,
    {
      reason,
      by,
      rule,
      evidence,
    }: { reason: string; by: AuditActor; rule?: QuarantineRule; evidence?: readonly Evidence[] },
  ): Promise<Quarantine> {
    const { table, clock, audit } = this.#options
    const bankCode = link.bank.code
    if (link.state.name === 'quarantined') {
      const { reason: before, by: byBefore, quarantinedAtMs } = link.state
      const known = { bankCode, reason: before, sinceMs: quarantinedAtMs }
      return byBefore === undefined ? known : { ...known, by: byBefore }
    }
    const record: Quarantine = { bankCode, reason, sinceMs: clock.nowMs(), by: actorText(by) }
    // First the channel, then the disk: a slow disk must not leave a suspect bank connected.
    link.quarantine(record)
    const told = evidence?.map(({ atMs, facts }) => ({ at: new Date(atMs).toISOString(), ...facts }))
    audit.record({ event: 'quarantined', bankCode, by, facts: { reason, rule, evidence: told } })
    await table.put(bankCode, record)
    return record
  }

  /** @throws LsxError BAD_REQUEST: it is not in quarantine */
  async resume(link: BankLink, by: AuditActor): Promise<void> {
    const { table, audit } = this.#options
    const { code } = link.bank
    if (link.state.name !== 'quarantined') throw new LsxError('BAD_REQUEST', `bank ${code} is not in quarantine`)
    const { reason } = link.state
    await table.remove(code)
    this.#rules.forget(code)
    audit.record({ event: 'resumed', bankCode: code, by, facts: { reason } })
    link.resume()
  }

  note(bankCode: string, kind: EvidenceKind, facts: Readonly<Record<string, unknown>>): void {
    const { audit, clock, rules, defer } = this.#options
    audit.record({ event: 'evidence', bankCode, facts: { code: kind, ...facts } })
    // A reload brought others: what was seen before them does not count.
    if (this.#rulesOf !== rules() && !isDeepStrictEqual(this.#rulesOf, rules())) {
      this.#rulesOf = rules()
      this.#rules = new QuarantineRules(this.#rulesOf)
    }
    const tripped = this.#rules.note(bankCode, kind, { atMs: clock.nowMs(), facts }, clock.monotonicMs())
    if (tripped !== undefined) defer(() => this.#quarantineByRule(bankCode, tripped))
  }

  #quarantineByRule(bankCode: string, tripped: { rule: QuarantineRule; evidence: readonly Evidence[] }): void {
    const { linkOf, logger } = this.#options
    const link = linkOf(bankCode)
    if (link === undefined || link.state.name === 'quarantined') return
    const { kind, count, windowMs } = tripped.rule
    const reason = `${count} times ${kind} within ${Math.round(windowMs / 1_000)} s`
    logger.error({ audit: true, bankCode, rule: tripped.rule }, `bank ${bankCode} is put in quarantine: ${reason}`)
    this.quarantine(link, { reason, by: { via: 'rule' }, ...tripped }).catch((error: unknown) => {
      logger.error(
        { bankCode, error: describeError(error) },
        'a quarantine could not be stored: it ends with the next start, unless it is given again',
      )
    })
  }
}
