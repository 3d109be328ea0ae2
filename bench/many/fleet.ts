import { type ChildProcess, fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createAuthority, type IssuedFiles, issueCertificate } from '../../lib/certs/index.ts'
import { endProcess } from '../child-process.ts'
import { Daemon, filesOf, freePort, type Section, writeConfig } from '../daemons.ts'
import type { FarmAnswer, FarmCommand } from './farm.ts'

const FARM = fileURLToPath(new URL('./farm.js', import.meta.url))
const MEMORY_HOOK = new URL('./memory-hook.js', import.meta.url).href
const TRUST_DOMAIN = 'ls-xchange.test'
const LOOPBACK = ['127.0.0.1', '::1']

export interface FleetOptions {
  readonly dir: string
  readonly banks: number
  readonly dial: 'ls' | 'xchange'
  readonly echoIntervalMs: number
  /** Laid over LS's configuration. */
  readonly ls: Section
  /** Arguments of node for lsd, such as `--cpu-prof`. */
  readonly nodeArguments: readonly string[]
}

interface BankEntry {
  readonly code: string
  readonly pin: string
  port: number
}

/** Memory of lsd in bytes, before and after what nobody needs was collected. */
export interface LsMemory {
  readonly residentBytes: number
  readonly collectedBytes: number
  /** Of the collected: of the process's own, and pages of files such as the store's. */
  readonly anonymousBytes: number
  readonly fileBytes: number
  readonly heapTotal: number
  readonly heapUsed: number
  readonly external: number
}

/** One LS and many banks: certificates, configurations, the process of the banks, and lsd as often as it is started. */
export class Fleet {
  readonly #options: FleetOptions
  readonly #ls: IssuedFiles
  readonly #lsPort: number
  readonly #banks: readonly BankEntry[]
  /** Pinned for a bank that is never to be keyed. */
  readonly failingPin: string
  #farm: ChildProcess | undefined
  #daemon: Daemon | undefined

  private constructor(
    options: FleetOptions,
    parts: { ls: IssuedFiles; lsPort: number; banks: readonly BankEntry[]; failingPin: string },
  ) {
    this.#options = options
    this.#ls = parts.ls
    this.#lsPort = parts.lsPort
    this.#banks = parts.banks
    this.failingPin = parts.failingPin
  }

  /** Issues all certificates, and starts the banks. */
  static async create(options: FleetOptions, signal: AbortSignal): Promise<Fleet> {
    const { dir, banks } = options
    const certs = join(dir, 'certs')
    await createAuthority({ dir: certs, trustDomain: TRUST_DOMAIN })
    const ls = await issueCertificate({ dir: certs, role: 'lsd' })
    const lsPort = await freePort()
    const entries: BankEntry[] = []
    const configFiles: string[] = []
    for (let index = 0; index < banks; index++) {
      signal.throwIfAborted()
      const code = `b${String(index).padStart(5, '0')}`
      const issued = await issueCertificate({ dir: certs, role: 'xchange', bankCode: code })
      entries.push({ code, pin: issued.pin, port: 0 })
      configFiles.push(bankConfig(options, code, issued, ls.pin, lsPort))
    }
    const { pin: failingPin } = await issueCertificate({ dir: certs, role: 'xchange', bankCode: 'failing' })
    const fleet = new Fleet(options, { ls, lsPort, banks: entries, failingPin })
    await fleet.#startFarm(configFiles)
    return fleet
  }

  get codes(): readonly string[] {
    return this.#banks.map(({ code }) => code)
  }

  get socketPath(): string {
    return join(this.#options.dir, 'run', 'ls.sock')
  }

  get adminPath(): string {
    return join(this.#options.dir, 'run', 'ls-admin.sock')
  }

  get lsPid(): number {
    return this.#daemon?.pid ?? 0
  }

  /** Starts lsd with the first so many banks. Returns at once. */
  startLs(banks: number): Daemon {
    const configFile = this.writeLsConfig(banks)
    this.#daemon = new Daemon('lsd', configFile, [
      '--expose-gc',
      '--import',
      MEMORY_HOOK,
      ...this.#options.nodeArguments,
    ])
    return this.#daemon
  }

