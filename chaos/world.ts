import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from '../lib/ipc/index.ts'
import { AppChild } from './app-child.ts'
import { issueNodes, type Nodes, storeDirOf, writeLsConfig, writeXchangeConfig } from './config-files.ts'
import { DaemonChild, type Death } from './daemon-child.ts'
import type { LogLine } from './daemon-process.ts'
import { SmallDisk } from './disk.ts'
import { EXECUTION_LOG_VARIABLE } from './execution-ledger.ts'
import { FaultProxy } from './fault-proxy.ts'
import type { Interruption } from './ledger-check.ts'
import { monotonicMs } from './monotonic.ts'
import { Prng } from './prng.ts'
import { type DaemonName, DISK_FAULT_DAEMONS, type DiskFaultDaemon } from './schedule.ts'
import { makeNodeStore } from './store-views.ts'
import { BANKS, type BankCode, type Mix } from './workload.ts'

export interface WorldOptions {
  /** Everything lives below it. */
  readonly dir: string
  readonly mix: Mix
  readonly apps: number
  readonly smallDisks: boolean
}

const SMALL_DISK_BYTES = 512 * 1024 ** 2
/** More than any clock jumps, less than a node keeps its keys. */
const NODE_AGE_MS = 20 * 3_600_000
const CONNECTED_WITHIN_MS = 30_000
const POLL_MS = 50
const EXCUSE_MARGIN_MS = 8_000
const SLOTS = 12
const THINK_MS = { from: 5, to: 60 }

/** LS, two banks with a proxy on the way to each, and apps; each in a process of its own. */
export class World {
  readonly dir: string
  readonly proxies: ReadonlyMap<BankCode, FaultProxy>
  readonly daemons: ReadonlyMap<DaemonName, DaemonChild>
  readonly apps: readonly AppChild[]
  readonly disks: ReadonlyMap<DiskFaultDaemon, SmallDisk>
  readonly deaths: Death[] = []
  readonly interruptions: Interruption[] = []
  /** Times in which a daemon had reason to end by itself. */
  readonly excuses: { readonly daemon: DaemonName; readonly fromMs: number; readonly toMs: number }[] = []
  /** Times that a channel came up, the first ones included. */
  connects = 0
  readonly #nodes: Nodes

