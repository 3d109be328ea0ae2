import type { ChildProcess } from 'node:child_process'
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type LsClient } from '../lib/ipc/index.ts'
import { storeDirOf } from './config-files.ts'
import { type LogLine, spawnDaemon } from './daemon-process.ts'
import { flipBit } from './flip-bit.ts'
import { Prng } from './prng.ts'
import type { DaemonName } from './schedule.ts'
import { TestBed } from './test-bed.ts'

export interface FlipOptions {
  readonly dir: string
  readonly seed: string
  /** One bit each, half of them in the store of each daemon. */
  readonly flips: number
  readonly signal: AbortSignal
  readonly onProgress: (line: string) => void
}

export interface FlipFigures {
  readonly seed: string
  readonly flips: number
  /** Requests that were answered before, and are asked again with their keys after each flip. */
  readonly keys: number
  /** The bit was in use nowhere: every key was answered as before. */
  readonly unused: number
  /** The daemon said what is damaged, or did not start and said why; no key was answered wrongly. */
  readonly found: number
  /** Trials in which a key was answered otherwise than before, executed again, or called undone. */
  readonly wrong: number
  readonly wrongTrials: readonly string[]
}

const KEYS = 100
const READY_WITHIN_MS = 20_000
const STOP_WITHIN_MS = 5_000
const ASK_MS = 1_500
/** Of pino: error. */
const ERROR_LEVEL = 50

type FlippedDaemon = Extract<DaemonName, 'lsd' | 'xchanged-044'>

interface Asked {
  readonly key: string
  readonly receipt: string
}

/**
 * One flipped bit at a time in the store of a stopped daemon, which is started again and asked for what it must know.
 * LS has settled durable requests in its journal; a node has the responses to requests in its once-only table.
 */
export async function flipBits(options: FlipOptions): Promise<FlipFigures> {
  const { dir, flips, seed, signal } = options
  const prng = new Prng(`${seed}/flips`)
  const known = await fillStores(dir, signal)
  const counts = { unused: 0, found: 0, wrong: 0 }
  const wrongTrials: string[] = []
  for (const daemon of ['lsd', 'xchanged-044'] as const) {
    const file = join(storeDirOf(dir, daemon), 'data.mdb')
    const intact = readFileSync(file)
    // The node's keys reach it through an LS whose own store is well.
    const ls = daemon === 'lsd' ? undefined : await OwnDaemon.start(dir, 'lsd')
    try {
      for (let trial = 0; trial < Math.floor(flips / 2); trial++) {
        signal.throwIfAborted()
        const bit = prng.integer(0, intact.length * 8 - 1)
        writeFileSync(file, flipBit(intact, bit))
        const verdict = await tryOnce(dir, daemon, known[daemon], ls)
        counts[verdict.kind]++
        if (verdict.kind === 'wrong') wrongTrials.push(`${daemon} bit ${bit}: ${verdict.detail}`)
        options.onProgress(`${daemon} bit ${bit}: ${verdict.kind} ${verdict.detail}`)
      }
    } finally {
      writeFileSync(file, intact)
      await ls?.stop()
    }
  }
  return { seed, flips: counts.unused + counts.found + counts.wrong, keys: 2 * KEYS, ...counts, wrongTrials }
}

async function fillStores(dir: string, signal: AbortSignal): Promise<Record<FlippedDaemon, Asked[]>> {
  const bed = await TestBed.start({ dir, signal })
  const ask = (prefix: string, durable: boolean) =>
    Promise.all(
      Array.from({ length: KEYS }, async (_, index): Promise<Asked> => {
        const key = `${prefix}-${index}`
        const { outcome, payload } = await bed.post('044', { key, durable, timeoutMs: 30_000, signal })
        if (outcome !== 'answered') throw new Error(`${key}: ${outcome}`)
        return { key, receipt: receiptOf(payload) }
      }),
    )
  try {
    const known = { lsd: await ask('durable', true), 'xchanged-044': await ask('plain', false) }
    await bed.stop()
    return known
  } catch (error) {
    await bed.destroy()
    throw error
  }
}

interface Verdict {
  readonly kind: 'unused' | 'found' | 'wrong'
  readonly detail: string
}

