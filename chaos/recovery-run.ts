import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type LsClient } from '../lib/ipc/index.ts'
import { issueNodes, storeDirOf, writeLsConfig, writeXchangeConfig } from './config-files.ts'
import { DaemonChild, type LogLine } from './daemon-child.ts'
import { EXECUTION_LOG_VARIABLE } from './execution-ledger.ts'
import { monotonicMs } from './monotonic.ts'
import { percentile } from './recovery.ts'
import { BANKS, type BankCode } from './workload.ts'

export interface RecoveryOptions {
  readonly dir: string
  /** Of each bank's node. */
  readonly kills: number
  readonly signal: AbortSignal
  readonly onProgress: (line: string) => void
}

/** One kill of a node: when its successor said that it listened, and when the first request was answered, after the kill. */
export interface Recovery {
  readonly bankCode: BankCode
  readonly listeningMs: number
  readonly answeredMs: number
}

export interface RecoveryFigures {
  readonly kills: number
  /** From listening (058: from its first dial) to the first answer. */
  readonly fromListening: Readonly<Record<BankCode | 'all', Spread>>
  /** From the kill, the start of the new process included. */
  readonly fromKill: Readonly<Record<BankCode | 'all', Spread>>
}

export interface Spread {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Longer than a channel must be up to count as one that served. */
const UP_BETWEEN_KILLS_MS = 1_300
const ANSWER_WITHIN_MS = 60_000

/**
 * How long a bank is away when its node is killed and started again at once: daemons with their default times, one request
 * waiting at LS all the while. 044 is dialled, 058 dials.
 */
export async function measureRecovery(options: RecoveryOptions): Promise<RecoveryFigures> {
  const bed = await RecoveryBed.start(options)
  try {
    const recoveries: Recovery[] = []
    for (let round = 0; round < options.kills; round++) {
      for (const bankCode of BANKS) {
        await delay(UP_BETWEEN_KILLS_MS, undefined, { signal: options.signal })
        const recovery = await bed.killOnce(bankCode, options.signal)
        options.onProgress(`${bankCode} ${recovery.listeningMs.toFixed(0)} ms ${recovery.answeredMs.toFixed(0)} ms`)
        recoveries.push(recovery)
      }
    }
    return figuresOf(recoveries)
  } finally {
    await bed.destroy()
  }
}

export function figuresOf(recoveries: readonly Recovery[]): RecoveryFigures {
  const spreads = (timeOf: (recovery: Recovery) => number) => {
    const of = (code: BankCode | 'all') =>
      spreadOf(recoveries.filter(({ bankCode }) => code === 'all' || bankCode === code).map(timeOf))
    return { '044': of('044'), '058': of('058'), all: of('all') }
  }
  return {
    kills: recoveries.length,
    fromListening: spreads(({ answeredMs, listeningMs }) => answeredMs - listeningMs),
    fromKill: spreads(({ answeredMs }) => answeredMs),
  }
}

function spreadOf(timesMs: readonly number[]): Spread {
  const sorted = [...timesMs].sort((one, other) => one - other)
  const at = (share: number) => Math.round(percentile(sorted, share))
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) }
}

class RecoveryBed {
  readonly #daemons: readonly DaemonChild[]
  readonly #nodes: ReadonlyMap<BankCode, DaemonChild>
  readonly #listening: Map<BankCode, (atMs: number) => void>
  readonly #client: LsClient

  private constructor(
    daemons: readonly DaemonChild[],
    nodes: ReadonlyMap<BankCode, DaemonChild>,
    listening: Map<BankCode, (atMs: number) => void>,
    client: LsClient,
  ) {
    this.#daemons = daemons
    this.#nodes = nodes
    this.#listening = listening
    this.#client = client
  }

  static async start({ dir, signal }: RecoveryOptions): Promise<RecoveryBed> {
    for (const name of ['run', 'stores', 'logs', 'banks']) mkdirSync(join(dir, name), { mode: 0o700 })
    for (const name of ['lsd', ...BANKS.map((bank) => `xchanged-${bank}`)])
      mkdirSync(storeDirOf(dir, name), { mode: 0o700 })
    const nodes = await issueNodes(join(dir, 'certs'), BANKS)
    const [bankPort, lsPort] = [await vacantPort(), await vacantPort()]
    const pace = 'usual'
    const listening = new Map<BankCode, (atMs: number) => void>()
    const xchanges = new Map(
      BANKS.map((bank) => {
        const name = `xchanged-${bank}`
        const child = new DaemonChild({
          name,
          program: 'xchanged',
          configFile: writeXchangeConfig({ dir, nodes, bank, lsPort, port: bankPort, pace }),
          env: { [EXECUTION_LOG_VARIABLE]: join(dir, 'banks', `executions-${bank}.ndjson`) },
          logFile: join(dir, 'logs', `${name}.log`),
          onLine: (line) => {
            if (line.notify === 'READY=1') listening.get(bank)?.(monotonicMs())
          },
          onDeath: () => {},
        })
        return [bank, child] as const
      }),
    )
    const connected = new Set<unknown>()
    const lsd = new DaemonChild({
      name: 'lsd',
      program: 'lsd',
      configFile: writeLsConfig({ dir, nodes, bankPort, lsPort, pace }),
      logFile: join(dir, 'logs', 'lsd.log'),
      onLine: (line: LogLine) => {
        if (line.msg === 'channel connected') connected.add(line.bankCode)
      },
      onDeath: () => {},
    })
    const daemons = [lsd, ...xchanges.values()]
    try {
      for (const daemon of daemons) daemon.start()
      const endMs = monotonicMs() + ANSWER_WITHIN_MS
      while (connected.size < BANKS.length) {
        if (monotonicMs() > endMs) throw new Error('the daemons did not come up; see their logs')
        await delay(50, undefined, { signal })
      }
      return new RecoveryBed(daemons, xchanges, listening, await connect(join(dir, 'run', 'ls.sock')))
    } catch (error) {
      await Promise.all(daemons.map((daemon) => daemon.destroy()))
      throw error
    }
  }

  async killOnce(bankCode: BankCode, signal: AbortSignal): Promise<Recovery> {
    const listening = new Promise<number>((resolve) => this.#listening.set(bankCode, resolve))
    const killedAtMs = monotonicMs()
    this.#nodes.get(bankCode)?.kill()
    const answeredAtMs = await this.#firstAnswer(bankCode, signal)
    return { bankCode, listeningMs: (await listening) - killedAtMs, answeredMs: answeredAtMs - killedAtMs }
  }

  /** One request at a time. The first may have left before LS saw the end of the node: it is in doubt, and not the one. */
  async #firstAnswer(bankCode: BankCode, signal: AbortSignal): Promise<number> {
    for (;;) {
      const reply = await this.#client.request({
        to: bankCode,
        method: 'post',
        payload: { amountMinor: 1, workMs: 0, declines: false },
        timeoutMs: ANSWER_WITHIN_MS,
        signal,
      })
      if (reply.outcome === 'answered') return monotonicMs()
      if (reply.outcome !== 'in-doubt') throw new Error(`${bankCode}: ${reply.outcome} ${reply.code}`)
    }
  }

  async destroy(): Promise<void> {
    await this.#client.close()
    await Promise.all(this.#daemons.map((daemon) => daemon.destroy()))
  }
}

/** A port that nobody listens on now: the node that is started again must be found where it was. */
async function vacantPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
