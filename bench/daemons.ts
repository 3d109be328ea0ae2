import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { IssuedFiles } from '../lib/certs/index.ts'
import { loadLsConfig } from '../lib/ls/index.ts'
import { createSigningKeyFiles } from '../lib/message/jws/index.ts'
import { LsxError } from '../lib/runtime/index.ts'
import { endProcess } from './child-process.ts'

const DIST = fileURLToPath(new URL('../', import.meta.url))
const READY_WITHIN_MS = 60_000
const STOPS_WITHIN_MS = 15_000
const LOOPBACK = ['127.0.0.1', '::1']

export const BANK = '044'

export type Section = Readonly<Record<string, unknown>>

/** Sections of the configuration that a variant of our path has beside the defaults. */
export interface Variant {
  readonly ls: Section
  readonly xchange: Section
}

export const PLAIN: Variant = { ls: {}, xchange: {} }

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
  const xchange = new Daemon('xchanged', writeXchangeConfig(dir, parties, port, variant))
  onStarted(xchange)
  await xchange.ready()
  const ls = new Daemon('lsd', writeLsConfig(dir, parties, port, variant))
  onStarted(ls)
  await ls.ready()
  const run = join(dir, 'run')
  return { ls, xchange, socketPath: join(run, 'ls.sock'), adminPath: join(run, 'ls-admin.sock') }
}

/** Undefined where LS's configuration takes the sections of this variant, else what it says about them. */
export function whyNotOffered(dir: string, parties: Parties, variant: Variant): string | undefined {
  try {
    loadLsConfig(writeLsConfig(dir, parties, 1, variant), {})
    return undefined
  } catch (error) {
    if (error instanceof LsxError) return error.message.replace(/^.*\n\s*/, '')
    throw error
  }
}

function writeLsConfig(dir: string, { trustDomain, ls, xchange }: Parties, bankPort: number, variant: Variant): string {
  return writeConfig(dir, 'ls.yaml', {
    runtimeDir: join(dir, 'run'),
    storeDir: join(dir, 'ls-store'),
    trustDomain,
    ...filesOf(ls),
    listen: { host: '127.0.0.1', port: 0, allow: LOOPBACK },
    banks: [{ code: BANK, host: '127.0.0.1', port: bankPort, allow: LOOPBACK, identities: [xchange.pin] }],
    ...variant.ls,
    ...signingOf(dir, 'ls', variant.ls),
  })
}

function writeXchangeConfig(
  dir: string,
  { trustDomain, ls, xchange }: Parties,
  port: number,
  variant: Variant,
): string {
  return writeConfig(dir, 'xchange.yaml', {
    bankCode: BANK,
    storeDir: join(dir, 'xchange-store'),
    trustDomain,
    ...filesOf(xchange),
    ls: { identities: [ls.pin], allow: LOOPBACK },
    listen: { host: '127.0.0.1', port },
    handlers: { modules: [join(DIST, 'bench', 'systems', 'echo-exchange.js')] },
    ...variant.xchange,
    ...signingOf(dir, BANK, variant.xchange),
  })
}

/** The keys that a variant's section for signatures needs. */
function signingOf(dir: string, party: string, { signing }: Section): Section {
  if (signing === undefined) return {}
  const files = { keyFile: join(dir, `${party}-jws.key`), directory: join(dir, 'keys') }
  createSigningKeyFiles({ ...files, party })
  return { signing: { ...(signing as Section), ...files } }
}

export function filesOf({ keyFile, certFile, caFile, identityFile }: IssuedFiles): Section {
  return { tls: { keyFile, certFile, caFile }, identityKeyFile: identityFile }
}

/** JSON is YAML too. */
export function writeConfig(dir: string, name: string, config: Section): string {
  mkdirSync(dir, { recursive: true })
  const file = join(dir, name)
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 })
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
