import { z } from 'zod'
import { type AuditActor, adminSocketActor } from '../audit/index.ts'
import { fields } from '../config/index.ts'
import type { IpcConnection, IpcHandler, Message } from '../ipc/index.ts'
import { evidenceFile, requireEvidence } from '../message/evidence/index.ts'
import type { DaemonKeys } from '../message/keys/index.ts'
import { type Clock, describeError, type Logger, LsxError, toLsxError } from '../runtime/index.ts'
import type { BankLink } from './bank-link.ts'
import type { JournalRecord } from './journal/index.ts'
import type { Registry } from './registry.ts'
import type { SecurityReport } from './security-report.ts'
import { bankStatus } from './status.ts'
import type { SwitchContext } from './switch-context.ts'

/** What an operator can do to the daemon as a whole. */
export interface DaemonControl {
  readonly keys: Pick<DaemonKeys, 'status' | 'rotate' | 'rotateTokenKey'>
  status(): Record<string, unknown>
  security(links: readonly BankLink[]): SecurityReport
  /** Begins the orderly end of the process. */
  drain(): void
  /** Reads the configuration again. Resolves with what changed. */
  reload(by: AuditActor): Promise<Record<string, unknown>>
}

/** One message of an operator. */
interface Asked {
  readonly connection: IpcConnection
  readonly id: unknown
  readonly by: AuditActor
}

const bankOrAll = z.strictObject({ bank: fields.bankCodeField.optional(), all: z.boolean().optional() })
const keysRotate = bankOrAll.extend({
  kind: z.enum(['session', 'token', 'identity', 'jws', 'store']).optional(),
  act: z.enum(['prepare', 'activate']).default('activate'),
  /** Unix ms. */
  at: z.int().min(0).optional(),
})
const oneBank = z.strictObject({ bank: fields.bankCodeField })

const oneSubscription = z.strictObject({ subscription: z.union([z.string(), z.int()]) })

/** Operations that change nothing: no business of the audit. */
const LOOKING: ReadonlySet<unknown> = new Set([
  'status',
  'keys',
  'security',
  'uptime',
  'uptime-follow',
  'unsubscribe',
  'request-show',
  'request-list',
  'ilp-failures',
])

/** Of one connection; with the most connections of this socket still within what the uptime ledger takes. */
const MAX_SUBSCRIPTIONS = 4

const requestShow = z.strictObject({ key: z.string().min(1).max(64) })
const requestList = z.strictObject({
  state: z.enum(['open', 'in-doubt', 'settled']).optional(),
  bank: fields.bankCodeField.optional(),
  limit: z.int().min(1).max(1_000).default(100),
})

const HOUR_MS = 3_600_000
const uptimeQuery = z.strictObject({
  bank: fields.bankCodeField.optional(),
  sinceMs: z
    .int()
    .min(0)
    .default(24 * HOUR_MS),
  limit: z.int().min(1).max(10_000).default(1_000),
})

const ilpFailuresQuery = z.strictObject({
  bank: fields.bankCodeField.optional(),
  sinceMs: z.int().min(0).default(HOUR_MS),
  limit: z.int().min(1).max(10_000).default(1_000),
})

