import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { formatIdentityPin } from '../../lib/certs/index.ts'
import {
  type ChannelSocket,
  DialSlots,
  type KeyAnswer,
  newChannelCounters,
  RefusalLog,
  XchangeChannel,
} from '../../lib/channel/index.ts'
import { encodeMap, type RequestRecord, type ResponseRecord, ResponseStatus } from '../../lib/frames/index.ts'
import type { IpcConnection, IpcForm, Message } from '../../lib/ipc/index.ts'
import type { Identity, XchangeOffer } from '../../lib/kx/index.ts'
import type { BankLink } from '../../lib/ls/bank-link.ts'
import { type BankConfig, type LsConfig, loadLsConfig } from '../../lib/ls/config.ts'
import { DurableRequests } from '../../lib/ls/durable-requests.ts'
import { IlpDesk } from '../../lib/ls/ilp-desk.ts'
import type { KxRecord } from '../../lib/ls/kx-record.ts'
import type { Quarantine } from '../../lib/ls/quarantine.ts'
import { QuarantineDesk } from '../../lib/ls/quarantine-desk.ts'
import { Registry } from '../../lib/ls/registry.ts'
import { RoutedRequest } from '../../lib/ls/routed-request.ts'
import { Router } from '../../lib/ls/router.ts'
import type { SwitchContext } from '../../lib/ls/switch-context.ts'
import { RollingLog, UptimeLedger } from '../../lib/ls/uptime/index.ts'
import { TokenKeys } from '../../lib/message/jwt/index.ts'
import { silentLogger } from '../../lib/runtime/index.ts'
import { VirtualLink } from '../support/channel-link.ts'
import { type RecordingLogger, recordingLogger } from '../support/channel-log.ts'
import { newIdentity, newKeyPair } from '../support/kx-parties.ts'
import { MemoryAudit } from '../support/memory-audit.ts'
import { MemoryJournal } from '../support/memory-journal.ts'
import { MemoryStore, MemoryTable } from '../support/memory-store.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

export const GENERATION = 1_800_000_000_000
const LATENCY_MS = 1
/** Enough for a kx and an echo over the virtual link. */
export const KX_MS = 10 * LATENCY_MS

/** An app's or operator's connection, with everything that it was told. */
export class TestConnection implements IpcConnection {
  readonly id: number
  readonly form: IpcForm = 'fast'
  readonly replies: Message[] = []
  closed = false

  constructor(id = 1) {
    this.id = id
  }

  reply(message: Message): void {
    if (!this.closed) this.replies.push(message)
  }

  close(): void {
    this.closed = true
  }

  /** Of one request, in order; `pending` among them. */
  outcomesOf(id: unknown): unknown[] {
    return this.replies.filter((reply) => reply.id === id).map((reply) => reply.outcome)
  }

  /** The one reply that ended a request; undefined while it is open. Throws when there were more. */
  endOf(id: unknown): Message | undefined {
    const ends = this.replies.filter(
      (reply) => reply.id === id && reply.outcome !== 'pending' && reply.event === undefined,
    )
    if (ends.length > 1) throw new Error(`${ends.length} outcomes for request ${String(id)}: ${JSON.stringify(ends)}`)
    return ends[0]
  }
}

/** A bank's node without TLS and without handlers: a test says what it answers. */
export class TestNode {
  readonly bankCode: string
  readonly identity: Identity
  readonly requests: RequestRecord[] = []
  readonly offer: XchangeOffer
  readonly link: VirtualLink
  /** Default: answers with the payload that came. Undefined: no answer. */
  answer: ((request: RequestRecord) => Partial<ResponseRecord> | undefined) | undefined = (request) => ({
    payload: request.payload,
  })
  /** What became of keys, when LS asks: as this node and those before it saw them. */
  onResolve: (keys: readonly string[]) => KeyAnswer = (keys) => ({
    states: keys.map((key) => this.memory.get(key) ?? 'never'),
    rememberedForMs: Number.MAX_SAFE_INTEGER,
  })
  /** Kept over `again`, as a durable once-only table is. */
  memory = new Map<string, 'begun' | 'done'>()
  channel: XchangeChannel | undefined
  readonly #respond = new Map<number, (response: ResponseRecord) => void>()
  readonly #lsIdentity: Identity

  constructor(options: {
    bankCode: string
    identity?: Identity
    lsIdentity: Identity
    clock: VirtualClock
    offer: Partial<XchangeOffer>
  }) {
    this.bankCode = options.bankCode
    this.identity = options.identity ?? newIdentity()
    this.#lsIdentity = options.lsIdentity
    this.offer = { windowRecords: 1_024, maxFrameBytes: 65_536, bootId: Buffer.alloc(16, 7), ...options.offer }
    this.link = new VirtualLink(options.clock, LATENCY_MS)
  }

  get keys(): string[] {
    return this.requests.map((request) => request.key)
  }

