import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { connect } from '../../lib/ipc/index.ts'
import { cpuMicrosecondsOf, median, rounded } from '../process-usage.ts'
import { machine, machineText } from '../report.ts'
import { FailingBank, type FailingMode } from './failing-bank.ts'
import { Fleet, type LsMemory } from './fleet.ts'
import { type TrafficResult, traffic } from './traffic.ts'

/** Many banks on one LS: how fast they connect, what they cost, and how little one of them disturbs the others. */

const USAGE = `npm run bench:many -- [options]

  --banks N             how many (default 1000)
  --dial ls|xchange     who opens the sockets (default ls)
  --dials N             dials that LS has under way at once (default 64, as in config/ls.yaml)
  --echo MS             echo interval (default 10000, as in config/ls.yaml)
  --health MS           interval of health checks (default 60000, as in config/ls.yaml; 0 turns them off)
  --idle S              how long the CPU at idle is measured (default 20)
  --phase S             how long each measurement with a failing bank takes (default 2)
  --node-options="..."  for lsd, such as --node-options="--cpu-prof --cpu-prof-dir=prof"
  --json
`

const KIBIBYTE = 1_024
const FAILING = 'failing'
const CONCURRENCY = 8
const ROUNDS = 3

interface ManyOptions {
  readonly banks: number
  readonly dial: 'ls' | 'xchange'
  readonly dials: number
  readonly echoIntervalMs: number
  readonly healthIntervalMs: number
  readonly idleMs: number
  readonly phaseMs: number
  readonly nodeArguments: readonly string[]
}

interface Milestones {
  /** From the start of the process, ms. */
  readonly readyMs: number
  readonly allConnectedMs: number
  readonly cpuMs: number
}

type Say = (line: string) => void

async function measure(options: ManyOptions, dir: string, signal: AbortSignal, say: Say) {
  const { banks, dial, dials, echoIntervalMs, healthIntervalMs, idleMs, nodeArguments } = options
  const ls = { reconnect: { maxConcurrentDials: dials }, health: { intervalMs: healthIntervalMs } }
  say(`issuing ${banks} certificates and starting ${banks} banks`)
  const fleet = await Fleet.create({ dir, banks, dial, echoIntervalMs, ls, nodeArguments }, signal)
  signal.addEventListener('abort', () => void fleet.stop(), { once: true })
  try {
    const few = Math.min(FEW_BANKS, banks - 1)
    const small = await memoryOf(fleet, few)
    say(`lsd with ${few} banks: ${mebibytes(small.collectedBytes)} MiB`)
    const half = await memoryOf(fleet, Math.ceil(banks / 2))
    const start = await startAndConnect(fleet, banks)
    say(`all connected ${start.allConnectedMs} ms after the start`)
    signal.throwIfAborted()
    await wait(SETTLE_MS)
    const full = await fleet.memory()
    const memory = memoryFigures({ small, half, full }, { few, banks })
    say(`memory of a channel: ${memory.kibOfChannelCollected} KiB`)
    const status = await wholeStatus(fleet)
    const idle = await cpuAtIdle(fleet, idleMs)
    say(`idle: ${idle.cpuSecondsOfMinute} s of CPU a minute`)
    signal.throwIfAborted()
    const failing = await besideAFailingBank(fleet, options, say)
    signal.throwIfAborted()
    const killedAtMs = Date.now()
    await fleet.killLs()
    const restart = await startAndConnect(fleet, banks, killedAtMs)
    say(`all back ${restart.allConnectedMs} ms after the kill`)
    return {
      machine: machine(),
      banks,
      dial,
      dials,
      echoIntervalMs,
      healthIntervalMs,
      start,
      restart,
      memory,
      status,
      idle,
      failing,
    }
  } finally {
    await fleet.stop()
  }
}

/** Garbage of the start, and what the allocator has not given back yet. */
const SETTLE_MS = 2_000

/** So few that their memory is next to nothing, and enough that all code has run: what is left is what channels cost. */
const FEW_BANKS = 10

async function memoryOf(fleet: Fleet, banks: number): Promise<LsMemory> {
  fleet.startLs(banks)
  await fleet.untilConnected(banks)
  await wait(SETTLE_MS)
  const memory = await fleet.memory()
  await fleet.stopLs()
  return memory
}

