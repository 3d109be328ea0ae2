import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { connect, type LsClient, type Reply, type RequestOptions } from '../../lib/ipc/index.ts'
import { type BankStatus, LsDaemon, loadLsConfig } from '../../lib/ls/index.ts'
import { createLogger, systemClock } from '../../lib/runtime/index.ts'
import { loadXchangeConfig, XchangeDaemon } from '../../lib/xchange/index.ts'
import { LogCapture } from './log-capture.ts'
import { CountingClock } from './open-handles.ts'
import { createTestPki, type TestNode, type TestPki } from './pki.ts'

const DIST = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const START_WITHIN_MS = 20_000
const EXIT_WITHIN_MS = 10_000

/** Part of a configuration, laid over what the test bed writes; arrays replace. */
export type Overrides = { readonly [option: string]: unknown }

export interface TestBank {
  readonly code: string
  readonly dial: 'ls' | 'xchange'
  /** `startAll` starts no xchange for it: a test plays it. */
  readonly isFake?: boolean
}

/** 044 is dialled by LS, 058 dials LS. */
export const TWO_BANKS: readonly TestBank[] = [
  { code: '044', dial: 'ls' },
  { code: '058', dial: 'xchange' },
]

/** Times of the beds, ms: an echo long enough not to disturb, everything else short. A test overrides what it is about. */
const SHORT_TIMES = {
  echo: { intervalMs: 10_000 },
  kx: { timeoutMs: 2_000 },
  reconnect: { minDelayMs: 5, maxDelayMs: 50, dialTimeoutMs: 2_000 },
  drain: { timeoutMs: 200 },
}

export interface StartOptions {
  readonly config?: Overrides
  /** Certificate and identity, where not the party's own. */
  readonly node?: TestNode
  /** Directory of its store and sockets below the bed's; the same again after a restart. Default `ls`, or the bank code. */
  readonly name?: string
}

export interface LsStartOptions extends StartOptions {
  /** Where each bank that LS dials is to be found. Default: where this bed started it last. */
  readonly ports?: Readonly<Record<string, number>>
  /** Laid over a bank's part of the configuration, by bank code. */
  readonly banks?: Readonly<Record<string, Overrides>>
}

export interface XchangeStartOptions extends StartOptions {
  /** Port to listen on (dial: ls; default any) or of LS (dial: xchange; default where this bed started it last). */
  readonly port?: number
  readonly dial?: 'ls' | 'xchange'
}

export interface ProcessOptions {
  /** Before the program: `--tls-keylog=FILE` and the like. */
  readonly nodeArguments?: readonly string[]
}

/** What both forms of a running daemon have. */
export interface TestDaemon {
  readonly log: LogCapture
  readonly port: number
  /** The configuration file that was written for it. */
  readonly configFile: string
  /** Drains and stops. Safe to call twice. */
  stop(): Promise<void>
}

export interface TestLs extends TestDaemon {
  readonly appSocket: string
  readonly adminSocket: string
  /** One request over a connection of its own. */
  ask(options: RequestOptions): Promise<Reply>
  /** An app's connection, closed with the bed. */
  connectApp(): Promise<LsClient>
  admin(op: string, fields?: Record<string, unknown>): Promise<unknown>
  bankStatus(bankCode: string): Promise<BankStatus>
  /** Resolves at the next `channel connected` of this bank, or one behind `mark`. */
  connected(bankCode: string, mark?: number): Promise<void>
}

/** A daemon in this process. */
export interface InProcess {
  readonly clock: CountingClock
  reload(): Promise<unknown>
}

/** A daemon in a process of its own. */
export interface OwnProcess {
  readonly pid: number
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
  signal(name: NodeJS.Signals): void
  /** The exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>
}

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
    const child = this.#spawn('lsd', 'lsd', configFile, options)
    this.#stops.push(child.stop)
    return { ...child, configFile }
  }

  async startLsProcess(options: LsStartOptions & ProcessOptions = {}): Promise<TestLs & OwnProcess> {
    const child = this.spawnLs(options)
    const { configFile } = child
    const apps = new Apps(loadLsConfig(configFile, {}).runtimeDir)
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
    const child = this.#spawn('xchanged', `xchanged ${bankCode}`, configFile, options)
    this.#stops.push(child.stop)
    const ready = await child.log.until({ notify: 'READY=1' }, { withinMs: START_WITHIN_MS })
    const port = ready.port as number
    this.#notePort(bankCode, options, port)
    return { ...child, configFile, port }
  }

  writeLsConfig(options: LsStartOptions = {}): string {
    const { name = 'ls', node = this.node('lsd'), ports = {}, banks = {} } = options
    const home = join(this.dir, name)
    return this.#write(
      name,
      {
        runtimeDir: join(home, 'run'),
        storeDir: join(home, 'store'),
        logLevel: 'debug',
        trustDomain: this.pki.trustDomain,
        tls: tlsOf(node),
        identityKeyFile: node.identityFile,
        listen: { host: '127.0.0.1', port: 0, allow: ['127.0.0.1', '::1'] },
        start: { readyWithinMs: 2_000 },
        health: { intervalMs: 0 },
        ...this.#times,
        banks: this.banks.map(({ code, dial }) => ({
          code,
          dial,
          ...(dial === 'ls' ? { host: '127.0.0.1', port: ports[code] ?? this.portOf(code) } : {}),
          allow: ['127.0.0.1', '::1'],
          identities: [this.node(code).pin],
          ...banks[code],
        })),
      },
      options.config,
    )
  }

  writeXchangeConfig(bankCode: string, options: XchangeStartOptions = {}): string {
    const { name = bankCode, node = this.node(bankCode) } = options
    const dial = this.#dialOf(bankCode, options)
    const { kx, reconnect, drain } = this.#times
    return this.#write(
      name,
      {
        bankCode,
        storeDir: join(this.dir, name, 'store'),
        logLevel: 'debug',
        trustDomain: this.pki.trustDomain,
        tls: tlsOf(node),
        identityKeyFile: node.identityFile,
        dial,
        ls: {
          identities: [this.node('lsd').pin],
          allow: ['127.0.0.1', '::1'],
          ...(dial === 'xchange' ? { host: '127.0.0.1', port: options.port ?? this.#lsPort } : {}),
        },
        ...(dial === 'ls' ? { listen: { host: '127.0.0.1', port: options.port ?? 0 } } : {}),
        kx,
        reconnect,
        drain,
        handlers: { modules: [join(DIST, 'test', 'support', 'test-exchange.js')] },
      },
      options.config,
    )
  }

  /** Stops every daemon, the newest first, and removes the directory. */
  async stop(): Promise<void> {
    try {
      for (let stop = this.#stops.pop(); stop !== undefined; stop = this.#stops.pop()) await stop()
    } finally {
      rmSync(this.dir, { recursive: true, force: true })
    }
  }

  #dialOf(bankCode: string, options: XchangeStartOptions): 'ls' | 'xchange' {
    return options.dial ?? this.banks.find((bank) => bank.code === bankCode)?.dial ?? 'ls'
  }