  writeLsConfig(banks: number, extraBanks: readonly Section[] = []): string {
    const { dir, dial, echoIntervalMs } = this.#options
    const entries = this.#banks.slice(0, banks).map(({ code, pin, port }) => ({
      code,
      dial,
      allow: LOOPBACK,
      identities: [pin],
      ...(dial === 'ls' ? { host: '127.0.0.1', port } : {}),
    }))
    return writeConfig(dir, 'ls.yaml', {
      runtimeDir: join(dir, 'run'),
      storeDir: join(dir, 'ls-store'),
      trustDomain: TRUST_DOMAIN,
      ...filesOf(this.#ls),
      listen: { host: '127.0.0.1', port: this.#lsPort, allow: LOOPBACK, maxConnections: 65_536 },
      echo: { intervalMs: echoIntervalMs },
      ...this.#options.ls,
      banks: [...entries, ...extraBanks],
    })
  }

  /** When the banks saw so many channels keyed, Unix ms. */
  async untilConnected(count: number): Promise<number> {
    const { atMs } = await this.#ask<{ atMs: number }>({ op: 'until-connected', count })
    return atMs
  }

  /** Memory of the lsd that runs. */
  memory(): Promise<LsMemory> {
    const daemon = this.#daemon
    if (daemon === undefined) throw new Error('no lsd runs')
    return new Promise((resolve) => {
      const off = daemon.onLine(({ memory }) => {
        if (memory === undefined) return
        off()
        resolve(memory as LsMemory)
      })
      daemon.process.kill('SIGUSR2')
    })
  }

  async killLs(): Promise<void> {
    const daemon = this.#daemon
    if (daemon === undefined) return
    const gone = new Promise((resolve) => daemon.process.once('exit', resolve))
    daemon.process.kill('SIGKILL')
    await gone
  }

  async stopLs(): Promise<void> {
    await this.#daemon?.stop()
    this.#daemon = undefined
  }

  async stop(): Promise<void> {
    await Promise.all([this.stopLs(), this.#farm === undefined ? undefined : endProcess(this.#farm)])
  }

  async #startFarm(configFiles: readonly string[]): Promise<void> {
    const file = join(this.#options.dir, 'farm.json')
    writeFileSync(file, JSON.stringify({ configFiles }))
    this.#farm = fork(FARM, [file], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    const { ports } = await this.#ask<{ ports: readonly number[] }>({ op: 'start' })
    for (const [index, bank] of this.#banks.entries()) bank.port = ports[index] ?? 0
  }

  #ask<T>(command: FarmCommand): Promise<T> {
    const farm = this.#farm
    if (farm === undefined) throw new Error('the banks have not been started')
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('the process of the banks has ended'))
      farm.once('exit', onExit)
      farm.once('message', (answer: FarmAnswer) => {
        farm.off('exit', onExit)
        if (answer.ok) resolve(answer.result as T)
        else reject(new Error(`the banks: ${answer.message}`))
      })
      farm.send(command)
    })
  }
}

function bankConfig(
  { dir, dial }: FleetOptions,
  code: string,
  files: IssuedFiles,
  lsPin: string,
  lsPort: number,
): string {
  return writeConfig(join(dir, 'banks'), `${code}.yaml`, {
    bankCode: code,
    storeDir: join(dir, 'banks', `${code}-store`),
    trustDomain: TRUST_DOMAIN,
    ...filesOf(files),
    dial,
    ls: { identities: [lsPin], allow: LOOPBACK, ...(dial === 'xchange' ? { host: '127.0.0.1', port: lsPort } : {}) },
    ...(dial === 'ls' ? { listen: { host: '127.0.0.1', port: 0 } } : {}),
    // Not used here: the banks of the farm share one handler.
    handlers: { modules: ['none.js'] },
  })
}
