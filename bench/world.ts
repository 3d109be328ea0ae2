import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuthority, issueCertificate } from '../lib/certs/index.ts'
import { BenchChild } from './child-process.ts'
import { type DaemonPair, type Parties, startPair, type Variant } from './daemons.ts'

const TRUST_DOMAIN = 'ls-xchange.test'

/** A directory, certificates and every process that a run has started: all of it goes with `stop`. */
export class World {
  readonly dir: string
  readonly parties: Parties
  readonly #stops: (() => Promise<void>)[] = []
  readonly #pairs = new Map<string, Promise<DaemonPair>>()
  #stopped: Promise<void> | undefined
  #counter = 0

  private constructor(dir: string, parties: Parties) {
    this.dir = dir
    this.parties = parties
  }

  static async create(): Promise<World> {
    // Short: the path of a unix socket may have 107 bytes.
    const dir = mkdtempSync(join(tmpdir(), 'lsx-bench-'))
    try {
      const certs = join(dir, 'certs')
      await createAuthority({ dir: certs, trustDomain: TRUST_DOMAIN })
      const ls = await issueCertificate({ dir: certs, role: 'lsd' })
      const xchange = await issueCertificate({ dir: certs, role: 'xchange', bankCode: '044' })
      return new World(dir, { trustDomain: TRUST_DOMAIN, ls, xchange })
    } catch (error) {
      rmSync(dir, { recursive: true, force: true })
      throw error
    }
  }

  newDir(name: string): string {
    return join(this.dir, `${name}-${++this.#counter}`)
  }

  child(module: string): BenchChild {
    this.#checkGoing()
    const child = new BenchChild(module)
    this.onStop(() => child.stop())
    return child
  }

  /** lsd and xchanged of this variant; the same two for all that ask for it. */
  pair(name: string, variant: Variant): Promise<DaemonPair> {
    this.#checkGoing()
    const started =
      this.#pairs.get(name) ??
      startPair(this.newDir(name), this.parties, variant, (daemon) => this.onStop(() => daemon.stop()))
    this.#pairs.set(name, started)
    return started
  }

  onStop(stop: () => Promise<void>): void {
    // What was started while the rest was being stopped ends at once.
    if (this.#stopped === undefined) this.#stops.push(stop)
    else void stop()
  }

  /** Stops the processes, the newest first, and keeps the certificates: for a round with fresh ones. */
  async stopProcesses(): Promise<void> {
    this.#pairs.clear()
    await Promise.all(this.#stops.splice(0).map((stop) => stop()))
  }

  /** Safe to call twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.stopProcesses().then(() => rmSync(this.dir, { recursive: true, force: true }))
    return this.#stopped
  }

  #checkGoing(): void {
    if (this.#stopped !== undefined) throw new Error('the benchmark is being stopped')
  }
}
