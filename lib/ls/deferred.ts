import type { LsxError } from '../runtime/index.ts'

/** A promise that its owner settles. */
export interface Deferred {
  readonly promise: Promise<void>
  resolve(): void
  reject(error: LsxError): void
}

export function deferred(): Deferred {
  let resolve: () => void = () => {}
  let reject: (error: LsxError) => void = () => {}
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}

/** Resolves when `promise` settles or the signal aborts, whichever is first. */
export async function settledOrAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  let onAbort: () => void = () => {}
  const aborted = new Promise<void>((resolve) => {
    onAbort = resolve
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