  private constructor(
    options: WorldOptions,
    parts: { nodes: Nodes; proxies: Map<BankCode, FaultProxy>; disks: Map<DiskFaultDaemon, SmallDisk> },
  ) {
    this.dir = options.dir
    this.#nodes = parts.nodes
    this.proxies = parts.proxies
    this.disks = parts.disks
    this.daemons = new Map<DaemonName, DaemonChild>([
      ['lsd', this.#lsd()],
      ...BANKS.map((bank) => [`xchanged-${bank}`, this.#xchanged(bank)] as const),
    ])
    this.apps = Array.from({ length: options.apps }, (_, index) => this.#app(`app${index}`, options.mix))
  }

  static async create(options: WorldOptions): Promise<World> {
    const { dir } = options
    for (const name of ['run', 'stores', 'logs', 'apps', 'banks']) mkdirSync(join(dir, name), { mode: 0o700 })
    const disks = new Map<DiskFaultDaemon, SmallDisk>()
    try {
      if (options.smallDisks) {
        for (const daemon of DISK_FAULT_DAEMONS)
          disks.set(daemon, SmallDisk.mount(storeDirOf(dir, daemon), SMALL_DISK_BYTES))
      }
      for (const bank of BANKS) await makeNodeStore(storeDirOf(dir, `xchanged-${bank}`), NODE_AGE_MS)
      const prng = new Prng(`${options.mix.seed}/proxy`)
      const proxies = new Map<BankCode, FaultProxy>()
      for (const bank of BANKS) proxies.set(bank, await FaultProxy.listen(prng.fork(bank)))
      return new World(options, { nodes: await issueNodes(join(dir, 'certs'), BANKS), proxies, disks })
    } catch (error) {
      for (const disk of disks.values()) disk.unmount()
      throw error
    }
  }

  get adminSocket(): string {
    return join(this.dir, 'run', 'ls-admin.sock')
  }

  daemon(name: DaemonName): DaemonChild {
    const daemon = this.daemons.get(name)
    if (daemon === undefined) throw new Error(`there is no ${name}`)
    return daemon
  }

  proxy(bank: BankCode): FaultProxy {
    const proxy = this.proxies.get(bank)
    if (proxy === undefined) throw new Error(`there is no bank ${bank}`)
    return proxy
  }

  appLog(name: string): string {
    return join(this.dir, 'apps', `${name}.ndjson`)
  }

  executionLog(bank: BankCode): string {
    return join(this.dir, 'banks', `executions-${bank}.ndjson`)
  }

  startDaemons(): void {
    for (const daemon of this.daemons.values()) daemon.start()
  }

  writeLsConfig(options: { rekeyStorm: boolean }): string {
    return writeLsConfig({ dir: this.dir, nodes: this.#nodes, bankPort: this.proxy('044').port, ...options })
  }

  /** Resolves when both channels are up, false when that takes too long. */
  async connected(signal?: AbortSignal): Promise<boolean> {
    const endMs = monotonicMs() + CONNECTED_WITHIN_MS
    while (monotonicMs() < endMs) {
      const connected = await this.#connectedBanks().catch(() => 0)
      if (connected === BANKS.length) return true
      await delay(POLL_MS, undefined, { signal })
    }
    return false
  }

  async admin(op: string, fields: Record<string, unknown> = {}): Promise<unknown> {
    const client = await connect(this.adminSocket)
    try {
      return await client.call(op, fields, { timeoutMs: 2_000 })
    } finally {
      await client.close()
    }
  }

  /** What a node had begun and not finished may be lost to it from `fromMs` to `toMs`. */
  noteInterruption(daemon: DaemonName, interruption: Omit<Interruption, 'bankCode'>): void {
    if (daemon !== 'lsd') this.interruptions.push({ bankCode: daemon.slice('xchanged-'.length), ...interruption })
  }

  /** Its disk fails or its clock is wrong: it may end by itself, or not start, until some time after `toMs`. */
  noteExcuse(daemon: DaemonName, fromMs: number, toMs: number): void {
    this.excuses.push({ daemon, fromMs, toMs: toMs + EXCUSE_MARGIN_MS })
  }

  async destroy(): Promise<void> {
    await Promise.all([...this.daemons.values(), ...this.apps].map((child) => child.destroy()))
    for (const proxy of this.proxies.values()) await proxy.stop()
    for (const disk of this.disks.values()) disk.unmount()
  }

  /** For the last moment of this process. */
  destroyNow(): void {
    for (const child of [...this.daemons.values(), ...this.apps]) child.destroyNow()
    for (const disk of this.disks.values()) disk.unmount()
  }

  #lsd(): DaemonChild {
    return new DaemonChild({
      name: 'lsd',
      program: 'lsd',
      configFile: this.writeLsConfig({ rekeyStorm: false }),
      logFile: join(this.dir, 'logs', 'lsd.log'),
      onLine: (line) => this.#onLsLine(line),
      onDeath: (death) => this.#onDeath('lsd', death),
    })
  }

  #xchanged(bank: BankCode): DaemonChild {
    const name = `xchanged-${bank}` as const
    return new DaemonChild({
      name,
      program: 'xchanged',
      configFile: writeXchangeConfig({ dir: this.dir, nodes: this.#nodes, bank, lsPort: this.proxy('058').port }),
      env: { [EXECUTION_LOG_VARIABLE]: this.executionLog(bank) },
      logFile: join(this.dir, 'logs', `${name}.log`),
      onLine: (line) => {
        if (bank === '044' && line.notify === 'READY=1') this.proxy('044').targetPort = Number(line.port)
      },
      onDeath: (death) => this.#onDeath(name, death),
    })
  }

  #app(name: string, mix: Mix): AppChild {
    const socket = join(this.dir, 'run', 'ls.sock')
    const options = { name, mix, socket, logFile: this.appLog(name), slots: SLOTS, thinkMs: THINK_MS }
    return new AppChild(options, join(this.dir, 'logs', `${name}.log`))
  }

  #onLsLine(line: LogLine): void {
    if (line.msg === 'channel connected') this.connects++
    if (line.notify !== 'READY=1') return
    this.#listenPort().then(
      (port) => {
        this.proxy('058').targetPort = port
      },
      // It ended meanwhile; the next one says where it listens.
      () => {},
    )
  }

  #onDeath(name: DaemonName, death: Death): void {
    this.deaths.push(death)
    this.noteInterruption(name, { cause: 'end', fromMs: death.atMs, toMs: death.atMs })
    // Its port may be somebody else's by the next time.
    if (name === 'lsd') this.proxy('058').targetPort = undefined
    if (name === 'xchanged-044') this.proxy('044').targetPort = undefined
  }

  async #listenPort(): Promise<number> {
    const { daemon } = (await this.admin('status')) as { daemon: { listenPort: number } }
    return daemon.listenPort
  }

  async #connectedBanks(): Promise<number> {
    const { daemon } = (await this.admin('status')) as { daemon: { connected: number; phase: string } }
    return daemon.phase === 'ready' ? daemon.connected : 0
  }
}
