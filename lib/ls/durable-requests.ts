import { decodeMeta } from '../frames/index.ts'
import { isFulfilled, parsePrepare } from '../message/ilp/index.ts'
import { type Clock, failpoint } from '../runtime/index.ts'
import { type JournalRecord, journalDigest, type RequestJournal } from './journal/index.ts'
import { type RequestIlp, RoutedRequest, type Settlement } from './routed-request.ts'

/** Of one bank at once; with their payloads they are in memory. The rest waits for the next start. */
const MAX_RECOVERED = 65_536

const IN_DOUBT_BEFORE: Settlement = {
  outcome: 'in-doubt',
  code: 'IN_DOUBT',
  message: 'an earlier request with this key is in doubt',
}
const UNPROVEN_BEFORE: Settlement = {
  outcome: 'in-doubt',
  code: 'FULFILMENT_INVALID',
  message: 'the bank answered an earlier request with this key, and did not prove it',
}
const OTHER_PACKET: Settlement = {
  outcome: 'in-doubt',
  code: 'IN_DOUBT',
  message: 'an earlier request with this key had another ILP packet, or none: nothing is proven of this one',
}
/** Of no fulfilment. */
const NO_CONDITION = Buffer.alloc(32)
const TOO_MANY_WAIT: Settlement = {
  outcome: 'in-doubt',
  code: 'IN_DOUBT',
  message: 'too many wait for the outcome of this key; ask again later, with the same key',
}

/** What the switch asks of the journal. */
export type RequestBook = Pick<
  RequestJournal,
  'accept' | 'markSent' | 'settle' | 'open' | 'get' | 'list' | 'counts' | 'damagedCount'
>

/** The journal as the lanes use it: each durable request that is open, once, whoever asks for it. */
export class DurableRequests {
  readonly #journal: RequestBook
  readonly #clock: Clock
  readonly #open = new Map<string, RoutedRequest>()

  constructor(journal: RequestBook, clock: Clock) {
    this.#journal = journal
    this.#clock = clock
  }

  /**
   * Resolves when the request is on disk: undefined for a new one, the same one where it is open already and will tell
   * both, or the outcome that it had before. Rejects with STORE_FULL, DUPLICATE_MISMATCH or INTERNAL.
   */
  async accept(request: RoutedRequest): Promise<Settlement | RoutedRequest | undefined> {
    const { key, bankCode, method, payload, meta } = request
    const nowMs = this.#clock.nowMs()
    failpoint('journal-accept:before')
    const { known } = await this.#journal.accept({
      key,
      bankCode,
      method,
      payload,
      meta,
      condition: broughtCondition(request),
      acceptedAtMs: nowMs,
      deadlineAtMs: nowMs + (request.deadlineMs - this.#clock.monotonicMs()),
    })
    failpoint('journal-accept:after')
    if (known === undefined) {
      this.#open.set(key, request)
      return undefined
    }
    const open = this.#open.get(key)
    if (open !== undefined) {
      if (!isSameTransfer(request.ilp, open.ilp)) return OTHER_PACKET
      // Not refused: that would say that nothing was done with this key.
      return request.mergeInto(open, this.#clock.monotonicMs()) ? open : TOO_MANY_WAIT
    }
    return settlementFor(request, known)
  }

  /**
   * What the journal says of this very request from before, without taking it on: its outcome, or that it is in doubt.
   * Undefined where the key is new, or was used for another request.
   */
  find(request: RoutedRequest): Settlement | undefined {
    const known = this.#journal.get(request.key)
    if (known === undefined || !known.digest.equals(digestOf(request))) return undefined
    return settlementFor(request, known)
  }

  /** It goes out now, to the xchange process with this boot id (hex). */
  markSent(request: RoutedRequest, bootId: string): void {
    this.#journal.markSent(request.key, bootId)
  }

  /** Resolves when the outcome is on disk. */
  async settle(request: RoutedRequest, settlement: Settlement): Promise<void> {
    failpoint('settle:before')
    const { outcome, code, payload, type, fulfilment } = settlement
    await this.#journal.settle(request.key, { outcome, code, response: payload, type, fulfilment })
    failpoint('settle:after')
    if (outcome !== 'in-doubt') this.#open.delete(request.key)
  }

