import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Answer, Command, StopResult } from './child.ts'
import type { LoadOptions, LoadResult, Slice } from './load.ts'
import type { Endpoint } from './system.ts'

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url))
const ENDS_WITHIN_MS = 2_000

/** The parent's end of a process of `child.ts`. One command at a time. */
export class BenchChild {
  readonly pid: number
  readonly #process: ChildProcess
  readonly #name: string
  #waiting: { resolve: (result: unknown) => void; reject: (error: Error) => void } | undefined

  /** `module`: a path from this folder, such as `systems/ws-echo`. */
  constructor(module: string) {
    this.#name = module
    this.#process = fork(CHILD, [new URL(`./${module}.js`, import.meta.url).href], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.pid = this.#process.pid ?? 0
    this.#process.on('message', (answer: Answer) => {
      const waiting = this.#waiting
      this.#waiting = undefined
      if (answer.ok) waiting?.resolve(answer.result)
      else waiting?.reject(new Error(`${module}: ${answer.message}`))
    })
    this.#process.once('error', (error) => this.#waiting?.reject(error))
    this.#process.once('exit', (code, signal) => {
      this.#waiting?.reject(new Error(`${module} ended with ${signal ?? code}`))
      this.#waiting = undefined
    })
  }

  async serve(endpoint: Endpoint): Promise<number> {
    const { port } = await this.#ask<{ port: number }>({ op: 'serve', endpoint })
    return port
  }

  measure(endpoint: Endpoint, load: LoadOptions): Promise<LoadResult> {
    return this.#ask({ op: 'measure', endpoint, load })
  }

  startLoad(endpoint: Endpoint, load: { concurrency: number; bodyBytes: number }): Promise<void> {
    return this.#ask({ op: 'start', endpoint, ...load })
  }

  takeSlice(): Promise<Slice> {
    return this.#ask({ op: 'slice' })
  }

  stopLoad(): Promise<StopResult> {
    return this.#ask({ op: 'stop' })
  }

  stop(): Promise<void> {
    return endProcess(this.#process)
  }

  #ask<T>(command: Command): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#process.exitCode !== null || !this.#process.connected) {
        reject(new Error(`${this.#name} has ended`))
        return
      }
      this.#waiting = { resolve: (result) => resolve(result as T), reject }
      this.#process.send(command)
    })
  }
}

/** Asks a process to end, and ends it where it does not. Resolves when it is gone. */
export function endProcess(child: ChildProcess, withinMs: number = ENDS_WITHIN_MS): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve()
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), withinMs)
    child.once('exit', () => {
      clearTimeout(timer)
      resolve()
    })
    child.kill('SIGTERM')
  })
}
