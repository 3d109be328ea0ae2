import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  type AuditActor,
  type AuditLog,
  changedPaths,
  configDigest,
  daemonAuditLog,
  noteEmptiedStore,
  permissiveAlarm,
  refusalEntry,
  signalActor,
} from '../audit/index.ts'
import { createSecureContext, ExpiryWatch, formatIdentityPin, type TlsMaterial } from '../certs/index.ts'
import { ChannelListener, DialSlots, newX25519KeyPair, RefusalLog } from '../channel/index.ts'
import { enforceSecurityMode } from '../config/index.ts'
import { IpcServer } from '../ipc/index.ts'
import type { Identity } from '../kx/index.ts'
import { EvidenceStore, type EvidenceStoreOptions } from '../message/evidence/index.ts'
import { type MethodScope, TokenKeys } from '../message/jwt/index.ts'
import { DaemonKeys, keyWarnings } from '../message/keys/index.ts'
import { type Clock, type Logger, LsxError, type Service, ServiceGroup, sleep, toLsxError } from '../runtime/index.ts'
import {
  claimStore,
  lockStore,
  openDaemonStore,
  type StoreLock,
  type TransactionalStore,
  verifyStore,
} from '../store/index.ts'
import { AdminHandler } from './admin.ts'
import type { LsConfig } from './config.ts'
import { DurableRequests } from './durable-requests.ts'
import { LsGate, type Phase } from './gate.ts'
import { nextGeneration, validateGeneration } from './generation.ts'
import { HealthCheck } from './health-check.ts'
import { IlpDesk } from './ilp-desk.ts'
import { RequestJournal } from './journal/index.ts'
import { validateKxRecord } from './kx-record.ts'
import { checkLsFiles, loadIdentity, loadOwnMaterial, loadSigning, ringsOf } from './own-files.ts'
import { checkPinOwners } from './pins.ts'
import { validateQuarantine } from './quarantine.ts'
import { QuarantineDesk } from './quarantine-desk.ts'
import { Registry } from './registry.ts'
import { reloaded } from './reload.ts'
import { Router } from './router.ts'
import { securityReport } from './security-report.ts'
import type { SwitchContext } from './switch-context.ts'
import { RollingLog, UptimeLedger } from './uptime/index.ts'
import { lsWeaknesses } from './weaknesses.ts'

const MEBIBYTE = 1_048_576
/** Room for what is no request: the store's bound must never come before the journal's. */
const STORE_MARGIN_BYTES = 1_073_741_824

export interface LsDaemonOptions {
  readonly config: LsConfig
  /** Reads the configuration again, for a reload. */
  readonly reloadConfig: () => LsConfig
  /** Where the configuration came from. */
  readonly configFile?: string
  /** Permissive was asked for where the daemon is started; the configuration must ask for it too. */
  readonly permissive?: boolean
  readonly version: string
  readonly clock: Clock
  readonly logger: Logger
  /** Evenly from 0 to 1, for jitter only. */
  readonly random: () => number
  /** The store has stopped committing: the process must end at once, for its supervisor to start it anew. */
  readonly onStoreStalled: () => void
  /** An operator asked for the end of the process. */
  readonly onDrainAsked: () => void
}

function tokenMethodsOf(config: LsConfig): ReadonlyMap<string, MethodScope> {
  return new Map(Object.entries(config.tokens.methods))
}

/** Evidence lies in the store of the journal, and has a bound of its own. */
function evidenceMaxBytes({ evidence }: LsConfig): number {
  return evidence.keep === 'none' ? 0 : evidence.maxBytes
}

function openEvidence(
  { evidence: { keep, ...bounds } }: LsConfig,
  parts: Pick<EvidenceStoreOptions, 'store' | 'clock' | 'logger'>,
): EvidenceStore | undefined {
  return keep === 'none' ? undefined : new EvidenceStore({ ...parts, ...bounds })
}

/** The switch: puts all parts together, starts them in order and stops them in reverse. */
export class LsDaemon {
  readonly #options: LsDaemonOptions
  readonly #services: ServiceGroup
  readonly #expiry: ExpiryWatch
  #phase: Phase = 'starting'
  #startedAtMs = 0
  #store: TransactionalStore | undefined
  #lock: StoreLock | undefined
  #audit: AuditLog | undefined
  #storeWasEmptied = false
  #context: SwitchContext | undefined
  #registry: Registry | undefined
  #router: Router | undefined
  #keys: DaemonKeys | undefined
  #listener: ChannelListener | undefined
  #certificate: TlsMaterial['certificate'] | undefined
  #stopped: Promise<void> | undefined
  #reloading: Promise<unknown> = Promise.resolve()

  constructor(options: LsDaemonOptions) {
    this.#options = options
    this.#services = new ServiceGroup(options.logger)
    const { clock, logger } = options
    this.#expiry = new ExpiryWatch({ certificate: () => this.#certificate, clock, logger })
  }