async function tryOnce(
  dir: string,
  name: FlippedDaemon,
  known: readonly Asked[],
  ls: OwnDaemon | undefined,
): Promise<Verdict> {
  const connected = ls?.next((line) => line.msg === 'channel connected' && line.bankCode === '044')
  const daemon = await OwnDaemon.start(dir, name)
  try {
    if (!daemon.isRunning) return { kind: 'found', detail: `does not start: ${daemon.lastWord}` }
    // A node that is up and yet keeps no channel: then it has ended meanwhile, and said why.
    const isUp = connected === undefined || (await Promise.race([connected, daemon.ended.then(() => false)]))
    if (!isUp) return { kind: 'found', detail: `ends: ${daemon.lastWord}` }
    const wrong = await askAll(dir, known, name === 'lsd')
    if (wrong.length > 0) return { kind: 'wrong', detail: wrong.slice(0, 3).join('; ') }
    await daemon.stop()
    const { complaint } = daemon
    return complaint === undefined ? { kind: 'unused', detail: '' } : { kind: 'found', detail: complaint }
  } finally {
    await daemon.stop()
  }
}

/** Each key again. A doubt is honest; another answer, or the word that nothing was done, is not. */
async function askAll(dir: string, known: readonly Asked[], durable: boolean): Promise<string[]> {
  let client: LsClient
  try {
    client = await connect(join(dir, 'run', 'ls.sock'))
  } catch {
    // It has ended: nothing was answered.
    return []
  }
  try {
    const problems = await Promise.all(
      known.map(async ({ key, receipt }) => {
        const payload = TestBed.posting
        const reply = await client
          .request({ to: '044', method: 'post', payload, key, durable, timeoutMs: ASK_MS })
          .catch(() => undefined)
        if (reply === undefined || reply.outcome === 'in-doubt' || reply.code === 'INTERNAL') return undefined
        if (reply.outcome !== 'answered') return `${key} is called ${reply.outcome} (${reply.code})`
        return receiptOf(reply.payload) === receipt ? undefined : `${key} is answered with another receipt`
      }),
    )
    return problems.filter((problem) => problem !== undefined)
  } finally {
    await client.close()
  }
}

/** A daemon that is started once and not again. */
class OwnDaemon {
  readonly ended: Promise<void>
  readonly #process: ChildProcess
  readonly #listeners = new Set<(line: LogLine) => void>()
  #complaint: string | undefined
  #lastWord = ''

  private constructor(dir: string, name: FlippedDaemon) {
    const log = createWriteStream(join(dir, 'logs', `${name}.log`), { flags: 'a' })
    this.#process = spawnDaemon(
      {
        program: name === 'lsd' ? 'lsd' : 'xchanged',
        configFile: join(dir, `${name}.yaml`),
        env: TestBed.environmentOf(dir, name),
      },
      (text, line) => {
        log.write(`${text}\n`)
        this.#receive(text, line)
      },
    )
    this.ended = new Promise((resolve) =>
      this.#process.once('close', () => {
        log.end()
        resolve()
      }),
    )
  }

  /** Resolves when it is ready, or has ended. */
  static async start(dir: string, name: FlippedDaemon): Promise<OwnDaemon> {
    const daemon = new OwnDaemon(dir, name)
    const ready = daemon.next((line) => line.notify === 'READY=1')
    await Promise.race([ready, daemon.ended, delay(READY_WITHIN_MS, undefined, { ref: false })])
    return daemon
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** The first line that says that something is wrong. */
  get complaint(): string | undefined {
    return this.#complaint
  }

  get lastWord(): string {
    return this.#complaint ?? this.#lastWord
  }

  next(isIt: (line: LogLine) => boolean): Promise<true> {
    return new Promise((resolve) => {
      const listener = (line: LogLine) => {
        if (!isIt(line)) return
        this.#listeners.delete(listener)
        resolve(true)
      }
      this.#listeners.add(listener)
    })
  }

  async stop(): Promise<void> {
    if (!this.isRunning) return
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_WITHIN_MS)
    await this.ended
    clearTimeout(timer)
  }

  #receive(text: string, line: LogLine | undefined): void {
    this.#lastWord = line === undefined ? text : String(line.msg)
    if (line === undefined) return
    if (typeof line.level === 'number' && line.level >= ERROR_LEVEL) this.#complaint ??= String(line.msg)
    for (const listener of this.#listeners) listener(line)
  }
}

function receiptOf(payload: unknown): string {
  if (typeof payload !== 'object' || payload === null || !('receipt' in payload)) throw new Error('no receipt')
  return String(payload.receipt)
}
