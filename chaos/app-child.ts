import { type ChildProcess, fork } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { AppOptions } from './app-driver.ts'
import type { FromApp, ToApp } from './app-process.ts'
import { COMPILED } from './paths.ts'

/** An app in a process of its own, started again when it ends before it was done. */
export class AppChild {
  readonly name: string
  readonly #options: AppOptions
  readonly #log: WriteStream
  #process: ChildProcess | undefined
  #isPaused = false
  #isCalm = false
  #phase: 'running' | 'done' | 'destroyed' = 'running'
  #ended: Promise<void> = Promise.resolve()
  #crashes = 0
  #wasKilled = false

  constructor(options: AppOptions, errorFile: string) {
    this.name = options.name
    this.#options = options
    this.#log = createWriteStream(errorFile, { flags: 'a' })
  }

  /** Times that it ended with an error of its own: a fault of the harness. */
  get crashes(): number {
    return this.#crashes
  }

  start(): void {
    this.#ended = this.#supervise()
  }

  /** SIGKILL; the next process goes on from the file. */
  kill(): void {
    this.#wasKilled = true
    this.#process?.kill('SIGKILL')
  }

  /** SIGSTOP: it reads nothing of what lsd answers, until the returned function is called. */
  pause(): () => void {
    const paused = this.#process
    this.#isPaused = true
    paused?.kill('SIGSTOP')
    return () => {
      this.#isPaused = false
      paused?.kill('SIGCONT')
    }
  }

  /** Asks nothing new. Resolves when it knows the end of everything, false when that takes too long. */
  async finish(withinMs: number, signal: AbortSignal): Promise<boolean> {
    this.#isCalm = true
    this.#tellCalm()
    const tooLong = delay(withinMs, undefined, { ref: false, signal }).catch(() => {})
    await Promise.race([this.#ended, tooLong])
    if (this.#phase === 'done') return true
    await this.destroy()
    return false
  }

  async destroy(): Promise<void> {
    this.destroyNow()
    await this.#ended
  }

  destroyNow(): void {
    if (this.#phase === 'running') this.#phase = 'destroyed'
    this.#process?.kill('SIGKILL')
    if (this.#isPaused) this.#process?.kill('SIGCONT')
  }

  async #supervise(): Promise<void> {
    while (this.#phase === 'running') {
      await this.#runOnce()
      if (this.#phase !== 'running') break
      if (!this.#wasKilled) this.#crashes++
      this.#wasKilled = false
      await delay(50)
    }
    this.#log.end()
  }

  async #runOnce(): Promise<void> {
    const child = fork(COMPILED.appProcess, [JSON.stringify(this.#options)], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#process = child
    child.stdout?.pipe(this.#log, { end: false })
    child.stderr?.pipe(this.#log, { end: false })
    child.on('message', (message: FromApp) => {
      if (message.done) this.#phase = 'done'
    })
    this.#tellCalm()
    await new Promise<void>((resolve) => child.once('exit', () => resolve()))
  }

  #tellCalm(): void {
    if (!this.#isCalm) return
    const message: ToApp = { calmDown: true }
    // An app that has just ended hears nothing; the next one is told at its start.
    this.#process?.send(message, () => {})
  }
}