  get phase(): Phase {
    return this.#phase
  }

  /** The port of the https listener, also where 0 was asked for. */
  get port(): number {
    return this.#listener?.port ?? 0
  }

  /** Resolves when every bank's first key exchange has come to its end, or the time for that is over. */
  async start(signal: AbortSignal): Promise<void> {
    const { config, clock, logger, version } = this.#options
    this.#startedAtMs = clock.nowMs()
    try {
      const { context, journal, audit, material } = await this.#createContext(signal)
      const registry = new Registry(context)
      this.#registry = registry
      const router = new Router({
        registry,
        clock,
        ilp: context.ilp,
        durableByDefault: () => context.config.durable.default,
      })
      this.#router = router
      const { signing, evidence } = context
      const optional = [signing, evidence].filter((service) => service !== undefined)
      await this.#services.start([audit], signal)
      if (this.#storeWasEmptied) noteEmptiedStore(config.storeDir, { audit, logger })
      await this.#services.start([journal, context.uptime, ...optional], signal)
      // All banks are known before anybody can ask for one; none is dialled before it is sure that no other lsd runs here.
      await registry.apply(config.banks, 0, { dial: false })
      await this.#services.start(this.#createServices(context, { registry, router, material }), signal)
      registry.startAll()
      await settledOrLate(registry, config.start.readyWithinMs, clock, signal)
    } catch (error) {
      await this.stop()
      throw error
    }
    if (this.#phase !== 'starting') return
    this.#phase = 'ready'
    const connected = this.#registry?.all().filter((link) => link.session !== undefined).length ?? 0
    logger.info(
      {
        notify: 'READY=1',
        version,
        generation: this.#context?.generation,
        banks: config.banks.length,
        connected,
      },
      'lsd is ready',
    )
  }

  /** Drains the channels and stops everything. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  /** Applies the configuration file as it is now. A mistake in it changes nothing. */
  reload(by: AuditActor = signalActor()): Promise<Record<string, unknown>> {
    const reloaded = this.#reloading.then(() => this.#reloadRecorded(by))
    this.#reloading = reloaded.catch(() => {})
    return reloaded
  }

  async #createContext(
    signal: AbortSignal,
  ): Promise<{ context: SwitchContext; journal: Service; audit: AuditLog; material: TlsMaterial }> {
    const { config, clock, logger, random } = this.#options
    const { permissive = false } = this.#options
    enforceSecurityMode({ mode: config.security.mode, hasFlag: permissive, weaknesses: lsWeaknesses(config) })
    const material = loadOwnMaterial(config)
    const identity = loadIdentity(config)
    checkPinOwners(config.banks, identity.publicKey)
    const signing = loadSigning(config, { clock, logger })
    this.#noteCertificate(material)
    makeRuntimeDir(config.runtimeDir)
    this.#lock = await lockStore(config.storeDir)
    const { store, wasEmptied } = openDaemonStore({
      path: config.storeDir,
      keyRing: ringsOf(config).store,
      maxBytes: config.durable.maxBytes + evidenceMaxBytes(config) + STORE_MARGIN_BYTES,
      minFreeBytes: config.durable.minFreeBytes,
      commitTimeoutMs: config.durable.commitTimeoutMs,
      clock,
      logger,
      onStalled: () => this.#options.onStoreStalled(),
    })
    this.#storeWasEmptied = wasEmptied
    this.#store = store
    await claimStore(store, 'ls')
    const kxRecords = store.table('kx', { validate: validateKxRecord })
    const quarantines = store.table('quarantine', { validate: validateQuarantine })
    const generations = store.table('ls', { validate: validateGeneration })
    const uptime = new UptimeLedger({
      store,
      log: new RollingLog({
        dir: config.uptimeLog.dir ?? config.runtimeDir,
        name: 'uptime',
        maxFileBytes: config.uptimeLog.maxFileBytes,
        keepFiles: config.uptimeLog.keepFiles,
        logger,
        clock,
      }),
      clock,
      logger,
    })
    const evidence = openEvidence(config, { store, clock, logger })
    await verifyStore(store, logger, signal)
    const journal = new RequestJournal({
      store,
      clock,
      logger,
      maxRecords: config.durable.maxRecords,
      maxBytes: config.durable.maxBytes,
      keepSettledMs: config.durable.keepSettledMs,
    })
    const generation = await nextGeneration(generations, clock.nowMs())
    signal.throwIfAborted()
    const audit = daemonAuditLog({
      config: config.audit,
      storeDir: config.storeDir,
      store,
      party: 'ls',
      signer: () => this.#context?.identity ?? identity,
      startFacts: { version: this.#options.version, pid: process.pid, generation, configDigest: configDigest(config) },
      clock,
      logger,
    })
    this.#audit = audit
    const desk = new QuarantineDesk({
      linkOf: (code) => this.#registry?.get(code),
      table: quarantines,
      rules: () => (this.#context?.config ?? config).quarantine.rules,
      audit,
      clock,
      logger,
      defer: setImmediate,
    })
    const refusals = new RefusalLog(logger, clock, (error, facts) => audit.record(refusalEntry(error, facts)))
    const context: SwitchContext = {
      config,
      secureContext: createSecureContext(material),
      identity,
      signing,
      tokenKeys: new TokenKeys(clock),
      tokenMethods: tokenMethodsOf(config),
      evidence,
      staticKeys: newX25519KeyPair(),
      generation,
      dialSlots: new DialSlots(config.reconnect.maxConcurrentDials),
      uptime,
      kxRecords,
      quarantines,
      journal,
      durable: new DurableRequests(journal, clock),
      desk,
      refusals,
      ilp: new IlpDesk(config, { clock, refusals, evidence: desk }),
      audit,
      clock,
      logger,
      random,
      defer: setImmediate,
    }
    this.#context = context
    return { context, journal, audit, material }
  }

  #createServices(
    context: SwitchContext,
    parts: { readonly registry: Registry; readonly router: Router; readonly material: TlsMaterial },
  ): readonly Service[] {
    const { registry, router, material } = parts
    const { config, clock, logger } = this.#options
    this.#listener = new ChannelListener({
      host: config.listen.host,
      port: config.listen.port,
      material,
      maxFrameBytes: config.frames.maxFrameBytes,
      maxConnections: config.listen.maxConnections,
      gate: new LsGate(
        context,
        registry,
        () => this.#phase,
        () => this.#warnings(),
      ),
      refusals: context.refusals,
      logger,
    })
    const keys = this.#createKeys(context)
    const admin = new AdminHandler(context, registry, {
      keys,
      status: () => this.#status(),
      security: (links) =>
        securityReport(
          {
            config: context.config,
            configFile: this.#options.configFile,
            certificate: this.#certificate,
            audit: this.#audit?.health,
            nowMs: clock.nowMs(),
          },
          links,
        ),
      drain: () => this.#options.onDrainAsked(),
      reload: (by) => this.reload(by),
    })
    return [
      this.#listener,
      keys,
      this.#expiry,
      new IpcServer({
        path: join(config.runtimeDir, 'ls-admin.sock'),
        mode: 0o600,
        // The status of a thousand banks is longer than anything that an app may send.
        limits: { maxConnections: 64, maxMessageBytes: 64 * MEBIBYTE, maxBufferedBytes: 128 * MEBIBYTE },
        handler: admin,
        logger,
        clock,
      }),
      new IpcServer({
        path: join(config.runtimeDir, 'ls.sock'),
        mode: 0o660,
        limits: {
          maxConnections: config.apps.maxConnections,
          maxMessageBytes: config.apps.maxMessageBytes,
          maxPendingPerConnection: config.apps.maxPending,
        },
        handler: router,
        logger,
        clock,
      }),
      ...permissiveAlarm({
        mode: config.security.mode,
        weaknesses: lsWeaknesses(config),
        audit: context.audit,
        clock,
        logger,
      }),
      new HealthCheck({ registry, intervalMs: config.health.intervalMs, clock, logger }),
    ]
  }

