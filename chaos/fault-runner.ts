import { setTimeout as delay } from 'node:timers/promises'
import { straceWrapper } from './capabilities.ts'
import { monotonicMs } from './monotonic.ts'
import { durationOf, type Fault, type ScheduledFault } from './schedule.ts'
import type { World } from './world.ts'

/** A store that cannot write may take this long to say so after its disk is well again. */
const STORE_TIMEOUT_MS = 6_000

/** Does to the world what the schedule says, each fault in its time, until `signal` aborts; then ends what still goes on. */
export async function runFaults(
  world: World,
  schedule: readonly ScheduledFault[],
  signal: AbortSignal,
  onFault: (fault: Fault, error?: unknown) => void,
): Promise<void> {
  const startedMs = monotonicMs()
  const running: Promise<void>[] = []
  for (const { atMs, fault } of schedule) {
    await pause(atMs - (monotonicMs() - startedMs), signal)
    if (signal.aborted) break
    onFault(fault)
    running.push(runFault(world, fault, signal).catch((error) => onFault(fault, error)))
  }
  await pause(Number.MAX_SAFE_INTEGER, signal)
  await Promise.all(running)
}

/** The fault for its duration. Whatever happens meanwhile it is ended. */
async function runFault(world: World, fault: Fault, signal: AbortSignal): Promise<void> {
  const end = await begin(world, fault)
  if (end === undefined) return
  try {
    await pause(durationOf(fault), signal)
  } finally {
    await end()
  }
}

type End = () => void | Promise<void>

/** Returns what ends it, where it does not end by itself. */
async function begin(world: World, fault: Fault): Promise<End | undefined> {
  switch (fault.kind) {
    case 'kill':
      world.daemon(fault.daemon).kill()
      return undefined
    case 'failpoint':
      world.daemon(fault.daemon).kill({ failpoint: `${fault.failpoint}@${fault.count}` })
      return undefined
    case 'drain':
      world.daemon(fault.daemon).terminate()
      return undefined
    case 'stop':
      return world.daemon(fault.daemon).pause()
    case 'latency':
    case 'trickle':
    case 'black-hole':
    case 'slow-reader': {
      const proxy = world.proxy(fault.bank)
      proxy.mode = fault.kind === 'slow-reader' ? 'slow' : fault.kind
      return () => {
        proxy.mode = 'clear'
      }
    }
    case 'cut':
      world.proxy(fault.bank).cut()
      return undefined
    case 'reset':
      world.proxy(fault.bank).reset()
      return undefined
    case 'rekey-storm':
      return beginRekeyStorm(world)
    case 'clock-jump': {
      const daemon = world.daemon(fault.daemon)
      const fromMs = monotonicMs()
      daemon.clockOffsetMs = fault.offsetMs
      return () => {
        daemon.clockOffsetMs = 0
        world.noteExcuse(fault.daemon, fromMs, monotonicMs())
      }
    }
    case 'disk-full':
      return fillDisk(world, fault)
    case 'sync-error':
      return failSyncs(world, fault)
    case 'app-kill':
      world.apps[fault.app]?.kill()
      return undefined
    case 'app-stop':
      return world.apps[fault.app]?.pause()
  }
}

async function beginRekeyStorm(world: World): Promise<End> {
  const lsd = world.daemon('lsd')
  world.writeLsConfig({ rekeyStorm: true })
  lsd.hangUp()
  // From the next key exchange on: begin one. Where no lsd answers now, the next one reads the file.
  await world.admin('rekey', { all: true }).catch(() => {})
  return () => {
    world.writeLsConfig({ rekeyStorm: false })
    lsd.hangUp()
  }
}

function fillDisk(world: World, fault: Extract<Fault, { kind: 'disk-full' }>): End | undefined {
  const disk = world.disks.get(fault.daemon)
  if (disk === undefined) return undefined
  const fromMs = monotonicMs()
  disk.fill(fault.leftBytes)
  return () => {
    disk.empty()
    world.noteExcuse(fault.daemon, fromMs, monotonicMs())
    world.noteInterruption(fault.daemon, { cause: 'disk', fromMs, toMs: monotonicMs() + STORE_TIMEOUT_MS })
  }
}

function failSyncs(world: World, fault: Extract<Fault, { kind: 'sync-error' }>): End {
  const daemon = world.daemon(fault.daemon)
  const fromMs = monotonicMs()
  daemon.kill({ wrapper: straceWrapper(fault.first) })
  return () => {
    daemon.disarm()
    world.noteExcuse(fault.daemon, fromMs, monotonicMs())
    world.noteInterruption(fault.daemon, { cause: 'disk', fromMs, toMs: monotonicMs() })
  }
}

/** Ends early, without an error, when the faults are over. */
async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || durationMs <= 0) return
  const longestMs = 2 ** 31 - 1
  await delay(Math.min(durationMs, longestMs), undefined, { signal }).catch(() => {})
}