/** The operators' socket: `{op, id, ...}` answered by `{id, ok: true, result}` or `{id, ok: false, code, message}`. */
export class AdminHandler implements IpcHandler {
  readonly #context: SwitchContext
  readonly #registry: Registry
  readonly #control: DaemonControl
  readonly #clock: Clock
  readonly #logger: Logger
  /** What ends each subscription, by the id of the message that began it. */
  readonly #followers = new Map<IpcConnection, Map<unknown, () => void>>()
  readonly #operations: Readonly<Record<string, (options: unknown, asked: Asked) => unknown>> = {
    status: (options) => this.#status(bankOrAll.parse(options)),
    security: (options) => this.#control.security(this.#chosen(bankOrAll.parse(options))),
    uptime: (options) => this.#uptime(uptimeQuery.parse(options)),
    'uptime-follow': (options, { connection, id }) => this.#follow(bankOrAll.parse(options), connection, id),
    unsubscribe: (options, { connection }) => this.#unfollow(oneSubscription.parse(options), connection),
    rekey: (options) => this.#each(bankOrAll.parse(options), (link) => link.rekey('operator')),
    drop: (options) => this.#each(oneBank.parse(options), (link) => link.drop()),
    'request-show': (options) => this.#showRequest(requestShow.parse(options)),
    'request-list': (options) => this.#listRequests(requestList.parse(options)),
    'ilp-failures': (options) => this.#ilpFailures(ilpFailuresQuery.parse(options)),
    'evidence-export': (options) => this.#exportEvidence(requestShow.parse(options)),
    quarantine: (options, { by }) =>
      this.#quarantine(oneBank.extend({ reason: z.string().min(1).max(500) }).parse(options), by),
    resume: (options, { by }) => this.#resume(oneBank.parse(options), by),
    keys: () => ({ keys: this.#control.keys.status() }),
    'keys-rotate': (options) => this.#rotateKeys(keysRotate.parse(options)),
    drain: () => {
      this.#control.drain()
      return { draining: true }
    },
    reload: (_options, { by }) => this.#control.reload(by),
  }

  constructor(context: SwitchContext, registry: Registry, control: DaemonControl) {
    this.#context = context
    this.#registry = registry
    this.#control = control
    this.#clock = context.clock
    this.#logger = context.logger
  }

  onMessage(connection: IpcConnection, message: Message): void {
    const { op, id, by: claim, ...options } = message
    const operation = typeof op === 'string' && Object.hasOwn(this.#operations, op) ? this.#operations[op] : undefined
    if (operation === undefined)
      throw new LsxError('BAD_REQUEST', `op: operators can ask for ${Object.keys(this.#operations).join(', ')}`)
    const asked: Asked = { connection, id, by: adminSocketActor(claim) }
    if (LOOKING.has(op)) {
      void this.#run(() => operation(options, asked), asked)
      return
    }
    this.#logger.info({ audit: true, op, options, by: asked.by }, 'an operator gave a command')
    const command = this.#recordCommand(String(op), options, asked.by)
    void this.#run(() => operation(options, asked), asked).then(command.ended)
  }

  onClose(connection: IpcConnection): void {
    for (const end of this.#followers.get(connection)?.values() ?? []) end()
    this.#followers.delete(connection)
  }

  /** Answers, and gives the error that was the answer. */
  async #run(operation: () => unknown, { connection, id }: Asked): Promise<LsxError | undefined> {
    try {
      const result = await operation()
      if (result !== undefined) connection.reply({ id, ok: true, result })
      return undefined
    } catch (thrown) {
      const error = thrown instanceof z.ZodError ? badOptions(thrown) : toLsxError(thrown)
      if (error.code === 'INTERNAL') this.#logger.error({ error: describeError(error) }, 'an operator command failed')
      connection.reply({ id, ok: false, code: error.code, message: error.message })
      return error
    }
  }

  /** On record before it is carried out, so that a command that ends the daemon is there too. */
  #recordCommand(op: string, options: Message, by: AuditActor): { ended(error: LsxError | undefined): void } {
    const { audit } = this.#context
    const bankCode = typeof options.bank === 'string' ? options.bank.slice(0, 32) : undefined
    const atMs = this.#clock.monotonicMs()
    const command = audit.record({ event: 'command', bankCode, by, facts: { op, options } })
    return {
      ended: (error) => {
        const outcome = error === undefined ? { ok: true } : { ok: false, code: error.code, message: error.message }
        const ms = Math.round(this.#clock.monotonicMs() - atMs)
        audit.record({ event: 'command-result', bankCode, facts: { command, op, ...outcome, ms } })
      },
    }
  }

  #chosen(options: { bank?: string | undefined }): readonly BankLink[] {
    return options.bank === undefined ? this.#registry.all() : [this.#registry.require(options.bank)]
  }

  #status(options: { bank?: string | undefined }): Record<string, unknown> {
    const banks = this.#chosen(options).map((link) => bankStatus(link, this.#context.uptime, this.#clock))
    return { daemon: this.#control.status(), banks }
  }

  #uptime(options: z.output<typeof uptimeQuery>): Record<string, unknown> {
    const nowMs = this.#clock.nowMs()
    const banks = this.#chosen(options).map((link) => ({
      bankCode: link.bank.code,
      name: link.bank.name,
      state: link.state.name,
      ...this.#context.uptime.figures(link.bank.code, nowMs),
    }))
    const transitions = this.#context.uptime.query({
      ...(options.bank === undefined ? {} : { bankCode: options.bank }),
      sinceMs: Math.max(0, nowMs - options.sinceMs),
      limit: options.limit,
    })
    return { banks, transitions }
  }

  /** Transitions as they happen, until the operator's connection ends or this subscription is given up. */
  #follow(options: { bank?: string | undefined }, connection: IpcConnection, id: unknown): Record<string, unknown> {
    if (options.bank !== undefined) this.#registry.require(options.bank)
    const followers = this.#followers.get(connection) ?? new Map<unknown, () => void>()
    if (followers.size >= MAX_SUBSCRIPTIONS)
      throw new LsxError('BUSY', `this connection has ${MAX_SUBSCRIPTIONS} subscriptions already`)
    followers.get(id)?.()
    const end = this.#context.uptime.subscribe((transition) => {
      if (options.bank === undefined || options.bank === transition.bankCode) {
        connection.reply({ id, event: 'transition', data: { ...transition } })
      }
    })
    this.#followers.set(connection, followers.set(id, end))
    return { following: options.bank ?? 'all' }
  }

  #unfollow({ subscription }: { subscription: unknown }, connection: IpcConnection): Record<string, unknown> {
    const followers = this.#followers.get(connection)
    followers?.get(subscription)?.()
    return { ended: followers?.delete(subscription) ?? false }
  }

  #each(
    options: { bank?: string | undefined; all?: boolean | undefined },
    act: (link: BankLink) => void,
  ): Record<string, unknown> {
    if (options.bank === undefined && options.all !== true)
      throw new LsxError('BAD_REQUEST', 'name a bank, or ask for all')
    const links = this.#chosen(options)
    // For one bank its error is the answer; for all, one that is down does not keep the others.
    if (options.bank !== undefined) for (const link of links) act(link)
    else return { banks: links.map((link) => actOn(link, act)) }
    return { banks: links.map((link) => ({ bankCode: link.bank.code, ok: true })) }
  }

  /** With no kind: what needs nobody's consent, the sessions' keys and the key of LS's tokens. */
  async #rotateKeys(options: z.output<typeof keysRotate>): Promise<Record<string, unknown>> {
    const { bank, all, kind, act, at } = options
    if (bank === undefined && all !== true && (kind === undefined || kind === 'session'))
      throw new LsxError('BAD_REQUEST', 'name a bank, or ask for all')
    if (kind === 'identity' || kind === 'jws' || kind === 'store') {
      if (bank !== undefined)
        throw new LsxError('BAD_REQUEST', `LS has one ${kind} key for all banks: leave the bank out`)
      return { kind, keys: await this.#control.keys.rotate({ kind, act, atMs: at }) }
    }
    if (bank !== undefined) this.#registry.require(bank)
    const token = kind === 'session' ? undefined : this.#control.keys.rotateTokenKey()
    const sessions = kind === 'token' ? {} : this.#each({ bank, all }, (link) => link.rekey('operator'))
    return { ...sessions, ...(token === undefined ? {} : { token }) }
  }

  #showRequest({ key }: z.output<typeof requestShow>): Record<string, unknown> {
    const record = this.#context.journal.get(key)
    if (record === undefined)
      throw new LsxError('BAD_REQUEST', `the journal has no durable request with the key ${JSON.stringify(key)}`)
    const { payload, response, condition, fulfilment } = record
    const proof = { condition: condition?.toString('base64url'), fulfilment: fulfilment?.toString('base64url') }
    return { record: { ...requestSummary(record), payload, response, ...proof } }
  }

  async #exportEvidence({ key }: z.output<typeof requestShow>): Promise<Record<string, unknown>> {
    const { evidence, signing, clock } = this.#context
    if (evidence === undefined || signing === undefined)
      throw new LsxError('BAD_REQUEST', 'no evidence is kept here: see evidence.keep in the configuration')
    const records = requireEvidence(await evidence.find(key), key)
    return { file: evidenceFile(key, records, { keys: signing.directory, nowMs: clock.nowMs() }) }
  }

  async #listRequests({ state, bank, limit }: z.output<typeof requestList>): Promise<Record<string, unknown>> {
    const records = await this.#context.journal.list({ state, bankCode: bank, limit })
    return { counts: { ...this.#context.journal.counts }, requests: records.map(requestSummary) }
  }

  #ilpFailures({ bank, sinceMs, limit }: z.output<typeof ilpFailuresQuery>): Record<string, unknown> {
    const nowMs = this.#clock.nowMs()
    const { failures: table } = this.#context.ilp
    const { failures, total } = table.list({ sinceMs: nowMs - sinceMs, bankCode: bank, limit }, nowMs)
    const listed = failures.map(({ atMs, ...failure }) => ({ at: new Date(atMs).toISOString(), ...failure }))
    return { failures: listed, total, countsSinceStart: table.counts(bank) }
  }

  async #quarantine(
    { bank, reason }: { bank: string; reason: string },
    by: AuditActor,
  ): Promise<Record<string, unknown>> {
    const link = this.#registry.require(bank)
    const quarantine = await this.#context.desk.quarantine(link, { reason, by })
    return { ...quarantine, state: link.state.name }
  }

  async #resume({ bank }: { bank: string }, by: AuditActor): Promise<Record<string, unknown>> {
    const link = this.#registry.require(bank)
    await this.#context.desk.resume(link, by)
    return { bankCode: bank, state: link.state.name }
  }
}

/** A request as operators see it in a list: all but what the app and the bank said. */
function requestSummary(record: JournalRecord): Record<string, unknown> {
  const { key, bankCode, method, state, outcome, code, acceptedAtMs, deadlineAtMs, sentAtMs, settledAtMs } = record
  const isoTime = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms).toISOString())
  return {
    key,
    bankCode,
    method,
    state: state !== 'settled' && outcome === 'in-doubt' ? 'in-doubt' : state,
    outcome,
    code,
    acceptedAt: isoTime(acceptedAtMs),
    deadlineAt: isoTime(deadlineAtMs),
    sentAt: isoTime(sentAtMs),
    settledAt: isoTime(settledAtMs),
  }
}

function actOn(link: BankLink, act: (link: BankLink) => void): Record<string, unknown> {
  try {
    act(link)
    return { bankCode: link.bank.code, ok: true }
  } catch (thrown) {
    const error = toLsxError(thrown)
    return { bankCode: link.bank.code, ok: false, code: error.code, message: error.message }
  }
}

function badOptions(error: z.ZodError): LsxError {
  const problems = error.issues.map((issue) => `${issue.path.join('.') || 'options'}: ${issue.message}`)
  return new LsxError('BAD_REQUEST', problems.join('; '))
}
