import { readFileSync } from 'node:fs'
import { noAudit } from '../../lib/audit/index.ts'
import {
  createSecureContext,
  loadIdentityKey,
  loadTlsMaterial,
  lsSpiffeId,
  readIdentityPin,
} from '../../lib/certs/index.ts'
import {
  AllowList,
  ChannelListener,
  DialSlots,
  keepConnected,
  newBootId,
  RefusalLog,
  type TlsTarget,
} from '../../lib/channel/index.ts'
import { type RequestRecord, type ResponseRecord, ResponseStatus } from '../../lib/frames/index.ts'
import { identityFromPrivateKey } from '../../lib/kx/index.ts'
import { createLogger, systemClock } from '../../lib/runtime/index.ts'
import { loadXchangeConfig, type XchangeConfig } from '../../lib/xchange/config.ts'
import { XchangeGate } from '../../lib/xchange/gate.ts'
import { LsLink } from '../../lib/xchange/ls-link.ts'
import { XchangeTokens } from '../../lib/xchange/tokens.ts'

/**
 * Many banks in one process: each has its certificate, identity, listener or dial loop and channel as xchanged has them;
 * they share one handler, which gives back what it gets, and keep nothing on disk.
 *
 * Started with a file of `FarmOptions` by `many/main.ts`, which talks to it over the channel of child_process.
 */
export interface FarmOptions {
  /** A configuration of xchanged for each bank. */
  readonly configFiles: readonly string[]
}

export type FarmCommand = { readonly op: 'start' } | { readonly op: 'until-connected'; readonly count: number }

export type FarmAnswer =
  | { readonly ok: true; readonly result: { readonly ports: readonly number[] } | { readonly atMs: number } }
  | { readonly ok: false; readonly message: string }

const clock = systemClock
const logger = createLogger({ name: 'farm', level: 'error', destination: process.stderr })

/** The banks of this process, and how many of them have a channel. */
class Farm {
  readonly #links: LsLink[] = []
  readonly #pins = new Map<string, readonly Buffer[]>()

  /** Listens, or dials, as the configurations say. Gives the ports, 0 for a bank that dials. */
  async start(configFiles: readonly string[]): Promise<readonly number[]> {
    const ports: number[] = []
    for (const configFile of configFiles) ports.push(await this.#startBank(loadXchangeConfig(configFile, {})))
    return ports
  }

  /** When at least so many were connected, Unix ms. */
  async untilConnected(count: number): Promise<number> {
    while (this.#connected() < count) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    return Date.now()
  }

  #connected(): number {
    let connected = 0
    for (const link of this.#links) if (link.session !== undefined) connected++
    return connected
  }

  async #startBank(config: XchangeConfig): Promise<number> {
    const material = loadTlsMaterial(config.tls)
    let generation = 0
    const bootId = newBootId()
    const pins = this.#pinsOf(config.ls.identities)
    const identity = identityFromPrivateKey(loadIdentityKey(config.identityKeyFile))
    const link = new LsLink({
      config,
      identity: () => identity,
      tokens: new XchangeTokens(config, clock, () => identity),
      audit: noAudit,
      pins: () => pins,
      bootId: () => bootId,
      highestGeneration: () => generation,
      acceptGeneration: (accepted) => {
        generation = accepted
      },
      onRequest: echo,
      onResolve: (keys) => ({ states: keys.map(() => 'never' as const), rememberedForMs: 0 }),
      clock,
      logger,
      defer: setImmediate,
    })
    this.#links.push(link)
    if (config.listen !== undefined) {
      const listener = new ChannelListener({
        host: config.listen.host,
        port: config.listen.port,
        material,
        maxFrameBytes: config.frames.maxFrameBytes,
        maxConnections: config.listen.maxConnections,
        gate: new XchangeGate({ config, link, isDraining: () => false, audit: () => undefined }),
        refusals: new RefusalLog(logger, clock),
        logger,
      })
      await listener.start()
      return listener.port
    }
    const target: TlsTarget = {
      host: config.ls.host ?? '',
      port: config.ls.port ?? 0,
      secureContext: createSecureContext(material),
      expectedSpiffeId: lsSpiffeId(config.trustDomain),
      allowList: new AllowList(config.ls.allow),
    }
    let ended: Promise<void> = Promise.resolve()
    void keepConnected({
      attempt: {
        connect: async (signal) => {
          ended = (await link.connect(target, signal)).ended
        },
        ended: () => ended,
      },
      backoff: config.reconnect,
      slots: new DialSlots(1),
      clock,
      random: Math.random,
      signal: new AbortController().signal,
      onWaiting: () => {},
    })
    return 0
  }

  /** All banks pin the same LS. */
  #pinsOf(identities: readonly string[]): readonly Buffer[] {
    const named = identities.join()
    const pins = this.#pins.get(named) ?? identities.map(readIdentityPin)
    this.#pins.set(named, pins)
    return pins
  }
}

const POLL_MS = 5

function echo({ id, payload }: RequestRecord, respond: (response: ResponseRecord) => void): void {
  respond({ id, status: ResponseStatus.ok, payload, meta: undefined })
}

async function perform(farm: Farm, command: FarmCommand, options: FarmOptions): Promise<FarmAnswer> {
  try {
    const result =
      command.op === 'start'
        ? { ports: await farm.start(options.configFiles) }
        : { atMs: await farm.untilConnected(command.count) }
    return { ok: true, result }
  } catch (error) {
    return { ok: false, message: (error as Error).message }
  }
}

function main(): void {
  const options = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as FarmOptions
  const farm = new Farm()
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.exit(0))
  process.on('message', (command: FarmCommand) => {
    void perform(farm, command, options).then((answer) => process.send?.(answer))
  })
}

main()
