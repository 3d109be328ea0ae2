import { sleep } from '../runtime/index.ts'
import type { CliIo } from './io.ts'

/** Resolves when `work` settles, or rejects with the signal's reason as soon as it aborts. */
export function settledOrAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** True when `work` settles in time, false when not. Rejects when the person has had enough. */
export async function settledWithin(io: CliIo, work: Promise<void>, timeoutMs: number): Promise<boolean> {
  const over = new AbortController()
  const signal = AbortSignal.any([io.interrupt, over.signal])
  try {
    return await Promise.race([
      settledOrAborted(work, signal).then(() => true),
      sleep(io.clock, timeoutMs, signal).then(() => false),
    ])
  } finally {
    over.abort()
  }
}
