import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { LsDaemon, loadLsConfig } from '../../lib/ls/index.ts'
import { createLogger, systemClock } from '../../lib/runtime/index.ts'
import { loadXchangeConfig, XchangeDaemon } from '../../lib/xchange/index.ts'
import { Apps } from './daemon-apps.ts'
import { lsConfig, merged, SHORT_TIMES, xchangeConfig } from './daemon-config.ts'
import { spawnDaemon } from './daemon-process.ts'
import type {
  InProcess,
  LsStartOptions,
  Overrides,
  OwnProcess,
  ProcessOptions,
  TestBank,
  TestDaemon,
  TestLs,
  XchangeStartOptions,
} from './daemon-types.ts'
import { LogCapture } from './log-capture.ts'
import { onlyOnce } from './once.ts'
import { CountingClock } from './open-handles.ts'
import { createTestPki, type TestNode, type TestPki } from './pki.ts'

export type {
  InProcess,
  LsStartOptions,
  Overrides,
  OwnProcess,
  TestBank,
  TestDaemon,
  TestLs,
  XchangeStartOptions,
} from './daemon-types.ts'

const START_WITHIN_MS = 20_000

/** 044 is dialled by LS, 058 dials LS. */
export const TWO_BANKS: readonly TestBank[] = [
  { code: '044', dial: 'ls' },
  { code: '058', dial: 'xchange' },
]

/** A temporary directory, a PKI with LS and banks, and all daemons that were started in it. */
export class TestBed {
  readonly dir: string
  readonly pki: TestPki
  readonly banks: readonly TestBank[]
  readonly #nodes: ReadonlyMap<string, TestNode>
  readonly #times: Overrides
  readonly #ports = new Map<string, number>()
  readonly #stops: (() => Promise<void>)[] = []
  #lsPort = 0
  #written = 0

  private constructor(options: {
    dir: string
    pki: TestPki
    banks: readonly TestBank[]
    nodes: ReadonlyMap<string, TestNode>
    times: Overrides
  }) {
    this.dir = options.dir
    this.pki = options.pki
    this.banks = options.banks
    this.#nodes = options.nodes
    this.#times = options.times
  }

  /** `times`: `echo`, `kx`, `reconnect`, `drain` as in the configuration; laid over all daemons of the bed. */
  static async create(options: { banks?: readonly TestBank[]; times?: Overrides } = {}): Promise<TestBed> {
    const { banks = TWO_BANKS, times = {} } = options
    // Short, because a socket path may have 107 bytes.
    const dir = mkdtempSync(join(tmpdir(), 'lsx-'))
    const pki = await createTestPki(join(dir, 'pki'))
    const nodes = new Map<string, TestNode>()
    nodes.set('lsd', await pki.issue('lsd'))
    for (const { code } of banks) nodes.set(code, await pki.issue('xchange', code))
    return new TestBed({ dir, pki, banks, nodes, times: merged(SHORT_TIMES, times) })
  }

  /** `lsd` or a bank code. */
  node(name: string): TestNode {
    const node = this.#nodes.get(name)
    if (node === undefined) throw new Error(`the bed has no ${name}`)
    return node
  }

  /** Where the bank's xchange was started last. */
  portOf(bankCode: string): number {
    return this.#ports.get(bankCode) ?? 0
  }

  /** LS and all banks that are not fake in this process, connected. */
  async startAll(
    options: { ls?: LsStartOptions; xchange?: XchangeStartOptions; banks?: Record<string, XchangeStartOptions> } = {},
  ): Promise<{ ls: TestLs & InProcess; xchanges: Map<string, TestDaemon & InProcess> }> {
    const xchanges = new Map<string, TestDaemon & InProcess>()
    const start = async (bank: TestBank) => {
      xchanges.set(bank.code, await this.startXchange(bank.code, { ...options.xchange, ...options.banks?.[bank.code] }))
    }
    const real = this.banks.filter((bank) => bank.isFake !== true)
    for (const bank of real) if (bank.dial === 'ls') await start(bank)
    const ls = await this.startLs(options.ls)
    for (const bank of real) if (bank.dial === 'xchange') await start(bank)
    await Promise.all(real.map((bank) => ls.connected(bank.code)))
    // Timers that begin with the first request are there before a test counts them.
    await Promise.all(real.map((bank) => ls.ask({ to: bank.code, method: 'echo' })))
    return { ls, xchanges }
  }

  async startLs(options: LsStartOptions = {}): Promise<TestLs & InProcess> {
    const configFile = this.writeLsConfig(options)
    const config = loadLsConfig(configFile, {})
    const log = new LogCapture('lsd')
    const clock = new CountingClock(systemClock)
    const logger = createLogger({ name: 'lsd', level: config.logLevel, destination: log })
    const daemon = new LsDaemon({
      config,
      reloadConfig: () => loadLsConfig(configFile, {}),
      configFile,
      permissive: options.permissive ?? false,
      version: '0.0.0-test',
      clock,
      logger,
      random: Math.random,
      onStoreStalled: () => logger.fatal({}, 'the store has stalled in a test'),
      onDrainAsked: () => logger.info({}, 'a drain was asked for in a test'),
    })
    const apps = new Apps(config.runtimeDir)
    const stop = onlyOnce(async () => {
      await apps.close()
      await daemon.stop()
      log.end()
    })
    this.#stops.push(stop)
    await daemon.start(AbortSignal.timeout(START_WITHIN_MS))
    this.#lsPort = daemon.port
    const own = { log, clock, configFile, port: daemon.port, stop, reload: () => daemon.reload() }
    return { ...apps.operations(log), ...own }
  }