  get openKeys(): string[] {
    return this.requests.filter((request) => this.#respond.has(request.id)).map((request) => request.key)
  }

  /** Answers a request that was left open. */
  respond(key: string, response: Partial<ResponseRecord> = {}): void {
    const request = this.requests.find((one) => one.key === key && this.#respond.has(one.id))
    const respond = request && this.#respond.get(request.id)
    if (request === undefined || respond === undefined) throw new Error(`no open request ${key}`)
    this.#respond.delete(request.id)
    this.memory.set(key, 'done')
    respond({ id: request.id, status: ResponseStatus.ok, payload: request.payload, meta: undefined, ...response })
  }

  /** A node of the same identity on a socket of its own, as after a restart or a reconnect. */
  again(clock: VirtualClock, offer: Partial<XchangeOffer> = {}): TestNode {
    const node = new TestNode({
      bankCode: this.bankCode,
      identity: this.identity,
      lsIdentity: this.#lsIdentity,
      clock,
      offer: { ...this.offer, ...offer },
    })
    node.answer = this.answer
    node.memory = this.memory
    return node
  }

  /** Serves a socket: its end of the virtual link, or what a listener has accepted. */
  open(clock: VirtualClock, socket: ChannelSocket = this.link.xchangeSocket, exporter: Buffer = EXPORTER): void {
    this.channel = new XchangeChannel({
      config: {
        role: 'xchange',
        bankCode: this.bankCode,
        times: { kxTimeoutMs: 5_000, kxRetryMs: 5_000 },
        newKx: (epoch) => ({
          bankCode: this.bankCode,
          highestGeneration: 0,
          exporter,
          newKeyPair,
          identity: this.identity,
          pinnedIdentities: [this.#lsIdentity.publicKey],
          offer: this.offer,
          epoch,
        }),
      },
      socket,
      onRequest: (request, respond) => this.#onRequest(request, respond),
      onResolve: (keys) => this.onResolve(keys),
      observer: {
        onKxCompleted: () => {},
        onKxFailed: () => {},
        onPeerDraining: () => {},
        onClosed: () => {},
        acceptGeneration: () => {},
      },
      counters: newChannelCounters(),
      clock,
      logger: silentLogger,
      maxFrameBytes: 65_536,
      maxBufferedBytes: 16_777_216,
      defer: queueMicrotask,
    })
    this.channel.open()
  }

  #onRequest(request: RequestRecord, respond: (response: ResponseRecord) => void): void {
    const kept = { ...request, payload: Buffer.from(request.payload) }
    this.requests.push(kept)
    this.#respond.set(request.id, respond)
    if (!this.memory.has(request.key)) this.memory.set(request.key, 'begun')
    const response = this.answer?.(kept)
    if (response !== undefined) this.respond(request.key, response)
  }
}

const EXPORTER = Buffer.alloc(32, 5)

export interface SwitchOptions {
  /** Laid over the configuration, section by section. */
  readonly config?: { readonly [section: string]: unknown }
  readonly clock?: VirtualClock
  /** Of a process before: the same disk. */
  readonly journal?: MemoryJournal
}

/** The switch without daemon, disk and network: registry, router and lanes on virtual time. */
export class SwitchHarness {
  readonly clock: VirtualClock
  readonly log: RecordingLogger = recordingLogger()
  readonly store = new MemoryStore()
  readonly journal: MemoryJournal
  readonly kxRecords = new MemoryTable<KxRecord>('kx')
  readonly quarantines = new MemoryTable<Quarantine>('quarantine')
  readonly identity: Identity = newIdentity()
  readonly audit = new MemoryAudit()
  readonly context: SwitchContext
  readonly registry: Registry
  readonly router: Router
  readonly app = new TestConnection()
  readonly nodes = new Map<string, TestNode>()
  #requests = 0

  constructor(options: SwitchOptions = {}) {
    const clock = options.clock ?? new VirtualClock()
    this.clock = clock
    this.journal = options.journal ?? new MemoryJournal()
    const uptime = new UptimeLedger({
      store: this.store,
      // Never started: its lines go nowhere.
      log: new RollingLog({ dir: tmpdir(), name: 'never-written', logger: silentLogger, clock }),
      clock,
      logger: this.log,
    })
    const config = testConfig(options.config)
    const refusals = new RefusalLog(this.log, clock)
    const desk = new QuarantineDesk({
      linkOf: (code) => this.registry.get(code),
      table: this.quarantines,
      rules: () => config.quarantine.rules,
      audit: this.audit,
      clock,
      logger: this.log,
      defer: queueMicrotask,
    })
    this.context = {
      config,
      secureContext: createSecureContext(),
      identity: this.identity,
      tokenKeys: new TokenKeys(clock),
      tokenMethods: new Map(),
      staticKeys: newKeyPair(),
      generation: GENERATION,
      dialSlots: new DialSlots(4),
      uptime,
      kxRecords: this.kxRecords,
      journal: this.journal,
      durable: new DurableRequests(this.journal, clock),
      quarantines: this.quarantines,
      refusals,
      ilp: new IlpDesk(config, { clock, refusals, evidence: desk }),
      desk,
      audit: this.audit,
      clock,
      logger: this.log,
      random: () => 0.5,
      defer: queueMicrotask,
    }
    this.registry = new Registry(this.context)
    this.router = new Router({ registry: this.registry, clock, ilp: this.context.ilp })
  }

  /** A bank that dials LS, with a node that can be connected. */
  bank(code: string, fields: Partial<BankConfig> = {}, offer: Partial<XchangeOffer> = {}): BankConfig {
    const node = this.nodes.get(code) ?? this.newNode(code, offer)
    this.nodes.set(code, node)
    return {
      code,
      name: `Bank ${code}`,
      dial: 'xchange',
      allow: ['127.0.0.1'],
      identities: [formatIdentityPin(node.identity.publicKey)],
      ...fields,
    }
  }

  newNode(bankCode: string, offer: Partial<XchangeOffer> = {}): TestNode {
    return new TestNode({ bankCode, lsIdentity: this.identity, clock: this.clock, offer })
  }

  async apply(...banks: readonly BankConfig[]): Promise<void> {
    await this.registry.apply(banks, 1_000)
  }

  link(code: string): BankLink {
    return this.registry.require(code)
  }

  node(code: string): TestNode {
    const node = this.nodes.get(code)
    if (node === undefined) throw new Error(`no node of bank ${code}`)
    return node
  }

  /** The bank's node dials LS: the first kx begins. */
  dial(code: string, node: TestNode = this.node(code)): void {
    this.nodes.set(code, node)
    node.open(this.clock)
    this.link(code).accept(node.link.lsSocket, EXPORTER, PEER)
  }

  /** Dials and lets the kx be done. */
  async connect(code: string, node: TestNode = this.node(code)): Promise<TestNode> {
    this.dial(code, node)
    await this.clock.advance(KX_MS)
    if (this.link(code).state.name !== 'connected') throw new Error(`bank ${code} is ${this.link(code).state.name}`)
    return node
  }

  /** A node of the same identity on a new socket. */
  reconnect(code: string, offer: Partial<XchangeOffer> = {}): Promise<TestNode> {
    return this.connect(code, this.node(code).again(this.clock, offer))
  }

  /** Sends a request as an app would, and returns its id. */
  ask(to: string, fields: Record<string, unknown> = {}, app: TestConnection = this.app): number {
    const id = ++this.#requests
    const message = { op: 'request', id, to, method: 'balance', payload: PAYLOAD, key: `key-${id}`, ...fields }
    this.router.onMessage(app, message)
    return id
  }

  /** A request for a lane, without router. */
  newRequest(fields: { payload?: Buffer; timeoutMs?: number; key?: string; app?: TestConnection } = {}): RoutedRequest {
    const id = ++this.#requests
    return new RoutedRequest({
      asker: fields.app ?? this.app,
      askerId: id,
      bankCode: '044',
      key: fields.key ?? `key-${id}`,
      method: 'balance',
      payload: fields.payload ?? PAYLOAD,
      acceptedAtMs: this.clock.monotonicMs(),
      timeoutMs: fields.timeoutMs ?? 30_000,
    })
  }

  /** Transitions of a bank as the uptime ledger heard them: `from>to cause`. */
  follow(code: string): string[] {
    const seen: string[] = []
    this.context.uptime.subscribe(({ bankCode, from, to, cause }) => {
      if (bankCode === code) seen.push(`${from}>${to}${cause === undefined ? '' : ` ${cause}`}`)
    })
    return seen
  }
}

/** msgpack of an empty map. */
export const PAYLOAD = Buffer.from([0x80])

export const PEER = { address: '127.0.0.1', certificateNotAfter: new Date('2031-01-01T00:00:00Z') }

export const metaOf = (meta: Record<string, unknown>): Buffer => encodeMap(meta)

/** A complete configuration without banks, with its defaults. */
export function testConfig(overrides: { readonly [section: string]: unknown } = {}): LsConfig {
  const dir = mkdtempSync(join(tmpdir(), 'ls-config-'))
  try {
    const file = join(dir, 'ls.yaml')
    writeFileSync(file, JSON.stringify({ ...MINIMAL, ...overrides }))
    return loadLsConfig(file, {})
  } finally {
    rmSync(dir, { recursive: true })
  }
}

/** What has no default. */
export const MINIMAL = {
  runtimeDir: 'run',
  storeDir: 'store',
  trustDomain: 'ls-xchange.test',
  tls: { keyFile: 'tls.key', certFile: 'tls.crt', caFile: 'ca.crt' },
  identityKeyFile: 'identity.key',
  listen: { port: 0 },
  banks: [],
}
