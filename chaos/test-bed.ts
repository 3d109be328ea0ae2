import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type LsClient, type Reply } from '../lib/ipc/index.ts'
import { issueNodes, type Nodes, storeDirOf, writeLsConfig, writeXchangeConfig } from './config-files.ts'
import { DaemonChild } from './daemon-child.ts'
import type { LogLine } from './daemon-process.ts'
import { EXECUTION_LOG_VARIABLE } from './execution-ledger.ts'
import { monotonicMs } from './monotonic.ts'
import type { DaemonName } from './schedule.ts'
import { vacantPort } from './vacant-port.ts'
import { BANKS, type BankCode } from './workload.ts'

const CONNECTED_WITHIN_MS = 60_000
const POLL_MS = 20

interface Ports {
  readonly bankPort: number
  readonly lsPort: number
}

/** LS and two banks with the default times and nothing in between, each in a process of its own. 044 is dialled, 058 dials. */
export class TestBed {
  readonly #daemons: ReadonlyMap<DaemonName, DaemonChild>
  readonly #readyListeners = new Map<DaemonName, (atMs: number) => void>()
  readonly #connected = new Set<unknown>()
  readonly #appSocket: string
  #client: LsClient | undefined

  private constructor(dir: string, nodes: Nodes, ports: Ports) {
    this.#appSocket = join(dir, 'run', 'ls.sock')
    const daemon = (name: DaemonName, configFile: string, env: Record<string, string> = {}) =>
      [
        name,
        new DaemonChild({
          name,
          program: name === 'lsd' ? 'lsd' : 'xchanged',
          configFile,
          env,
          logFile: join(dir, 'logs', `${name}.log`),
          onLine: (line) => this.#onLine(name, line),
          onDeath: () => {},
        }),
      ] as const
    this.#daemons = new Map<DaemonName, DaemonChild>([
      daemon('lsd', writeLsConfig({ dir, nodes, ...ports, pace: 'usual' })),
      ...BANKS.map((bank) =>
        daemon(
          `xchanged-${bank}`,
          writeXchangeConfig({ dir, nodes, bank, lsPort: ports.lsPort, port: ports.bankPort, pace: 'usual' }),
          TestBed.environmentOf(dir, `xchanged-${bank}`),
        ),
      ),
    ])
  }

  static readonly posting = Object.freeze({ amountMinor: 1, workMs: 0, declines: false })

  /** What the handlers of a node find in their environment. */
  static environmentOf(dir: string, name: DaemonName): Record<string, string> {
    if (name === 'lsd') return {}
    const bank = name.slice('xchanged-'.length)
    return { [EXECUTION_LOG_VARIABLE]: join(dir, 'banks', `executions-${bank}.ndjson`) }
  }

  /** Everything lives below `dir`. */
  static async start({ dir, signal }: { readonly dir: string; readonly signal: AbortSignal }): Promise<TestBed> {
    for (const name of ['run', 'stores', 'logs', 'banks']) mkdirSync(join(dir, name), { mode: 0o700 })
    const nodes = await issueNodes(join(dir, 'certs'), BANKS)
    const bed = new TestBed(dir, nodes, { bankPort: await vacantPort(), lsPort: await vacantPort() })
    for (const name of bed.#daemons.keys()) mkdirSync(storeDirOf(dir, name), { mode: 0o700 })
    try {
      for (const daemon of bed.#daemons.values()) daemon.start()
      await bed.connected(signal)
      bed.#client = await connect(bed.#appSocket)
      return bed
    } catch (error) {
      await bed.destroy()
      throw error
    }
  }

  daemon(name: DaemonName): DaemonChild {
    const daemon = this.#daemons.get(name)
    if (daemon === undefined) throw new Error(`there is no ${name}`)
    return daemon
  }

  /** When the daemon says the next time that it is ready. */
  nextReady(name: DaemonName): Promise<number> {
    return new Promise((resolve) => this.#readyListeners.set(name, resolve))
  }

  /** Resolves when the channels to both banks are up. */
  async connected(signal: AbortSignal): Promise<void> {
    const endMs = monotonicMs() + CONNECTED_WITHIN_MS
    while (this.#connected.size < BANKS.length) {
      if (monotonicMs() > endMs) throw new Error('the channels did not come up; see the logs of the daemons')
      await delay(POLL_MS, undefined, { signal })
    }
  }

  /** Ends the daemon and starts it with `wrapper` in front of its command line. Resolves when both channels are up. */
  async restart(name: DaemonName, wrapper: readonly string[], signal: AbortSignal): Promise<void> {
    const ready = this.nextReady(name)
    this.#connected.clear()
    if (name !== 'lsd') for (const bank of BANKS) if (name !== `xchanged-${bank}`) this.#connected.add(bank)
    this.daemon(name).kill({ wrapper })
    await Promise.race([ready, expired(CONNECTED_WITHIN_MS, `${name} did not start`, signal)])
    await this.connected(signal)
    if (name === 'lsd') this.#client = await connect(this.#appSocket)
  }

  /** One posting to the books of a bank. */
  post(
    to: BankCode,
    options: { timeoutMs: number; durable?: boolean; key?: string; signal: AbortSignal },
  ): Promise<Reply> {
    if (this.#client === undefined) throw new Error('the bed was not started')
    return this.#client.request({ to, method: 'post', payload: TestBed.posting, ...options })
  }

  /** Drains and ends all daemons, LS first. */
  async stop(): Promise<void> {
    await this.#client?.close()
    for (const daemon of this.#daemons.values()) await daemon.stop()
  }

  async destroy(): Promise<void> {
    await this.#client?.close()
    await Promise.all([...this.#daemons.values()].map((daemon) => daemon.destroy()))
  }

  #onLine(name: DaemonName, line: LogLine): void {
    if (line.notify === 'READY=1') this.#readyListeners.get(name)?.(monotonicMs())
    if (name === 'lsd' && line.msg === 'channel connected') this.#connected.add(line.bankCode)
  }
}

async function expired(ms: number, message: string, signal: AbortSignal): Promise<never> {
  await delay(ms, undefined, { signal, ref: false })
  throw new Error(message)
}
