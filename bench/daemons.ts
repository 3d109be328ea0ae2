import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { IssuedFiles } from '../lib/certs/index.ts'
import { createIlpSecretFile } from '../lib/message/ilp/index.ts'
import { createSigningKeyFiles } from '../lib/message/jws/index.ts'
import { endProcess } from './child-process.ts'

const DIST = fileURLToPath(new URL('../', import.meta.url))
const READY_WITHIN_MS = 60_000
const STOPS_WITHIN_MS = 15_000
const LOOPBACK = ['127.0.0.1', '::1']

export const BANK = '044'
/** Of the bank of the benchmark, `systems/echo-exchange.ts`. */
const METHODS = ['echo', 'echo-once']

export type Section = Readonly<Record<string, unknown>>

/** What our path is configured to do beside the defaults. */
export interface Variant {
  /** Both daemons sign what they send and verify what they get: one signature for a batch, or a JWS for each message. */
  readonly signing?: 'batch' | 'each'
  /** LS makes an ILP packet for each request, and believes no answer without the fulfilment. */
  readonly ilp?: boolean
}

export const PLAIN: Variant = {}

export interface Parties {
  readonly trustDomain: string
  readonly ls: IssuedFiles
  readonly xchange: IssuedFiles
}

/** A line of a daemon's log. */
export type LogLine = Readonly<Record<string, unknown>>

/** One of our daemons as a process, ready. */
export class Daemon {
  readonly process: ChildProcess
  readonly pid: number
  readonly #listeners = new Set<(line: LogLine) => void>()

  constructor(program: string, configFile: string, nodeArguments: readonly string[] = []) {
    const file = join(DIST, 'bin', `${program}.js`)
    this.process = spawn(process.execPath, [...nodeArguments, file, '--config', configFile], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // Out of the terminal's group: Ctrl-C ends the benchmark, and that ends its daemons.
      detached: true,
    })
    this.pid = this.process.pid ?? 0
    if (this.process.stdout !== null) {
      createInterface({ input: this.process.stdout }).on('line', (text) => {
        if (this.#listeners.size === 0) return
        const line = JSON.parse(text) as LogLine
        for (const listener of this.#listeners) listener(line)
      })
    }
  }

  /** Calls `listener` with each line of the log from now on, until the returned function is called. */
  onLine(listener: (line: LogLine) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The line that says it is ready. */
  ready(): Promise<LogLine> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not ready after ${READY_WITHIN_MS} ms`)), READY_WITHIN_MS)
      const off = this.onLine((line) => {
        if (line.notify !== 'READY=1') return
        clearTimeout(timer)
        off()
        resolve(line)
      })
      this.process.once('exit', (code) => {
        clearTimeout(timer)
        reject(new Error(`a daemon ended with ${code} before it was ready`))
      })
    })
  }

  stop(): Promise<void> {
    return endProcess(this.process, STOPS_WITHIN_MS)
  }
}

/** lsd and the node of one bank, connected. */
export interface DaemonPair {
  readonly ls: Daemon
  readonly xchange: Daemon
  readonly socketPath: string
  readonly adminPath: string
}

export async function startPair(
  dir: string,
  parties: Parties,
  variant: Variant,
  onStarted: (daemon: Daemon) => void,
): Promise<DaemonPair> {
  const port = await freePort()
  makeKeys(dir, variant)
  const xchange = new Daemon('xchanged', writeXchangeConfig(dir, parties, port, variant))
  onStarted(xchange)
  await xchange.ready()
  const ls = new Daemon('lsd', writeLsConfig(dir, parties, port, variant))
  onStarted(ls)
  await ls.ready()
  const run = join(dir, 'run')
  return { ls, xchange, socketPath: join(run, 'ls.sock'), adminPath: join(run, 'ls-admin.sock') }
}

const LS_PARTY = 'ls'

const signingKeyFile = (dir: string, party: string) => join(dir, `${party}-jws.key`)
const signingDirectory = (dir: string) => join(dir, 'jws-keys')
const ilpSecretFile = (dir: string) => join(dir, 'ilp.secret')

function makeKeys(dir: string, { signing, ilp = false }: Variant): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  if (ilp) createIlpSecretFile(ilpSecretFile(dir))
  if (signing === undefined) return
  for (const party of [LS_PARTY, BANK]) {
    createSigningKeyFiles({ keyFile: signingKeyFile(dir, party), directory: signingDirectory(dir), party })
  }
}

function signingOf(dir: string, party: string, { signing }: Variant): Section {
  if (signing === undefined) return {}
  return { signing: { mode: signing, keyFile: signingKeyFile(dir, party), directory: signingDirectory(dir) } }
}

function writeLsConfig(dir: string, { trustDomain, ls, xchange }: Parties, bankPort: number, variant: Variant): string {
  const { ilp = false } = variant
  return writeConfig(dir, 'ls.yaml', {
    runtimeDir: join(dir, 'run'),
    storeDir: join(dir, 'ls-store'),
    trustDomain,
    ...filesOf(ls),
    ...signingOf(dir, LS_PARTY, variant),
    ...(ilp ? { ilp: { methods: METHODS } } : {}),
    listen: { host: '127.0.0.1', port: 0, allow: LOOPBACK },
    banks: [
      {
        code: BANK,
        host: '127.0.0.1',
        port: bankPort,
        allow: LOOPBACK,
        identities: [xchange.pin],
        ...(ilp ? { ilpSecretFile: ilpSecretFile(dir) } : {}),
      },
    ],
  })
}

function writeXchangeConfig(
  dir: string,
  { trustDomain, ls, xchange }: Parties,
  port: number,
  variant: Variant,
): string {
  const { ilp = false } = variant
  return writeConfig(dir, 'xchange.yaml', {
    bankCode: BANK,
    storeDir: join(dir, 'xchange-store'),
    trustDomain,
    ...filesOf(xchange),
    ...signingOf(dir, BANK, variant),
    ...(ilp ? { ilp: { methods: METHODS, secretFiles: [ilpSecretFile(dir)] } } : {}),
    ls: { identities: [ls.pin], allow: LOOPBACK },
    listen: { host: '127.0.0.1', port },
    handlers: { modules: [join(DIST, 'bench', 'systems', 'echo-exchange.js')] },
  })
}

export function filesOf({ keyFile, certFile, caFile, identityFile }: IssuedFiles): Section {
  return { tls: { keyFile, certFile, caFile }, identityKeyFile: identityFile }
}

/** JSON is YAML too. */
export function writeConfig(dir: string, name: string, config: Section): string {
  mkdirSync(dir, { recursive: true })
  const file = join(dir, name)
  writeFileSync(file, JSON.stringify(config))
  return file
}

/** A port on 127.0.0.1 that nobody listens on at the moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port')),
      )
    })
  })
}
