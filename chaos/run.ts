import { setTimeout as delay } from 'node:timers/promises'
import { readLog } from './append-log.ts'
import { possibleFaults, type SkippedFault, skippedFaults } from './capabilities.ts'
import { storeDirOf } from './config-files.ts'
import type { Death } from './daemon-child.ts'
import { runFaults } from './fault-runner.ts'
import { type AppEvent, type Attempt, attemptsOf, type ExecutionEvent } from './history.ts'
import { checkLedger, type Evidence, type JournalView, type OnceOnlyView } from './ledger-check.ts'
import { percentile, recoveryTimesMs } from './recovery.ts'
import { type Figures, type Offence, violatedKeys } from './report.ts'
import { type FaultKind, makeSchedule } from './schedule.ts'
import { readJournal, readOnceOnlyTable } from './store-views.ts'
import { BANKS, contentOf, type Mix } from './workload.ts'
import { World } from './world.ts'

export interface RunOptions {
  readonly dir: string
  readonly seed: string
  readonly seconds: number
  readonly apps: number
  readonly durable: Mix['durable']
  /** Default: all that this machine can do. */
  readonly only?: readonly FaultKind[] | undefined
  readonly signal: AbortSignal
  /** For whoever watches. */
  readonly onProgress: (line: string) => void
  /** Called as soon as there is something that must be ended with this process. */
  readonly onWorld: (world: World) => void
}

export interface RunResult {
  readonly figures: Figures
  readonly offences: readonly Offence[]
}

/** A request is over after its time-out, the longest is 10 s, and is then asked for some times more. */
const APPS_FINISH_WITHIN_MS = 60_000
/** A defect: `lib/runtime/process.ts` ends a process so for an exception that nobody caught. */
const DEFECT_EXIT_CODE = 70

/** One run: start, load and faults, calm, and the check of all books. The world is left to the caller to destroy. */
export async function run(options: RunOptions): Promise<RunResult> {
  const { dir, seed, seconds, signal, onProgress } = options
  const mix: Mix = { seed, durable: options.durable }
  const skipped = skippedFaults()
  const kinds = possibleFaults(skipped).filter((kind) => options.only === undefined || options.only.includes(kind))
  const schedule = makeSchedule({ seed, seconds, apps: options.apps, kinds })
  const world = await World.create({ dir, mix, apps: options.apps, smallDisks: kinds.includes('disk-full') })
  options.onWorld(world)
  const problems: string[] = []
  const faults: Partial<Record<FaultKind, number>> = {}

  world.startDaemons()
  if (!(await world.connected(signal))) throw new Error('the daemons did not come up; see their logs')
  const connectsAtFirst = world.connects
  for (const app of world.apps) app.start()

  onProgress(`load and ${schedule.length} faults for ${seconds} s`)
  const faultsOver = new AbortController()
  const endFaults = () => faultsOver.abort()
  const timer = setTimeout(endFaults, seconds * 1_000)
  signal.addEventListener('abort', endFaults, { once: true })
  await runFaults(world, schedule, faultsOver.signal, (fault, error) => {
    if (error === undefined) faults[fault.kind] = (faults[fault.kind] ?? 0) + 1
    else problems.push(`the fault ${fault.kind} could not be made: ${String(error)}`)
  })
  clearTimeout(timer)
  signal.removeEventListener('abort', endFaults)
  signal.throwIfAborted()

  onProgress('faults are over; everything settles')
  for (const daemon of world.daemons.values()) daemon.disarm()
  // A process that was killed just now must not be taken for its successor.
  await delay(200)
  if (!(await world.connected(signal))) problems.push('not every channel came back when the faults were over')
  const finished = await Promise.all(world.apps.map((app) => app.finish(APPS_FINISH_WITHIN_MS, signal)))
  signal.throwIfAborted()
  if (finished.includes(false)) problems.push('an app did not learn the end of all of its requests')
  for (const { name, crashes } of world.apps) if (crashes > 0) problems.push(`${name} ended by itself: see its log`)

  onProgress('checking the books')
  const attempts = world.apps.flatMap(({ name }) => attemptsOf(name, readLog<AppEvent>(world.appLog(name))))
  const journal = await journalOf(world, mix, attempts)
  const reconnects = world.connects - connectsAtFirst
  const deaths = [...world.deaths]
  problems.push(...(await stopDaemons(world)), ...unaskedEnds(world, deaths))
  const executions = executionsOf(world)
  const evidence: Evidence = {
    attempts,
    executions,
    interruptions: world.interruptions,
    contentOf: (key) => contentOf(mix, key),
    journal,
    onceOnly: await onceOnlyOf(world, mix, attempts, executions),
  }
  const ledger = checkLedger(evidence)
  const recoveryMs = recoveryTimesMs(deaths.map(outageOf), attempts, (key) => contentOf(mix, key).bankCode)
  const { violations, ...counts } = ledger
  const figures: Figures = {
    ...counts,
    ...violatedKeys(ledger),
    attempts: attempts.length,
    kills: deaths.filter(({ signal }) => signal === 'SIGKILL').length,
    reconnects,
    recoveryMsP50: Math.round(percentile(recoveryMs, 0.5)),
    recoveryMsP99: Math.round(percentile(recoveryMs, 0.99)),
    seed,
    seconds,
    faults,
    failpoints: countsOf(
      deaths.flatMap(({ cause, failpoint }) => (cause === 'failpoint' && failpoint ? [failpoint] : [])),
    ),
    skipped: skippedOf(skipped, options.only),
    problems,
  }
  return { figures, offences: offencesOf(evidence, violations) }
}

