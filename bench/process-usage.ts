import { readFileSync } from 'node:fs'

/** USER_HZ, which Linux fixes at 100 for what it tells of processes. */
const TICKS_PER_SECOND = 100
const PAGE_BYTES = 4_096
const MEBIBYTE = 1_048_576

/** User and system CPU time of a process in microseconds, in steps of 10 ms; undefined where /proc does not tell. */
export function cpuMicrosecondsOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return ((Number(fields[11]) + Number(fields[12])) * 1_000_000) / TICKS_PER_SECOND
  } catch {
    return undefined
  }
}

/** Resident memory of a process in MiB; undefined where /proc does not tell. */
export function residentMebibytesOf(pid: number): number | undefined {
  try {
    const [, pages] = readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')
    return rounded((Number(pages) * PAGE_BYTES) / MEBIBYTE, 1)
  } catch {
    return undefined
  }
}

/** Of this process, finer than /proc tells. */
export function ownCpuMicroseconds(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}

/** 0 of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}