async function startAndConnect(fleet: Fleet, banks: number, fromMs: number = Date.now()): Promise<Milestones> {
  const daemon = fleet.startLs(banks)
  const ready = daemon.ready().then(() => Date.now())
  // The banks are done a moment before LS is: it has the last word.
  await fleet.untilConnected(banks)
  await untilLsCounts(fleet, banks)
  const connectedAtMs = Date.now()
  const cpuUs = cpuMicrosecondsOf(daemon.pid) ?? 0
  return { readyMs: (await ready) - fromMs, allConnectedMs: connectedAtMs - fromMs, cpuMs: Math.round(cpuUs / 1_000) }
}

const POLL_MS = 10

async function untilLsCounts(fleet: Fleet, banks: number): Promise<void> {
  const admin = await connect(fleet.adminPath)
  try {
    for (;;) {
      const { daemon } = (await admin.call('status', { bank: fleet.codes[0] })) as { daemon: { connected: number } }
      if (daemon.connected >= banks) return
      await wait(POLL_MS)
    }
  } finally {
    await admin.close()
  }
}

function memoryFigures(
  { small, half, full }: Readonly<Record<'small' | 'half' | 'full', LsMemory>>,
  { few, banks }: { few: number; banks: number },
) {
  const kibibytes = (from: LsMemory, banksMore: number, name: keyof LsMemory) =>
    rounded((full[name] - from[name]) / banksMore / KIBIBYTE, 1)
  const each = (name: keyof LsMemory) => kibibytes(small, banks - few, name)
  return {
    fewBanks: few,
    fewMiB: mebibytes(small.collectedBytes),
    fullMiB: mebibytes(full.collectedBytes),
    halfMiB: mebibytes(half.collectedBytes),
    /** From half of the banks to all: without what a first few hundred channels cost once, in code and allocator. */
    kibOfFurtherChannel: kibibytes(half, Math.floor(banks / 2), 'collectedBytes'),
    kibOfChannel: each('residentBytes'),
    kibOfChannelCollected: each('collectedBytes'),
    kibOfChannelAnonymous: each('anonymousBytes'),
    kibOfChannelFile: each('fileBytes'),
    kibOfChannelHeap: each('heapUsed'),
    kibOfChannelHeapTotal: each('heapTotal'),
    kibOfChannelExternal: each('external'),
  }
}

/** What an operator's look at all banks takes, from question to answer. */
async function wholeStatus(fleet: Fleet) {
  const admin = await connect(fleet.adminPath)
  try {
    const askedMs = performance.now()
    const answer = await admin.call('status', {})
    return { tookMs: Math.round(performance.now() - askedMs), answerBytes: JSON.stringify(answer).length }
  } finally {
    await admin.close()
  }
}

async function cpuAtIdle(fleet: Fleet, idleMs: number) {
  const before = cpuMicrosecondsOf(fleet.lsPid) ?? 0
  const startMs = performance.now()
  await wait(idleMs)
  const seconds = (performance.now() - startMs) / 1_000
  const cpuSeconds = ((cpuMicrosecondsOf(fleet.lsPid) ?? 0) - before) / 1_000_000
  return { measuredSeconds: rounded(seconds, 1), cpuSecondsOfMinute: rounded((cpuSeconds / seconds) * 60, 2) }
}

async function besideAFailingBank(fleet: Fleet, { phaseMs, dial }: ManyOptions, say: Say) {
  const bank = new FailingBank()
  const port = await bank.start()
  const admin = await connect(fleet.adminPath)
  try {
    const entry = {
      code: FAILING,
      dial: 'ls',
      host: '127.0.0.1',
      port,
      allow: ['127.0.0.1'],
      identities: [fleet.failingPin],
    }
    fleet.writeLsConfig(fleet.codes.length, [entry])
    await admin.call('reload', {})
    const load = { socketPath: fleet.socketPath, codes: fleet.codes, concurrency: CONCURRENCY, forMs: phaseMs }
    const nuisance = { code: FAILING, concurrency: CONCURRENCY, timeoutMs: 500 }
    const results: Record<'without' | FailingMode, TrafficResult[]> = { without: [], reset: [], 'black-hole': [] }
    await traffic(load)
    for (let round = 0; round < ROUNDS; round++) {
      await admin.call('quarantine', { bank: FAILING, reason: 'not in this phase' })
      results.without.push(await traffic(load))
      await admin.call('resume', { bank: FAILING })
      for (const mode of ['reset', 'black-hole'] as const) {
        bank.mode = mode
        results[mode].push(await traffic({ ...load, failing: nuisance }))
      }
    }
    say(`p99 of the others without and with a failing bank: ${JSON.stringify(p99s(results))}`)
    return {
      dial,
      concurrency: CONCURRENCY,
      without: summary(results.without),
      reset: summary(results.reset),
      blackHole: summary(results['black-hole']),
    }
  } finally {
    await admin.close()
    bank.stop()
  }
}

