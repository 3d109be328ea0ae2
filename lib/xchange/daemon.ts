import { isDeepStrictEqual } from 'node:util'
import {
  type AuditLog,
  changedPaths,
  configDigest,
  daemonAuditLog,
  noteEmptiedStore,
  permissiveAlarm,
  refusalEntry,
  signalActor,
} from '../audit/index.ts'
import { createSecureContext, ExpiryWatch, formatIdentityPin, lsSpiffeId, type TlsMaterial } from '../certs/index.ts'
import {
  AllowList,
  ChannelListener,
  DialSlots,
  type KeyState,
  keepConnected,
  newBootId,
  RefusalLog,
  type TlsTarget,
} from '../channel/index.ts'
import type { Identity } from '../kx/index.ts'
import { type SigningMaterial, XchangeSigning } from '../message/jws/index.ts'
import { DaemonKeys, keyWarnings } from '../message/keys/index.ts'
import {
  type Clock,
  describeError,
  type Logger,
  LsxError,
  type Service,
  ServiceGroup,
  toLsxError,
} from '../runtime/index.ts'
import {
  claimStore,
  lockStore,
  openDaemonStore,
  type StoreLock,
  type TransactionalStore,
  verifyStore,
} from '../store/index.ts'
import type { XchangeConfig } from './config.ts'
import { createDispatcher, type Dispatcher } from './dispatcher.ts'
import { DurableOnceOnlyTable } from './durable-once-only.ts'
import { GenerationFence, validateGeneration } from './fence.ts'
import { XchangeGate } from './gate.ts'
import { IlpReceiver, readIlpRules } from './ilp-receiver.ts'
import { LsLink } from './ls-link.ts'
import { enforceMode, loadIdentity, loadOwnMaterial, loadSigning, readPins, ringsOf } from './own-files.ts'
import { RequestSealing, readSealingRules } from './request-sealing.ts'
import { collectRoutes } from './routes.ts'
import { XchangeTokens } from './tokens.ts'
import { xchangeWeaknesses } from './weaknesses.ts'

export interface XchangeDaemonOptions {
  readonly config: XchangeConfig
  /** Where the configuration came from; modules are named relative to it. */
  readonly configFile: string
  /** Permissive was asked for where the daemon is started; the configuration must ask for it too. */
  readonly permissive?: boolean
  readonly reloadConfig: () => XchangeConfig
  readonly version: string
  readonly clock: Clock
  readonly logger: Logger
  readonly random: () => number
  readonly onStoreStalled: () => void
}

/** Room for what is not once-only keys: the store's bound must never come before theirs. */
const STORE_MARGIN_BYTES = 1_073_741_824

/** The node: puts all parts together, starts them in order and stops them in reverse. */
export class XchangeDaemon {
  readonly #options: XchangeDaemonOptions
  readonly #services: ServiceGroup
  readonly #expiry: ExpiryWatch
  #certificate: TlsMaterial['certificate'] | undefined
  #store: TransactionalStore | undefined
  #lock: StoreLock | undefined
  #link: LsLink | undefined
  #listener: ChannelListener | undefined
  #dispatcher: Dispatcher | undefined
  #ilp: IlpReceiver | undefined
  #sealing: RequestSealing | undefined
  #signing: SigningMaterial | undefined
  readonly #refusals: RefusalLog
  #audit: AuditLog | undefined
  #secureContext: ReturnType<typeof createSecureContext> | undefined
  #pins: readonly Buffer[] = []
  #identity: Identity | undefined
  #tokens: XchangeTokens | undefined
  #keys: DaemonKeys | undefined
  /** The configuration as it was read last. */
  #loaded: XchangeConfig
  #draining = false
  #stopped: Promise<void> | undefined
  readonly #dialling = new AbortController()
  #dialled: Promise<void> = Promise.resolve()

