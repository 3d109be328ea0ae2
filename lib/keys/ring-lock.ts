import { readFileSync, rmSync } from 'node:fs'
import { createFileExclusive, SECRET_MODE } from '../certs/index.ts'
import { LsxError } from '../runtime/index.ts'

/**
 * Runs `work` while no other process rotates the same keys. The lock of a process that is gone is taken over.
 *
 * @throws LsxError REFUSED, party self: another one is at it
 */
export function withRingLock<T>(path: string, work: () => T): T {
  take(path)
  try {
    return work()
  } finally {
    rmSync(path, { force: true })
  }
}

function take(path: string): void {
  try {
    createFileExclusive(path, `${process.pid}\n`, SECRET_MODE)
    return
  } catch (error) {
    const holder = holderOf(path)
    if (holder === undefined) throw error
    if (isRunning(holder))
      throw new LsxError('REFUSED', `process ${holder} rotates these keys right now (${path})`, {
        party: 'self',
        facts: { file: path },
        cause: error,
      })
  }
  rmSync(path, { force: true })
  createFileExclusive(path, `${process.pid}\n`, SECRET_MODE)
}

function holderOf(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'latin1').trim())
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined
  } catch {
    return undefined
  }
}

function isRunning(pid: number): boolean {
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