  #notePort(bankCode: string, options: XchangeStartOptions, port: number): void {
    if (this.#dialOf(bankCode, options) === 'ls') this.#ports.set(bankCode, port)
  }

  /** JSON is YAML too. */
  #write(name: string, config: Overrides, overrides: Overrides = {}): string {
    const file = join(this.dir, `${name}-${++this.#written}.yaml`)
    mkdirSync(join(this.dir, name), { recursive: true })
    writeFileSync(file, JSON.stringify(merged(config, overrides), undefined, 2))
    return file
  }

  #spawn(program: 'lsd' | 'xchanged', name: string, configFile: string, { nodeArguments = [] }: ProcessOptions) {
    const log = new LogCapture(name)
    const child = spawn(
      process.execPath,
      [...nodeArguments, join(DIST, 'bin', `${program}.js`), '--config', configFile],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    const exited = new Promise<number | NodeJS.Signals>((resolve, reject) => {
      child.once('error', reject)
      // `close` comes when the pipes have been read to their end: every line is in the log.
      child.once('close', (code, signal) => {
        log.end()
        resolve(signal ?? code ?? -1)
      })
    })
    exited.catch(() => {})
    captureLines(child, log)
    const kill = async () => {
      child.kill('SIGKILL')
      await exited
    }
    const stop = onlyOnce(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), EXIT_WITHIN_MS)
      await exited
      clearTimeout(timer)
    })
    return { log, pid: child.pid ?? 0, kill, stop, exited, signal: (signal: NodeJS.Signals) => void child.kill(signal) }
  }
}

/** A bed that is stopped with the test. */
export async function testBed(t: Test, options: Parameters<typeof TestBed.create>[0] = {}): Promise<TestBed> {
  const bed = await TestBed.create(options)
  t.teardown(() => bed.stop())
  return bed
}

/** The connections of a test to one LS. */
class Apps {
  readonly #appSocket: string
  readonly #adminSocket: string
  readonly #clients: LsClient[] = []

  constructor(runtimeDir: string) {
    this.#appSocket = join(runtimeDir, 'ls.sock')
    this.#adminSocket = join(runtimeDir, 'ls-admin.sock')
  }

  operations(log: LogCapture): Omit<TestLs, keyof TestDaemon> {
    const admin = async (op: string, fields: Record<string, unknown> = {}) => {
      const client = await connect(this.#adminSocket)
      try {
        return await client.call(op, fields)
      } finally {
        await client.close()
      }
    }
    return {
      appSocket: this.#appSocket,
      adminSocket: this.#adminSocket,
      ask: async (options) => {
        const client = await connect(this.#appSocket)
        try {
          return await client.request(options)
        } finally {
          await client.close()
        }
      },
      connectApp: async () => {
        const client = await connect(this.#appSocket)
        this.#clients.push(client)
        return client
      },
      admin,
      bankStatus: async (bank) => {
        const { banks } = (await admin('status', { bank })) as { banks: BankStatus[] }
        return banks[0] as BankStatus
      },
      connected: async (bankCode, mark = 0) => {
        await log.until({ bankCode, msg: 'channel connected' }, { mark })
      },
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.splice(0).map((client) => client.close()))
  }
}

function captureLines(child: ChildProcess, log: LogCapture): void {
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on('line', (line) => log.write(line))
  }
}

function tlsOf({ keyFile, certFile, caFile }: TestNode): Overrides {
  return { keyFile, certFile, caFile }
}

function onlyOnce(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return () => {
    done ??= work()
    return done
  }
}

function merged(base: Overrides, over: Overrides): Overrides {
  const result: Record<string, unknown> = { ...base }
  for (const [option, value] of Object.entries(over)) {
    const before = result[option]
    result[option] = isSection(before) && isSection(value) ? merged(before, value) : value
  }
  return result
}

function isSection(value: unknown): value is Overrides {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A port on 127.0.0.1 that nobody listens on at the moment: it was given by the system and let go again. */
export async function vacantPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
