import type { SecureContext } from 'node:tls'
import type { AuditSink } from '../audit/index.ts'
import type { DialSlots, RefusalLog } from '../channel/index.ts'
import type { Identity, KeyPair } from '../kx/index.ts'
import type { EvidenceStore } from '../message/evidence/index.ts'
import type { SigningMaterial } from '../message/jws/index.ts'
import type { MethodScope, TokenKeys } from '../message/jwt/index.ts'
import type { Clock, Logger } from '../runtime/index.ts'
import type { Table } from '../store/index.ts'
import type { LsConfig } from './config.ts'
import type { DurableRequests, RequestBook } from './durable-requests.ts'
import type { IlpDesk } from './ilp-desk.ts'
import type { KxRecord } from './kx-record.ts'
import type { Quarantine } from './quarantine.ts'
import type { QuarantineDesk } from './quarantine-desk.ts'
import type { UptimeLedger } from './uptime/index.ts'

/** What all banks of one LS share. `config`, `secureContext`, `identity` and `tokenMethods` change at a reload: read them when needed. */
export interface SwitchContext {
  config: LsConfig
  secureContext: SecureContext
  /** Left out where messages are neither signed nor verified. */
  readonly signing?: SigningMaterial | undefined
  identity: Identity
  /** Signs the tokens of LS's requests. */
  readonly tokenKeys: TokenKeys
  /** Methods for whose requests LS makes a token, of `config`. */
  tokenMethods: ReadonlyMap<string, MethodScope>
  /** Left out where no evidence is kept. */
  readonly evidence?: EvidenceStore | undefined
  /** LS's kx key pair lives as long as the process. */
  readonly staticKeys: KeyPair
  /** LS's fencing number. */
  readonly generation: number
  readonly dialSlots: DialSlots
  readonly uptime: UptimeLedger
  readonly kxRecords: Table<KxRecord>
  readonly quarantines: Table<Quarantine>
  readonly desk: QuarantineDesk
  readonly journal: RequestBook
  readonly durable: DurableRequests
  readonly refusals: RefusalLog
  readonly ilp: IlpDesk
  readonly audit: AuditSink
  readonly clock: Clock
  readonly logger: Logger
  readonly random: () => number
  readonly defer: (flush: () => void) => void
}