async function journalOf(world: World, mix: Mix, attempts: readonly Attempt[]): Promise<Map<string, JournalView>> {
  const keys = new Set(attempts.map(({ key }) => key).filter((key) => contentOf(mix, key).durable))
  return readJournal(world.adminSocket, [...keys])
}

async function onceOnlyOf(
  world: World,
  mix: Mix,
  attempts: readonly Attempt[],
  executions: ReadonlyMap<string, unknown>,
): Promise<Map<string, OnceOnlyView>> {
  const keys = new Set([...attempts.map(({ key }) => key), ...executions.keys()])
  const views = new Map<string, OnceOnlyView>()
  for (const bank of BANKS) {
    const ofBank = [...keys].filter((key) => contentOf(mix, key).bankCode === bank)
    const storeDir = storeDirOf(world.dir, `xchanged-${bank}`)
    for (const [key, view] of await readOnceOnlyTable(storeDir, ofBank)) views.set(key, view)
  }
  return views
}

function executionsOf(world: World): Map<string, ExecutionEvent[]> {
  const byKey = new Map<string, ExecutionEvent[]>()
  for (const bank of BANKS) {
    for (const event of readLog<ExecutionEvent>(world.executionLog(bank))) {
      const events = byKey.get(event.key)
      if (events === undefined) byKey.set(event.key, [event])
      else events.push(event)
    }
  }
  return byKey
}

/** LS first, as an operator would. Each must end by itself. */
async function stopDaemons(world: World): Promise<string[]> {
  const problems: string[] = []
  for (const daemon of world.daemons.values()) {
    const code = await daemon.stop()
    if (code !== 0) problems.push(`${daemon.name} did not stop cleanly: exit code ${code}`)
  }
  return problems
}

/** A daemon ends when it is told to, or when its disk or clock leaves it no choice; never with a defect. */
function unaskedEnds(world: World, deaths: readonly Death[]): string[] {
  const isExcused = ({ daemon, atMs }: Death) =>
    world.excuses.some((excuse) => excuse.daemon === daemon && excuse.fromMs <= atMs && atMs <= excuse.toMs)
  return deaths.flatMap((death) => {
    const { daemon, cause, code, signal } = death
    if (code === DEFECT_EXIT_CODE) return [`${daemon} ended with a defect (exit code ${code}): see its log`]
    return cause !== 'itself' || isExcused(death)
      ? []
      : [`${daemon} ended by itself (${signal ?? `exit code ${code}`})`]
  })
}

function outageOf({ daemon, atMs }: Death): { atMs: number; bankCodes: readonly string[] } {
  return { atMs, bankCodes: daemon === 'lsd' ? BANKS : [daemon.slice('xchanged-'.length)] }
}

function skippedOf(skipped: readonly SkippedFault[], only: readonly FaultKind[] | undefined): readonly SkippedFault[] {
  return skipped.filter(({ kind }) => only === undefined || only.includes(kind))
}

function countsOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

function offencesOf(evidence: Evidence, violations: readonly Offence['violations'][number][]): Offence[] {
  return [...new Set(violations.map(({ key }) => key))].map((key) => ({
    key,
    violations: violations.filter((violation) => violation.key === key),
    content: evidence.contentOf(key),
    attempts: evidence.attempts
      .filter((attempt) => attempt.key === key)
      .toSorted((one, other) => one.submittedAtMs - other.submittedAtMs),
    executions: evidence.executions.get(key) ?? [],
    journal: evidence.journal?.get(key),
    onceOnly: evidence.onceOnly?.get(key),
  }))
}
