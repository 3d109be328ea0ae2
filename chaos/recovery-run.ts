import { setTimeout as delay } from 'node:timers/promises'
import { monotonicMs } from './monotonic.ts'
import { percentile } from './recovery.ts'
import { TestBed } from './test-bed.ts'
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
  const bed = await TestBed.start(options)
  try {
    const recoveries: Recovery[] = []
    for (let round = 0; round < options.kills; round++) {
      for (const bankCode of BANKS) {
        await delay(UP_BETWEEN_KILLS_MS, undefined, { signal: options.signal })
        const recovery = await killOnce(bed, bankCode, options.signal)
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

async function killOnce(bed: TestBed, bankCode: BankCode, signal: AbortSignal): Promise<Recovery> {
  const ready = bed.nextReady(`xchanged-${bankCode}`)
  const killedAtMs = monotonicMs()
  bed.daemon(`xchanged-${bankCode}`).kill()
  const answeredAtMs = await firstAnswer(bed, bankCode, signal)
  return { bankCode, listeningMs: (await ready) - killedAtMs, answeredMs: answeredAtMs - killedAtMs }
}

/** One request at a time. The first may have left before LS saw the end of the node: it is in doubt, and not the one. */
async function firstAnswer(bed: TestBed, bankCode: BankCode, signal: AbortSignal): Promise<number> {
  for (;;) {
    const { outcome, code } = await bed.post(bankCode, { timeoutMs: ANSWER_WITHIN_MS, signal })
    if (outcome === 'answered') return monotonicMs()
    if (outcome !== 'in-doubt') throw new Error(`${bankCode}: ${outcome} ${code}`)
  }
}
