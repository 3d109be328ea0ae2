import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SmallDisk } from './disk.ts'
import { FAULT_KINDS, type FaultKind } from './schedule.ts'

export interface SkippedFault {
  readonly kind: FaultKind
  readonly reason: string
}

/** What this machine cannot do, with the reason. */
export function skippedFaults(): SkippedFault[] {
  const skipped: SkippedFault[] = []
  const mountProblem = problemOf(tryMount)
  if (mountProblem !== undefined) {
    skipped.push({ kind: 'disk-full', reason: `no small disk can be mounted (${mountProblem})` })
  }
  const straceProblem = problemOf(tryStrace)
  if (straceProblem !== undefined) {
    skipped.push({ kind: 'sync-error', reason: `strace cannot inject errors (${straceProblem})` })
  }
  return skipped
}

export function possibleFaults(skipped: readonly SkippedFault[]): FaultKind[] {
  return FAULT_KINDS.filter((kind) => !skipped.some((skip) => skip.kind === kind))
}

/** In front of a daemon's command line: from the `first` time on every seventh sync of a file fails. */
export function straceWrapper(first: number): readonly string[] {
  return syncWrapper(`error=EIO:when=${first}+7`)
}

/** In front of a daemon's command line: every sync of a file begins so much later. */
export function delayedSyncs(delayMs: number): readonly string[] {
  return syncWrapper(`delay_enter=${delayMs * 1_000}`)
}

/** Why this machine can hold up no syncs; undefined where it can. */
export function syncDelayProblem(): string | undefined {
  return problemOf(tryStrace)
}

function syncWrapper(injection: string): readonly string[] {
  const calls = 'fsync,fdatasync,msync'
  const inject = `inject=${calls}:${injection}`
  // -D: the daemon is our child and strace its own, so that a signal to our child reaches the daemon.
  return ['strace', '-D', '-f', '-qqq', '-o', '/dev/null', '--seccomp-bpf', '-e', `trace=${calls}`, '-e', inject]
}

function tryMount(): void {
  const dir = mkdtempSync(join(tmpdir(), 'lsx-mount-'))
  try {
    SmallDisk.mount(dir, 1024 ** 2).unmount()
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function tryStrace(): void {
  const [file = '', ...words] = straceWrapper(1_000)
  execFileSync(file, [...words, 'true'], { stdio: 'ignore' })
}

function problemOf(attempt: () => void): string | undefined {
  try {
    attempt()
    return undefined
  } catch (error) {
    const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
    return line
  }
}
