/** What a bank, proven by its key, can do that no honest bank does. */
export const EVIDENCE_KINDS = ['bad-signature', 'bad-tag', 'session-mixup', 'bad-fulfilment'] as const

export type EvidenceKind = (typeof EVIDENCE_KINDS)[number]

/** So many events of a kind within the window put the bank in quarantine. */
export interface QuarantineRule {
  readonly kind: EvidenceKind
  readonly count: number
  readonly windowMs: number
}

/** One event that counts. */
export interface Evidence {
  /** Wall time, ms. */
  readonly atMs: number
  readonly facts: Readonly<Record<string, unknown>>
}

interface Seen extends Evidence {
  readonly seenAtMs: number
}

/** Events told in a record: the last ones, however many a rule asks for. */
const MAX_TOLD = 20

/**
 * Counts evidence by bank and kind in sliding windows. Pure: times are handed in. Memory is bounded: of each bank and
 * kind no more events than the largest rule asks for.
 */
export class QuarantineRules {
  readonly #rules: readonly QuarantineRule[]
  readonly #seen = new Map<string, Seen[]>()

  constructor(rules: readonly QuarantineRule[]) {
    this.#rules = rules
  }

  /** The rule that this event has filled, with the events that did. `nowMs` is monotonic. */
  note(
    bankCode: string,
    kind: EvidenceKind,
    event: Evidence,
    nowMs: number,
  ): { rule: QuarantineRule; evidence: readonly Evidence[] } | undefined {
    const rules = this.#rules.filter((rule) => rule.kind === kind)
    if (rules.length === 0) return undefined
    const name = `${kind} ${bankCode}`
    const longestMs = Math.max(...rules.map(({ windowMs }) => windowMs))
    const most = Math.max(...rules.map(({ count }) => count))
    const seen = (this.#seen.get(name) ?? []).filter(({ seenAtMs }) => nowMs - seenAtMs < longestMs)
    seen.push({ ...event, seenAtMs: nowMs })
    if (seen.length > most) seen.splice(0, seen.length - most)
    this.#seen.set(name, seen)
    for (const rule of rules) {
      const within = seen.filter(({ seenAtMs }) => nowMs - seenAtMs < rule.windowMs)
      if (within.length < rule.count) continue
      this.forget(bankCode)
      return { rule, evidence: within.slice(-MAX_TOLD).map(({ atMs, facts }) => ({ atMs, facts })) }
    }
    return undefined
  }

  /** A bank that is let back, or is gone, begins anew. */
  forget(bankCode: string): void {
    for (const kind of EVIDENCE_KINDS) this.#seen.delete(`${kind} ${bankCode}`)
  }
}
