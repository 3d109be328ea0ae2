import { setTimeout as wait } from 'node:timers/promises'
import { connect, type LsClient } from '../lib/ipc/index.ts'
import { BANK, type Daemon, type DaemonPair, PLAIN } from './daemons.ts'
import type { Slice } from './load.ts'
import { median, rounded } from './process-usage.ts'
import { milliseconds } from './report.ts'
import type { World } from './world.ts'

const CONCURRENCY = 256
const BODY_BYTES = 256
const SLICE_MS = 1_000
const WARMUP_MS = 1_500
const REKEYS = 5

export interface RekeyReport {
  readonly concurrency: number
  readonly rekeys: number
  readonly requests: number
  readonly lost: number
  readonly firstError: string | undefined
  /** Medians over the seconds with a new key exchange in them, and over those without. */
  readonly rekeyP99Ms: number
  readonly usualP99Ms: number
  readonly rekeyMaxMs: number
  readonly usualMaxMs: number
  /** Of medians. */
  readonly p99Ratio: number
  readonly kxUnderLoadMedianMs: number
}

/** New keys while the channel is full: seconds with a kx and seconds without, in turn. */
export async function measureRekey(world: World, signal: AbortSignal): Promise<RekeyReport> {
  const pair = await world.pair('plain', PLAIN)
  const load = world.child('systems/ours')
  const admin = await connect(pair.adminPath)
  try {
    const endpoint = { tls: world.parties.xchange, socketPath: pair.socketPath }
    await load.startLoad(endpoint, { concurrency: CONCURRENCY, bodyBytes: BODY_BYTES })
    await wait(WARMUP_MS)
    await load.takeSlice()
    const usual: Slice[] = []
    const rekeyed: Slice[] = []
    const durationsMs: number[] = []
    for (let index = 0; index < REKEYS; index++) {
      signal.throwIfAborted()
      await wait(SLICE_MS)
      usual.push(await load.takeSlice())
      const completed = kxCompleted(pair.ls)
      const [kx] = await Promise.all([rekey(admin).then(() => completed), wait(SLICE_MS)])
      durationsMs.push(kx)
      rekeyed.push(await load.takeSlice())
    }
    const { errors, firstError } = await load.stopLoad()
    const p99 = (slices: readonly Slice[]) => rounded(median(slices.map(({ p99Ms }) => p99Ms)), 3)
    const max = (slices: readonly Slice[]) => rounded(median(slices.map(({ maxMs }) => maxMs)), 3)
    return {
      concurrency: CONCURRENCY,
      rekeys: REKEYS,
      requests: [...usual, ...rekeyed].reduce((sum, { completed }) => sum + completed, 0),
      lost: errors,
      firstError,
      rekeyP99Ms: p99(rekeyed),
      usualP99Ms: p99(usual),
      rekeyMaxMs: max(rekeyed),
      usualMaxMs: max(usual),
      p99Ratio: rounded(p99(rekeyed) / p99(usual), 2),
      kxUnderLoadMedianMs: rounded(median(durationsMs), 2),
    }
  } finally {
    await admin.close()
  }
}

export function rekeyText(report: RekeyReport): string {
  const { concurrency, rekeys, requests, lost, firstError, p99Ratio } = report
  const lines = [
    `${rekeys} key exchanges with ${concurrency} requests in flight, ${requests} requests`,
    `  lost                          ${lost}${firstError === undefined ? '' : `: ${firstError}`}`,
    `  p99 of a second with one      ${milliseconds(report.rekeyP99Ms)} ms (longest ${milliseconds(report.rekeyMaxMs)} ms)`,
    `  p99 of a second without       ${milliseconds(report.usualP99Ms)} ms (longest ${milliseconds(report.usualMaxMs)} ms)`,
    `  ratio of the two              ${p99Ratio}`,
    `  kx under this load, median    ${milliseconds(report.kxUnderLoadMedianMs)} ms`,
  ]
  return `${lines.join('\n')}\n`
}

const KX_ROUNDS = 200
const DROP_ROUNDS = 30

export interface KxReport {
  readonly kx: { readonly count: number; readonly medianMs: number; readonly p99Ms: number }
  /** From the dial to the session: TCP, TLS, upgrade, kx. */
  readonly channelUp: { readonly count: number; readonly medianMs: number; readonly p99Ms: number }
}

/** Key exchanges on an idle channel one after the other, then drops: how long LS says that each took. */
export async function measureKx(world: World, signal: AbortSignal): Promise<KxReport> {
  const pair = await world.pair('plain', PLAIN)
  const admin = await connect(pair.adminPath)
  try {
    const kxMs: number[] = []
    for (let index = 0; index < KX_ROUNDS; index++) {
      signal.throwIfAborted()
      const completed = kxCompleted(pair.ls)
      await rekey(admin)
      kxMs.push(await completed)
    }
    const upMs: number[] = []
    for (let index = 0; index < DROP_ROUNDS; index++) {
      signal.throwIfAborted()
      upMs.push(await dropped(pair, admin))
    }
    return { kx: figuresOf(kxMs), channelUp: figuresOf(upMs) }
  } finally {
    await admin.close()
  }
}

export function kxText({ kx, channelUp }: KxReport): string {
  return [
    `${kx.count} key exchanges on a live channel: median ${milliseconds(kx.medianMs)} ms, p99 ${milliseconds(kx.p99Ms)} ms`,
    `${channelUp.count} channels up from the dial (TCP, TLS, kx): median ${milliseconds(channelUp.medianMs)} ms, p99 ${milliseconds(channelUp.p99Ms)} ms`,
    '',
  ].join('\n')
}

function figuresOf(values: readonly number[]) {
  const sorted = [...values].sort((a, b) => a - b)
  return {
    count: values.length,
    medianMs: rounded(median(values), 3),
    p99Ms: rounded(sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0, 3),
  }
}

async function rekey(admin: LsClient): Promise<void> {
  await admin.call('rekey', { bank: BANK })
}

const LOG_WITHIN_MS = 30_000

/** The duration that LS logs at the end of the next kx. */
function kxCompleted(ls: Daemon): Promise<number> {
  return logged(ls, ({ msg, durationMs }) =>
    msg === 'key exchange completed' && typeof durationMs === 'number' ? durationMs : undefined,
  )
}

/** Drops the channel; the time that LS spent dialing and securing until it was back. A dial that failed counts too. */
async function dropped({ ls }: DaemonPair, admin: LsClient): Promise<number> {
  let sumMs = 0
  const back = logged(ls, ({ from, to, durationMs }) => {
    if (typeof durationMs !== 'number' || (from !== 'dialing' && from !== 'securing')) return undefined
    sumMs += durationMs
    return to === 'connected' ? sumMs : undefined
  })
  await admin.call('drop', { bank: BANK })
  return back
}

/** The first figure that `figureOf` finds in the lines of the log from now on. */
function logged(
  daemon: Daemon,
  figureOf: (line: Readonly<Record<string, unknown>>) => number | undefined,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      off()
      reject(new Error('lsd did not log what was waited for'))
    }, LOG_WITHIN_MS)
    const off = daemon.onLine((line) => {
      const figure = figureOf(line)
      if (figure === undefined) return
      clearTimeout(timer)
      off()
      resolve(figure)
    })
  })
}