  /** The open requests of a bank that no lane holds, in their order: those from before this process, or of a link that ended. */
  recover(bankCode: string): RoutedRequest[] {
    const requests: RoutedRequest[] = []
    let after: string | undefined
    do {
      const page = this.#journal.open(bankCode, { after })
      for (const record of page) if (!this.#open.has(record.key)) requests.push(this.#recovered(record))
      after = page.at(-1)?.sequence
    } while (after !== undefined && requests.length < MAX_RECOVERED)
    return requests
  }

  /** A link has ended: what its lane still had open, the next link's lane takes over from the journal. */
  release(requests: readonly RoutedRequest[]): void {
    for (const request of requests) this.#open.delete(request.key)
  }

  #recovered(record: JournalRecord): RoutedRequest {
    const nowMs = this.#clock.monotonicMs()
    const wallMs = this.#clock.nowMs()
    const request = RoutedRequest.recovered({
      bankCode: record.bankCode,
      key: record.key,
      method: record.method,
      payload: record.payload,
      meta: record.meta,
      ilp: ilpOf(record),
      // By this process's clock that never jumps; the wall clock is all that a record has.
      acceptedAtMs: nowMs - Math.max(0, wallMs - record.acceptedAtMs),
      timeoutMs: record.deadlineAtMs - record.acceptedAtMs,
    })
    request.sentTo = record.bootId
    // Nobody hears it; what the journal calls in doubt is so here too.
    if (record.outcome === 'in-doubt') request.settle(IN_DOUBT_BEFORE, nowMs)
    this.#open.set(record.key, request)
    return request
  }
}

/** Of an earlier request with the key. What was proven then, of another packet or of none, proves nothing of this one. */
function settlementFor({ ilp }: RoutedRequest, known: JournalRecord): Settlement {
  const before = settlementBefore(known)
  const isClaimed = before.outcome === 'answered' && before.code === undefined
  if (ilp === undefined || !isClaimed) return before
  const { fulfilment } = before
  return fulfilment !== undefined && isFulfilled(ilp.condition, fulfilment) ? before : OTHER_PACKET
}

/** Whoever asks without a packet may wait with one who has; who has one waits for its proof. */
function isSameTransfer(asked: RequestIlp | undefined, open: RequestIlp | undefined): boolean {
  return asked === undefined || open?.condition.equals(asked.condition) === true
}

function settlementBefore(known: JournalRecord): Settlement {
  if (known.state !== 'settled' || known.outcome === undefined) {
    return known.code === 'FULFILMENT_INVALID' ? UNPROVEN_BEFORE : IN_DOUBT_BEFORE
  }
  const { outcome, code, response: payload, type, fulfilment } = known
  return { outcome, code, payload, type, fulfilment }
}

/** A packet of the app's own is part of what it asks for; one that LS makes follows from the rest. */
function broughtCondition({ ilp }: RoutedRequest): Buffer | undefined {
  return ilp?.madePacket === undefined ? ilp?.condition : undefined
}

function digestOf(request: RoutedRequest): Buffer {
  const { bankCode, method, payload } = request
  return journalDigest({ bankCode, method, payload, condition: broughtCondition(request) })
}

/** What the answer is to be checked against: as the meta says, which went, or will go, to the bank. */
function ilpOf({ meta, condition }: JournalRecord): RequestIlp | undefined {
  const { ilp } = decodeMeta(meta)
  if (ilp === undefined) return undefined
  const prepare = ifReadable(() => parsePrepare(ilp))
  // What cannot be read any more nothing can prove: the answer will be in doubt.
  if (prepare === undefined) return { condition: NO_CONDITION, expiresAtMs: 0, madePacket: undefined }
  return {
    condition: prepare.condition,
    expiresAtMs: prepare.expiresAtMs,
    madePacket: condition === undefined ? prepare.packetBytes : undefined,
  }
}

function ifReadable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
