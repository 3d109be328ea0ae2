import { readFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { connect, type LsClient } from '../lib/ipc/index.ts'
import { type BenchDaemons, startDaemons } from './daemons.ts'

/**
 * The routed path end to end: app -> unix socket -> lsd -> sealed batches over wss -> xchanged -> handler and back, plain
 * and durable in turn, so that both meet the same machine. Prints medians over the rounds.
 */

interface Run {
  readonly durable: boolean
  readonly rps: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** CPU microseconds a request, user and system, by process; undefined where the system does not tell. */
  readonly cpuUs: { app: number; ls: number | undefined; xchange: number | undefined }
}

const TICKS_PER_SECOND = 100

/** CPU time of another process in microseconds, where /proc tells. */
function cpuOf(pid: number | undefined): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return ((Number(fields[11]) + Number(fields[12])) * 1_000_000) / TICKS_PER_SECOND
  } catch {
    return undefined
  }
}

function ownCpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

async function measure(
  ls: LsClient,
  daemons: BenchDaemons,
  options: { durable: boolean; requests: number; inFlight: number },
): Promise<Run> {
  const { durable, requests, inFlight } = options
  const latencies: number[] = []
  let left = requests
  const before = { app: ownCpu(), ls: cpuOf(daemons.ls.pid), xchange: cpuOf(daemons.xchange.pid) }
  const startMs = performance.now()
  const caller = async (): Promise<void> => {
    while (left-- > 0) {
      const askedMs = performance.now()
      const reply = await ls.request({
        to: '044',
        method: 'balance',
        payload: { account: '0123456789', pad: PAD },
        durable,
      })
      if (reply.outcome !== 'answered' || reply.code !== undefined) throw new Error(`${reply.outcome} ${reply.code}`)
      latencies.push(performance.now() - askedMs)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  const seconds = (performance.now() - startMs) / 1_000
  const each = (after: number | undefined, from: number | undefined) =>
    after === undefined || from === undefined ? undefined : round((after - from) / requests)
  latencies.sort((a, b) => a - b)
  return {
    durable,
    rps: Math.round(requests / seconds),
    p50Ms: round(latencies[Math.floor(latencies.length * 0.5)] ?? 0),
    p99Ms: round(latencies[Math.floor(latencies.length * 0.99)] ?? 0),
    cpuUs: {
      app: each(ownCpu(), before.app) ?? 0,
      ls: each(cpuOf(daemons.ls.pid), before.ls),
      xchange: each(cpuOf(daemons.xchange.pid), before.xchange),
    },
  }
}

/** Brings the payload to about 256 bytes. */
const PAD = 'x'.repeat(210)

function round(value: number): number {
  return Math.round(value * 100) / 100
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      requests: { type: 'string', default: '20000' },
      'in-flight': { type: 'string', default: '256' },
      rounds: { type: 'string', default: '3' },
      json: { type: 'boolean', default: false },
    },
  })
  const [requests, inFlight, rounds] = [Number(values.requests), Number(values['in-flight']), Number(values.rounds)]
  const daemons = await startDaemons()
  const runs: Run[] = []
  try {
    const ls = await connect(daemons.socketPath)
    for (const durable of [false, true])
      await measure(ls, daemons, { durable, requests: Math.ceil(requests / 4), inFlight })
    for (let index = 0; index < rounds; index++) {
      for (const durable of [false, true]) runs.push(await measure(ls, daemons, { durable, requests, inFlight }))
    }
    ls.close()
  } finally {
    await daemons.stop()
  }
  const rpsOf = (durable: boolean) => median(runs.filter((run) => run.durable === durable).map((run) => run.rps))
  const ratio = round(rpsOf(true) / rpsOf(false))
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ inFlight, requests, runs, ratios: { durableVsPlain: ratio } })}\n`)
    return
  }
  process.stdout.write(
    `${inFlight} in flight, 256-byte bodies, ${rounds} rounds of ${requests}; ${availableParallelism()} cores, ${cpus()[0]?.model ?? ''}\n`,
  )
  for (const { durable, rps, p50Ms, p99Ms, cpuUs } of runs) {
    const cpu = `CPU us/request: app ${cpuUs.app}, ls ${cpuUs.ls ?? '-'}, xchange ${cpuUs.xchange ?? '-'}`
    process.stdout.write(
      `${durable ? 'durable' : 'plain  '}  ${String(rps).padStart(7)}/s  p50 ${p50Ms} ms  p99 ${p99Ms} ms  ${cpu}\n`,
    )
  }
  process.stdout.write(`median plain ${rpsOf(false)}/s, durable ${rpsOf(true)}/s: durable is ${ratio} of plain\n`)
}

await main()