function p99s(results: Readonly<Record<string, readonly TrafficResult[]>>): Record<string, number> {
  return Object.fromEntries(Object.entries(results).map(([name, of]) => [name, summary(of).p99Ms]))
}

function summary(results: readonly TrafficResult[]) {
  return {
    rps: Math.round(median(results.map(({ rps }) => rps))),
    p50Ms: rounded(median(results.map(({ p50Ms }) => p50Ms)), 3),
    p99Ms: rounded(median(results.map(({ p99Ms }) => p99Ms)), 3),
    errors: results.reduce((sum, { errors }) => sum + errors, 0),
    firstError: results.find(({ firstError }) => firstError !== undefined)?.firstError,
  }
}

function mebibytes(bytes: number): number {
  return rounded(bytes / KIBIBYTE / KIBIBYTE, 1)
}

function textOf(result: Awaited<ReturnType<typeof measure>>): string {
  const { banks, dial, echoIntervalMs, healthIntervalMs, start, restart, memory, status, idle, failing } = result
  const rows: readonly (readonly [string, string])[] = [
    ['all connected after the start of lsd', `${start.allConnectedMs} ms (lsd used ${start.cpuMs} ms of CPU)`],
    ['all back after SIGKILL and a start', `${restart.allConnectedMs} ms (${restart.cpuMs} ms of CPU)`],
    [
      'resident memory of a channel in lsd',
      `${memory.kibOfChannelCollected} KiB collected, ${memory.kibOfChannel} KiB as it is`,
    ],
    ['  of one of the second half of the banks', `${memory.kibOfFurtherChannel} KiB`],
    ['  of that pages of files (the store)', `${memory.kibOfChannelFile} KiB`],
    [
      '  of that heap in use, reserved, external',
      `${memory.kibOfChannelHeap} KiB, ${memory.kibOfChannelHeapTotal} KiB, ${memory.kibOfChannelExternal} KiB`,
    ],
    [
      `lsd with ${memory.fewBanks} banks, with half, with all`,
      `${memory.fewMiB} MiB, ${memory.halfMiB} MiB, ${memory.fullMiB} MiB`,
    ],
    [
      'CPU of lsd at idle',
      `${idle.cpuSecondsOfMinute} s a minute (for ${idle.measuredSeconds} s; echo ${echoIntervalMs} ms, health ${healthIntervalMs} ms)`,
    ],
    ['status of all banks', `${status.tookMs} ms, ${status.answerBytes} bytes as JSON`],
    ['p99 of the others, no bank failing', `${failing.without.p99Ms} ms at ${failing.without.rps}/s`],
    ['  one bank resets every connection', `${failing.reset.p99Ms} ms at ${failing.reset.rps}/s`],
    ['  one bank is a black hole', `${failing.blackHole.p99Ms} ms at ${failing.blackHole.rps}/s`],
  ]
  const lines = rows.map(([name, value]) => `${name.padEnd(42)}${value}`)
  return `${banks} banks, dialled by ${dial === 'ls' ? 'LS' : 'the xchanges'}; ${machineText(result.machine)}\n${lines.join('\n')}\n`
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', default: false },
      banks: { type: 'string', default: '1000' },
      dial: { type: 'string', default: 'ls' },
      dials: { type: 'string', default: '64' },
      echo: { type: 'string', default: '10000' },
      health: { type: 'string', default: '60000' },
      idle: { type: 'string', default: '20' },
      phase: { type: 'string', default: '2' },
      'node-options': { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const dir = mkdtempSync(join(tmpdir(), 'lsx-many-'))
  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => interrupted.abort())
  try {
    const options: ManyOptions = {
      banks: Number(values.banks),
      dial: values.dial === 'xchange' ? 'xchange' : 'ls',
      dials: Number(values.dials),
      echoIntervalMs: Number(values.echo),
      healthIntervalMs: Number(values.health),
      idleMs: Number(values.idle) * 1_000,
      phaseMs: Number(values.phase) * 1_000,
      nodeArguments: values['node-options'].split(' ').filter((argument) => argument !== ''),
    }
    const result = await measure(options, dir, interrupted.signal, (line) => void process.stderr.write(`${line}\n`))
    process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : textOf(result))
    const { without, reset, blackHole } = result.failing
    return without.errors + reset.errors + blackHole.errors > 0 ? 1 : 0
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    process.stderr.write(`bench:many: ${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

process.exitCode = await main()
