import { decodeRequestBatch, decodeResponseBatch } from '../../lib/frames/index.ts'
import type { EvidenceRecord } from '../../lib/message/evidence/evidence-record.ts'
import {
  type KeyFinder,
  LsSigning,
  type SigningKey,
  type SigningMode,
  VerificationCache,
  XchangeSigning,
} from '../../lib/message/jws/index.ts'
import { VirtualClock } from './virtual-clock.ts'

export interface ExchangeOptions {
  readonly mode?: SigningMode
  readonly ls: SigningKey
  readonly bank: SigningKey
  readonly keys: KeyFinder
  readonly requestKeys: readonly string[]
  readonly clock?: VirtualClock
  readonly sessionId?: Buffer
}

/** What LS keeps of exchanges that went over a channel together. */
export function provenExchanges(options: ExchangeOptions): EvidenceRecord[] {
  const { mode = 'batch', ls, bank, keys, requestKeys, clock = new VirtualClock() } = options
  const { sessionId = Buffer.alloc(16, 3) } = options
  const records: EvidenceRecord[] = []
  const shared = {
    bankCode: bank.party,
    mode,
    policy: 'required',
    keys,
    cache: new VerificationCache({ clock }),
    clock,
  } as const
  const atLs = new LsSigning<{ key: string; method: string; signed: never | undefined }>({
    ...shared,
    key: () => ls,
    evidence: {
      isWanted: () => true,
      onProven: ({ key }, { sent, answered }) => {
        records.push({ key, bankCode: bank.party, keptAtMs: clock.nowMs(), request: sent, response: answered })
      },
    },
  })
  const atXchange = new XchangeSigning({ ...shared, key: () => bank, lsParty: ls.party })
  const requests = atLs.newBatch(65_508, () => sessionId)
  const origins = requestKeys.map((key) => ({ key, method: 'transfer', signed: undefined }))
  for (const [index, origin] of origins.entries()) {
    const { key, method } = origin
    const payload = Buffer.from([0x81, 0xa1, 0x6e, index])
    requests.append({ id: index + 1, key, method, budgetMs: 30_000, payload, meta: undefined, origin })
  }
  const received = decodeRequestBatch(Buffer.from(requests.take()))
  const responses = atXchange.newBatch(65_508, () => sessionId)
  for (const [index, { answered, error }] of atXchange.verify(received, sessionId).entries()) {
    if (error !== undefined) throw error
    responses.append({ id: index + 1, status: 0, payload: Buffer.from([0xc3]), meta: undefined, answered })
  }
  const answers = decodeResponseBatch(Buffer.from(responses.take()))
  for (const { error } of atLs.verify(
    answers.map((response, index) => ({ response, request: origins[index] as never })),
    sessionId,
  ))
    if (error !== undefined) throw error
  return records
}