  async #stop(): Promise<void> {
    const { logger } = this.#options
    const drainTimeoutMs = (this.#context?.config ?? this.#options.config).drain.timeoutMs
    this.#phase = 'draining'
    logger.info({ drainTimeoutMs }, 'lsd is draining')
    this.#router?.stop()
    await this.#registry?.drainAll(drainTimeoutMs)
    await this.#services.stop(AbortSignal.timeout(2_000))
    await this.#store?.close()
    await this.#lock?.release()
    logger.info({ notify: 'STOPPING=1' }, 'lsd has stopped')
  }

  async #reloadRecorded(by: AuditActor): Promise<Record<string, unknown>> {
    const before = this.#context?.config
    try {
      const result = await this.#reload()
      const after = this.#context?.config
      const digests = { before: configDigest(before), after: configDigest(after), changed: changedPaths(before, after) }
      if (result.reloaded === true)
        this.#audit?.record({ event: 'configuration-reloaded', by, facts: { ...digests, ...result } })
      return result
    } catch (error) {
      const { code, message } = toLsxError(error)
      this.#audit?.record({ event: 'configuration-refused', by, facts: { code, message } })
      throw error
    }
  }

  async #reload(): Promise<Record<string, unknown>> {
    const { logger } = this.#options
    const context = this.#context
    const registry = this.#registry
    if (context === undefined || registry === undefined || this.#phase === 'draining') return { reloaded: false }
    const file = this.#options.reloadConfig()
    const { security } = this.#options.config
    checkLsFiles({ ...file, security }, this.#options)
    // Compared with the start, not with the last reload: what waits for a restart goes on waiting.
    const { config, needRestart } = reloaded(this.#options.config, file)
    const material = loadOwnMaterial(config)
    const identity = loadIdentity(config)
    context.ilp.reload(config)
    context.signing?.reload()
    context.config = config
    this.#takeIdentity(identity)
    this.#keys?.takeFiles()
    context.tokenMethods = tokenMethodsOf(config)
    context.secureContext = createSecureContext(material)
    this.#listener?.renewMaterial(material)
    this.#noteCertificate(material)
    const change = await registry.apply(config.banks, config.drain.timeoutMs)
    const result = { reloaded: true, ...change, needRestart }
    logger.info({ audit: true, ...result }, 'the configuration was reloaded')
    if (needRestart.length > 0) logger.warn({ needRestart }, 'these options take effect only at the next start')
    return result
  }

  /** Proven in new kx, which begin at once on all channels; the sessions that serve go on until then. */
  #takeIdentity(identity: Identity): void {
    const context = this.#context
    if (context === undefined || context.identity.publicKey.equals(identity.publicKey)) return
    context.identity = identity
    this.#audit?.record({
      event: 'key-rotated',
      by: { via: 'daemon' },
      facts: { what: 'identity', pin: formatIdentityPin(identity.publicKey) },
    })
    for (const link of this.#registry?.all() ?? []) if (link.state.name === 'connected') link.rekey('operator')
  }

  #createKeys(context: SwitchContext): DaemonKeys {
    const { config, clock, logger } = this.#options
    if (this.#store === undefined) throw new LsxError('INTERNAL', 'the store is not open')
    this.#keys = new DaemonKeys({
      rings: ringsOf(config),
      config: config.keys,
      store: this.#store,
      tokenKeys: context.tokenKeys,
      rotateTokenKeyEveryMs: () => context.config.tokens.rotateKeyEveryMs,
      onIdentity: () => this.#takeIdentity(loadIdentity(config)),
      onJws: () => context.signing?.reload(),
      onEvent: (facts) => context.audit.record({ event: 'key-rotated', by: { via: 'daemon' }, facts }),
      clock,
      logger,
    })
    return this.#keys
  }

  #noteCertificate(material: TlsMaterial): void {
    this.#certificate = material.certificate
    this.#expiry.check()
  }

  #warnings(): readonly string[] {
    return keyWarnings(this.#keys, this.#expiry)
  }

  #status(): Record<string, unknown> {
    const { clock, version } = this.#options
    const { context, registry } = { context: this.#context, registry: this.#registry }
    return {
      version,
      pid: process.pid,
      phase: this.#phase,
      mode: this.#options.config.security.mode,
      startedAt: new Date(this.#startedAtMs).toISOString(),
      upMs: clock.nowMs() - this.#startedAtMs,
      generation: context?.generation,
      listenPort: this.port,
      banks: registry?.all().length ?? 0,
      connected: registry?.all().filter((link) => link.session !== undefined).length ?? 0,
      waitingDials: context?.dialSlots.waiting ?? 0,
      requests: context?.journal.counts,
      damagedRequests: context?.journal.damagedCount ?? 0,
      refusals: context?.refusals.counts ?? {},
      evidence: context?.evidence?.counts,
      certificateNotAfter: this.#certificate?.notAfter.toISOString(),
      certificateDaysLeft: this.#expiry.daysLeft,
      warnings: this.#warnings(),
      keysDue: this.#keys?.due ?? [],
      audit: this.#audit?.health,
      residentBytes: process.memoryUsage.rss(),
    }
  }
}

/**
 * Resolves when each bank that LS dials has been tried once and what earlier processes left open is settled, or the time
 * for that is over. Rejects when `signal` aborts.
 */
async function settledOrLate(registry: Registry, withinMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  const links = registry.all()
  const dialled = links.filter((link) => link.bank.dial === 'ls')
  const tried = new AbortController()
  try {
    await Promise.race([
      Promise.all([...dialled.map((link) => link.firstAttempt), ...links.map((link) => link.lane.recovered)]),
      sleep(clock, withinMs, AbortSignal.any([signal, tried.signal])),
    ])
  } finally {
    tried.abort()
  }
}

/** Whoever may write there can put a socket of his own in the place of ours. @throws LsxError REFUSED, party self */
function makeRuntimeDir(runtimeDir: string): void {
  mkdirSync(runtimeDir, { recursive: true, mode: 0o750 })
  const { mode } = statSync(runtimeDir)
  if ((mode & 0o002) === 0 || (mode & 0o1000) !== 0) return
  throw new LsxError('REFUSED', `anybody may write in the runtimeDir ${runtimeDir}: chmod o-w it`, { party: 'self' })
}