  constructor(options: XchangeDaemonOptions) {
    this.#options = options
    this.#loaded = options.config
    this.#services = new ServiceGroup(options.logger)
    const { clock, logger } = options
    this.#expiry = new ExpiryWatch({ certificate: () => this.#certificate, clock, logger })
    this.#refusals = new RefusalLog(options.logger, options.clock, (error, facts) => {
      this.#audit?.record(refusalEntry(error, facts))
    })
  }

  /** The port of the https listener, also where 0 was asked for; 0 where this xchange dials. */
  get port(): number {
    return this.#listener?.port ?? 0
  }

  async start(signal: AbortSignal): Promise<void> {
    try {
      await this.#start(signal)
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { config, clock, logger, version } = this.#options
    enforceMode(this.#options)
    const material = loadOwnMaterial(config)
    this.#noteCertificate(material)
    this.#secureContext = createSecureContext(material)
    this.#identity = loadIdentity(config)
    this.#pins = readPins(config)
    this.#signing = loadSigning(config, { clock, logger })
    this.#lock = await lockStore(config.storeDir)
    const rings = ringsOf(config)
    const { store, wasEmptied } = openDaemonStore({
      path: config.storeDir,
      keyRing: rings.store,
      maxBytes: config.onceOnly.maxBytes + STORE_MARGIN_BYTES,
      clock,
      logger,
      onStalled: () => this.#options.onStoreStalled(),
    })
    this.#store = store
    await claimStore(store, `xchange ${config.bankCode}`)
    const fences = store.table('fence', { validate: validateGeneration })
    await verifyStore(store, logger, signal)
    const audit = daemonAuditLog({
      config: config.audit,
      storeDir: config.storeDir,
      store,
      party: `xchange ${config.bankCode}`,
      signer: () => this.#ownIdentity(),
      startFacts: { version, pid: process.pid, configDigest: configDigest(config) },
      clock,
      logger,
    })
    this.#audit = audit
    const onceOnly = new DurableOnceOnlyTable({
      store,
      clock,
      logger,
      maxEntries: config.onceOnly.maxEntries,
      maxBytes: config.onceOnly.maxBytes,
      keepMs: config.onceOnly.keepMs,
    })
    const fence = new GenerationFence(fences)
    const signing = this.#newSigning()
    const tokens = new XchangeTokens(config, clock, () => this.#ownIdentity())
    this.#tokens = tokens
    const { routes, services } = await collectRoutes(this.#options, signal)
    const ilp = new IlpReceiver(readIlpRules(config.ilp), { bankCode: config.bankCode, clock })
    this.#ilp = ilp
    const sealing = new RequestSealing(readSealingRules(config.sealing), {
      bankCode: config.bankCode,
      clock,
      refusals: this.#refusals,
    })
    this.#sealing = sealing
    const dispatcher = createDispatcher({
      bankCode: config.bankCode,
      routes,
      onceOnly,
      authorization: tokens,
      clock,
      logger,
      maxConcurrent: config.requests.maxConcurrent,
      minBudgetMs: config.requests.minBudgetMs,
      maxPayloadBytes: config.frames.maxFrameBytes - 256 - (signing?.growthBytes ?? 0),
      ilp,
      sealing,
      refusals: this.#refusals,
    })
    this.#dispatcher = dispatcher
    const link = this.#createLink({ tokens, fence, dispatcher, onceOnly, signing, audit })
    this.#link = link
    const keys = new DaemonKeys({
      rings,
      config: config.keys,
      store,
      tokenKeys: tokens.keys,
      rotateTokenKeyEveryMs: () => config.tokens.rotateKeyEveryMs,
      onIdentity: () => this.#takeIdentity(loadIdentity(config)),
      onJws: () => this.#signing?.reload(),
      onEvent: (facts) => audit.record({ event: 'key-rotated', by: { via: 'daemon' }, facts }),
      clock,
      logger,
    })
    this.#keys = keys
    await this.#services.start([audit], signal)
    const weaknesses = xchangeWeaknesses(config)
    await this.#services.start(
      permissiveAlarm({ mode: config.security.mode, weaknesses, audit, clock, logger }),
      signal,
    )
    if (wasEmptied) noteEmptiedStore(config.storeDir, { audit, logger })
    await this.#services.start(
      [onceOnly, keys, this.#expiry, ...this.#signingServices(), ...services, ...this.#createListener(link, material)],
      signal,
    )
    if (config.dial === 'xchange') this.#startDialling({ host: config.ls.host ?? '', port: config.ls.port ?? 0 }, link)
    logger.info(
      {
        notify: 'READY=1',
        version,
        bankCode: config.bankCode,
        port: this.port,
        methods: [...routes.keys()],
      },
      'xchanged is ready',
    )
  }

  /** Drains the channel and stops everything. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  /**
   * Takes keys, certificates, pins and the rules of ILP and sealing as they are on disk now; the channel goes on. Other
   * options need a restart.
   */
  reload(): void {
    try {
      this.#reload()
    } catch (error) {
      const { code, message } = toLsxError(error)
      this.#audit?.record({ event: 'configuration-refused', by: signalActor(), facts: { code, message } })
      throw error
    }
  }

  #reload(): void {
    const { logger, reloadConfig } = this.#options
    const config = reloadConfig()
    enforceMode({ ...this.#options, config: { ...config, security: this.#options.config.security } })
    const material = loadOwnMaterial(config)
    const pins = readPins(config)
    const identity = loadIdentity(config)
    const ilpRules = readIlpRules(config.ilp)
    const sealingRules = readSealingRules(config.sealing)
    this.#tokens?.renewIssuers(config)
    this.#signing?.reload()
    this.#pins = pins
    this.#takeIdentity(identity)
    this.#ilp?.replaceRules(ilpRules)
    this.#sealing?.replaceRules(sealingRules)
    this.#keys?.takeFiles()
    this.#link?.dropUnlessPinned(pins)
    this.#secureContext = createSecureContext(material)
    this.#listener?.renewMaterial(material)
    this.#noteCertificate(material)
    const before = fixedOptions(this.#options.config)
    const needRestart = Object.entries(fixedOptions(config))
      .filter(([name, value]) => !isDeepStrictEqual(value, before[name]))
      .map(([name]) => name)
    logger.info({ audit: true, needRestart }, 'the configuration was reloaded: keys, certificates and pins')
    this.#audit?.record({
      event: 'configuration-reloaded',
      by: signalActor(),
      facts: {
        before: configDigest(this.#loaded),
        after: configDigest(config),
        changed: changedPaths(this.#loaded, config),
        certificateNotAfter: material.certificate.notAfter,
        pins: this.#pins.map(formatIdentityPin),
        needRestart,
      },
    })
    this.#loaded = config
  }

  #newSigning(): XchangeSigning | undefined {
    const { config } = this.#options
    if (this.#signing === undefined || config.signing === undefined) return undefined
    return new XchangeSigning({ ...this.#signing.forChannel(config.bankCode), lsParty: config.signing.lsParty })
  }

  #signingServices(): readonly Service[] {
    return this.#signing === undefined ? [] : [this.#signing]
  }

  /** Proven in the next kx, which LS is asked for at once. The session that serves goes on until then. */
  #takeIdentity(identity: Identity): void {
    if (this.#identity?.publicKey.equals(identity.publicKey) === true) return
    this.#identity = identity
    this.#audit?.record({
      event: 'key-rotated',
      by: signalActor(),
      facts: { what: 'identity', pin: formatIdentityPin(identity.publicKey) },
    })
    this.#link?.askForKx()
  }

  #ownIdentity(): Identity {
    if (this.#identity === undefined) throw new LsxError('INTERNAL', 'the identity is not loaded')
    return this.#identity
  }

  #createLink(parts: {
    tokens: XchangeTokens
    fence: GenerationFence
    dispatcher: Dispatcher
    onceOnly: DurableOnceOnlyTable
    signing: XchangeSigning | undefined
    audit: AuditLog
  }): LsLink {
    const { tokens, fence, dispatcher, onceOnly, signing, audit } = parts
    const { config, clock, logger } = this.#options
    const boot = newBootId().subarray(8)
    return new LsLink({
      config,
      identity: () => this.#ownIdentity(),
      tokens,
      pins: () => this.#pins,
      bootId: () => Buffer.concat([onceOnly.memoryId, boot]),
      highestGeneration: () => fence.highest,
      acceptGeneration: (generation) => fence.accept(generation),
      onRequest: (request, respond, origin) => dispatcher.dispatch(request, respond, origin),
      onResolve: (keys) => ({
        states: keys.map((key) => dispatcher.stateOf(key) ?? this.#stateOf(onceOnly, key)),
        rememberedForMs: Math.max(0, Math.floor(clock.nowMs() - onceOnly.rememberedSinceMs)),
      }),
      signing:
        signing === undefined
          ? undefined
          : {
              messages: signing,
              onUnverified: (request, error, respond) => {
                this.#refusals.record(error, { peer: 'ls' })
                dispatcher.refuse(request, 'SIGNATURE_INVALID', respond)
              },
            },
      audit,
      clock,
      logger,
      defer: setImmediate,
    })
  }

  /** A key whose record is damaged may have been executed: it counts as begun. */
  #stateOf(onceOnly: DurableOnceOnlyTable, key: string): KeyState {
    try {
      return onceOnly.lookup(key).kind
    } catch (error) {
      this.#options.logger.error(
        { idempotencyKey: key, error: describeError(error) },
        'a record of the once-only table cannot be read',
      )
      return 'begun'
    }
  }

  #createListener(link: LsLink, material: TlsMaterial): readonly Service[] {
    const { config, logger } = this.#options
    if (config.listen === undefined) return []
    this.#listener = new ChannelListener({
      host: config.listen.host,
      port: config.listen.port,
      material,
      maxFrameBytes: config.frames.maxFrameBytes,
      maxConnections: config.listen.maxConnections,
      gate: new XchangeGate({
        config,
        link,
        isDraining: () => this.#draining,
        audit: () => this.#audit?.health,
        warnings: () => this.#warnings(),
      }),
      refusals: this.#refusals,
      logger,
    })
    return [this.#listener]
  }

  #startDialling(dial: { host: string; port: number }, link: LsLink): void {
    const { config, clock, logger, random } = this.#options
    const target = (): TlsTarget => {
      if (this.#secureContext === undefined) throw new LsxError('INTERNAL', 'no TLS context')
      return {
        ...dial,
        secureContext: this.#secureContext,
        expectedSpiffeId: lsSpiffeId(config.trustDomain),
        allowList: new AllowList(config.ls.allow),
      }
    }
    let ended: Promise<void> = Promise.resolve()
    this.#dialled = keepConnected({
      attempt: {
        connect: async (signal) => {
          try {
            ended = (await link.connect(target(), signal)).ended
          } catch (error) {
            if (!signal.aborted)
              logger.warn({ error: describeError(error) }, `cannot reach LS at ${dial.host}:${dial.port}; trying again`)
            throw error
          }
        },
        ended: () => ended,
      },
      backoff: config.reconnect,
      slots: new DialSlots(1),
      clock,
      random,
      signal: this.#dialling.signal,
      onWaiting: () => {},
    }).catch((error) => {
      logger.fatal({ error: describeError(error) }, 'the reconnect loop ended: this is a defect; restart xchanged')
    })
  }

  async #stop(): Promise<void> {
    const { config, clock, logger } = this.#options
    this.#draining = true
    const { timeoutMs } = config.drain
    logger.info({ drainTimeoutMs: timeoutMs }, 'xchanged is draining')
    this.#dialling.abort(new LsxError('SHUTTING_DOWN', 'the xchange is stopping'))
    const signal = AbortSignal.timeout(timeoutMs + 500)
    const dispatched = this.#dispatcher?.drain(signal).catch(() => {
      logger.warn({ inFlight: this.#dispatcher?.inFlight }, 'handlers are still at work at the end of the drain')
    })
    await this.#link?.drain(clock.monotonicMs() + timeoutMs, signal)
    await dispatched
    this.#dispatcher?.stop()
    await this.#dialled
    await this.#services.stop(AbortSignal.timeout(2_000))
    await this.#store?.close()
    await this.#lock?.release()
    logger.info({ notify: 'STOPPING=1' }, 'xchanged has stopped')
  }

  #noteCertificate(material: TlsMaterial): void {
    this.#certificate = material.certificate
    this.#expiry.check()
  }

  /** Told to LS with the health. */
  #warnings(): readonly string[] {
    return keyWarnings(this.#keys, this.#expiry)
  }
}

/** What a reload leaves as it was at the start: all but keys, certificates, pins, ILP and sealing. */
function fixedOptions({
  tls: _tls,
  ilp: _ilp,
  sealing: _sealing,
  ls,
  ...options
}: XchangeConfig): Record<string, unknown> {
  const { identities: _identities, ...address } = ls
  return { ...options, ls: address }
}