  async startXchange(bankCode: string, options: XchangeStartOptions = {}): Promise<TestDaemon & InProcess> {
    const configFile = this.writeXchangeConfig(bankCode, options)
    const config = loadXchangeConfig(configFile, {})
    const log = new LogCapture(`xchanged ${bankCode}`)
    const clock = new CountingClock(systemClock)
    const logger = createLogger({ name: 'xchanged', level: config.logLevel, destination: log })
    const daemon = new XchangeDaemon({
      config,
      configFile,
      reloadConfig: () => loadXchangeConfig(configFile, {}),
      permissive: options.permissive ?? false,
      version: '0.0.0-test',
      clock,
      logger,
      random: Math.random,
      onStoreStalled: () => logger.fatal({}, 'the store has stalled in a test'),
    })
    const stop = onlyOnce(async () => {
      await daemon.stop()
      log.end()
    })
    this.#stops.push(stop)
    await daemon.start(AbortSignal.timeout(START_WITHIN_MS))
    this.#notePort(bankCode, options, daemon.port)
    return { log, clock, configFile, port: daemon.port, stop, reload: async () => daemon.reload() }
  }

  /** lsd as a process, whether it comes to be ready or not. */
  spawnLs(options: LsStartOptions & ProcessOptions = {}): OwnProcess & Pick<TestDaemon, 'log' | 'stop' | 'configFile'> {
    const configFile = this.writeLsConfig(options)
    const child = spawnDaemon({ program: 'lsd', name: 'lsd', configFile, nodeArguments: options.nodeArguments ?? [] })
    this.#stops.push(child.stop)
    return child
  }

  async startLsProcess(options: LsStartOptions & ProcessOptions = {}): Promise<TestLs & OwnProcess> {
    const child = this.spawnLs(options)
    const apps = new Apps(loadLsConfig(child.configFile, {}).runtimeDir)
    const stop = onlyOnce(async () => {
      await apps.close()
      await child.stop()
    })
    this.#stops.push(stop)
    await child.log.until({ notify: 'READY=1' }, { withinMs: START_WITHIN_MS })
    const operations = apps.operations(child.log)
    const { daemon } = (await operations.admin('status')) as { daemon: { listenPort: number } }
    this.#lsPort = daemon.listenPort
    return { ...child, ...operations, port: daemon.listenPort, stop }
  }

  async startXchangeProcess(
    bankCode: string,
    options: XchangeStartOptions & ProcessOptions = {},
  ): Promise<TestDaemon & OwnProcess> {
    const configFile = this.writeXchangeConfig(bankCode, options)
    const name = `xchanged ${bankCode}`
    const child = spawnDaemon({ program: 'xchanged', name, configFile, nodeArguments: options.nodeArguments ?? [] })
    this.#stops.push(child.stop)
    const ready = await child.log.until({ notify: 'READY=1' }, { withinMs: START_WITHIN_MS })
    const port = ready.port as number
    this.#notePort(bankCode, options, port)
    return { ...child, port }
  }

  /** The file that a start with these options would read. */
  writeLsConfig(options: LsStartOptions = {}): string {
    const { name = 'ls', node = this.node('lsd') } = options
    const banks = this.banks.map((bank) => ({ ...bank, pin: this.node(bank.code).pin, port: this.portOf(bank.code) }))
    return this.#write(name, lsConfig(this.#factsOf(name, node), banks, options))
  }

  writeXchangeConfig(bankCode: string, options: XchangeStartOptions = {}): string {
    const { name = bankCode, node = this.node(bankCode) } = options
    const dial = this.#dialOf(bankCode, options)
    const bank = { code: bankCode, dial, lsPin: this.node('lsd').pin, lsPort: this.#lsPort }
    return this.#write(name, xchangeConfig(this.#factsOf(name, node), bank, options))
  }

  /** Stops every daemon, the newest first, and removes the directory. Rejects with what did not stop cleanly. */
  async stop(): Promise<void> {
    const errors: unknown[] = []
    for (let stop = this.#stops.pop(); stop !== undefined; stop = this.#stops.pop()) {
      await stop().catch((error: unknown) => errors.push(error))
    }
    rmSync(this.dir, { recursive: true, force: true })
    if (errors.length > 0) throw new AggregateError(errors, 'a daemon did not stop cleanly')
  }

  #factsOf(name: string, node: TestNode) {
    return { trustDomain: this.pki.trustDomain, home: join(this.dir, name), node, times: this.#times }
  }

  #dialOf(bankCode: string, options: XchangeStartOptions): 'ls' | 'xchange' {
    return options.dial ?? this.banks.find((bank) => bank.code === bankCode)?.dial ?? 'ls'
  }

  #notePort(bankCode: string, options: XchangeStartOptions, port: number): void {
    if (this.#dialOf(bankCode, options) === 'ls') this.#ports.set(bankCode, port)
  }

  /** JSON is YAML too. */
  #write(name: string, config: Overrides): string {
    const file = join(this.dir, `${name}-${++this.#written}.yaml`)
    mkdirSync(join(this.dir, name), { recursive: true })
    // Whatever the umask: a configuration that others can write is refused.
    writeFileSync(file, JSON.stringify(config, undefined, 2), { mode: 0o600 })
    return file
  }
}

/** A bed that is stopped with the test. */
export async function testBed(t: Test, options: Parameters<typeof TestBed.create>[0] = {}): Promise<TestBed> {
  const bed = await TestBed.create(options)
  t.teardown(() => bed.stop())
  return bed
}

export { vacantPort } from '../../chaos/vacant-port.ts'
