import type { RootDatabase } from 'lmdb'

/** Of lmdb's binding; not in its typings. It writes what is queued in a thread, and calls back from there. */
interface WriterHost {
  startWriting(address: unknown, onStatus: (status: number) => unknown): unknown
}

/** Statuses with which a writer goes on; any other is its last. */
const PROGRESS: ReadonlySet<number> = new Set([1, 2])

/**
 * Knows when lmdb's writer threads have ended. lmdb 3.5 settles a write when it is committed, a moment before the thread
 * has let go of the environment; to close it in that moment ends the process with a segmentation fault
 * (ExtendedEnv::notifyUserCallbacks), and a busy machine makes the moment long.
 */
export class WriterWatch {
  #running = 0
  #idleListeners: (() => void)[] = []

  /** An lmdb without such a function is not watched: then `idle` resolves at once. */
  constructor(root: RootDatabase<Buffer, Buffer>) {
    const host = Reflect.get(root, 'env') as WriterHost | undefined
    if (typeof host?.startWriting !== 'function') return
    const start = host.startWriting.bind(host)
    const watched: WriterHost['startWriting'] = (address, onStatus) => {
      this.#running++
      return start(address, (status) => {
        if (!PROGRESS.has(status)) this.#ended()
        return onStatus(status)
      })
    }
    // Its own is read-only, being of native code.
    Object.defineProperty(host, 'startWriting', { value: watched, configurable: true })
  }

  get running(): number {
    return this.#running
  }

  /** Resolves when no writer runs. One that hangs keeps it waiting for ever. */
  idle(): Promise<void> {
    if (this.#running === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idleListeners.push(resolve))
  }

  #ended(): void {
    this.#running--
    if (this.#running > 0) return
    const listeners = this.#idleListeners
    this.#idleListeners = []
    for (const resolve of listeners) resolve()
  }
}
