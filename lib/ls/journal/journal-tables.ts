import { type ErrorCode, isErrorCode, LsxError } from '../../runtime/index.ts'
import { type Change, TimeIndex, type TransactionalStore, type TransactionalTable } from '../../store/index.ts'
import type { Outcome } from '../routed-request.ts'

/** What never changes of a request. */
export interface StoredRequest {
  readonly sequence: string
  readonly bankCode: string
  readonly method: string
  readonly payload: Buffer
  readonly meta?: Buffer
  readonly condition?: Buffer
  readonly digest: Buffer
  readonly acceptedAtMs: number
  readonly deadlineAtMs: number
}

/** How far an open request has come. Written late, so it may be missing. */
export interface StoredProgress {
  readonly sequence: string
  readonly sentAtMs?: number
  readonly bootId?: string
  readonly inDoubt?: true
  readonly code?: ErrorCode
}

/** The one end of a request. */
export interface StoredOutcome {
  readonly sequence: string
  readonly outcome: Exclude<Outcome, 'in-doubt'>
  readonly settledAtMs: number
  readonly code?: ErrorCode
  readonly response?: Buffer
  readonly type?: string
  readonly fulfilment?: Buffer
  readonly sentAtMs?: number
  readonly bootId?: string
}

/** Notes in the order of acceptance. They say the same as the presence of an outcome, so that its loss is seen. */
export const OPEN = 'open'
export const SETTLED = 'settled'

/**
 * The journal on disk: a request and its entry in the order of acceptance are there from acceptance until removal, its
 * progress only while it is open, its outcome from the moment it is settled. The parts of a key are written and removed
 * as one, so a key that is in one table and not in another that must have it was lost to damage.
 */
export class JournalTables {
  readonly requests: TransactionalTable<StoredRequest>
  readonly progress: TransactionalTable<StoredProgress>
  readonly outcomes: TransactionalTable<StoredOutcome>
  readonly order: TimeIndex

  constructor(store: TransactionalStore) {
    this.requests = store.table('journal', { validate: validateRequest })
    this.progress = store.table('journal-progress', { validate: validateProgress })
    this.outcomes = store.table('journal-outcomes', { validate: validateOutcome })
    this.order = new TimeIndex(store, 'journal-order')
  }

  get all(): readonly TransactionalTable<unknown>[] {
    return [this.requests, this.progress, this.outcomes, this.order.table] as TransactionalTable<unknown>[]
  }

  toAccept(key: string, request: StoredRequest): Change[] {
    return [this.requests.toPut(key, request), this.order.toAdd({ position: request.sequence, key }, OPEN)]
  }

  toSettle(key: string, outcome: StoredOutcome): Change[] {
    return [this.outcomes.toPut(key, outcome), this.order.toAdd({ position: outcome.sequence, key }, SETTLED)]
  }

  /** Undoes an acceptance that failed. */
  toWithdraw(key: string, sequence: string): Change[] {
    return [this.requests.toRemove(key), this.order.toRemove({ position: sequence, key })]
  }

  /** All of a settled key but its entry in the order. */
  toForget(key: string): Change[] {
    return [this.requests.toRemove(key), this.outcomes.toRemove(key), this.progress.toRemove(key)]
  }

  /** The outcome that belongs to this acceptance of the key. Throws INTERNAL when it is damaged or missing. */
  outcomeOf(key: string, request: StoredRequest): StoredOutcome {
    const outcome = this.outcomes.get(key)
    if (outcome?.sequence === request.sequence) return outcome
    throw new LsxError('INTERNAL', 'the outcome of a request in the journal is lost', {
      facts: { table: this.outcomes.name, recordKey: key },
    })
  }
}

type Fields = Readonly<Record<string, unknown>>

function validateRequest(value: unknown): StoredRequest {
  const { sequence, bankCode, method, payload, meta, condition, digest, acceptedAtMs, deadlineAtMs } = fieldsOf(value)
  return {
    sequence: text(sequence),
    bankCode: text(bankCode),
    method: text(method),
    payload: bytes(payload),
    ...(meta === undefined ? {} : { meta: bytes(meta) }),
    ...(condition === undefined ? {} : { condition: bytes(condition) }),
    digest: bytes(digest),
    acceptedAtMs: time(acceptedAtMs),
    deadlineAtMs: time(deadlineAtMs),
  }
}

function validateProgress(value: unknown): StoredProgress {
  const { sequence, sentAtMs, bootId, inDoubt, code } = fieldsOf(value)
  return {
    sequence: text(sequence),
    ...(sentAtMs === undefined ? {} : { sentAtMs: time(sentAtMs) }),
    ...(bootId === undefined ? {} : { bootId: text(bootId) }),
    ...(inDoubt === true ? { inDoubt } : {}),
    ...(isErrorCode(code) ? { code } : {}),
  }
}

const FINAL_OUTCOMES: readonly unknown[] = ['answered', 'refused', 'not-sent'] satisfies StoredOutcome['outcome'][]

function validateOutcome(value: unknown): StoredOutcome {
  const { sequence, outcome, settledAtMs, code, response, type, fulfilment, sentAtMs, bootId } = fieldsOf(value)
  if (!FINAL_OUTCOMES.includes(outcome)) throw new TypeError('not an outcome')
  return {
    sequence: text(sequence),
    outcome: outcome as StoredOutcome['outcome'],
    settledAtMs: time(settledAtMs),
    ...(isErrorCode(code) ? { code } : {}),
    ...(response === undefined ? {} : { response: bytes(response) }),
    ...(type === undefined ? {} : { type: text(type) }),
    ...(fulfilment === undefined ? {} : { fulfilment: bytes(fulfilment) }),
    ...(sentAtMs === undefined ? {} : { sentAtMs: time(sentAtMs) }),
    ...(bootId === undefined ? {} : { bootId: text(bootId) }),
  }
}

function fieldsOf(value: unknown): Fields {
  if (typeof value === 'object' && value !== null) return value as Fields
  throw new TypeError('not a map')
}

function text(value: unknown): string {
  if (typeof value === 'string') return value
  throw new TypeError('not a text')
}

function time(value: unknown): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw new TypeError('not a time')
}

function bytes(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value
  throw new TypeError('not bytes')
}
