import type { ChildProcess } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { CLOCK_OFFSET_VARIABLE, type ClockMessage } from './child-preload.ts'
import { type LogLine, spawnDaemon } from './daemon-process.ts'
import { monotonicMs } from './monotonic.ts'

/** What one start has of its own. */
export interface Launch {
  /** NAME@COUNT: the process kills itself there. */
  readonly failpoint?: string
  /** In front of the command line: strace and its arguments. */
  readonly wrapper?: readonly string[]
}

/** The end of a daemon's process. */
export interface Death {
  readonly daemon: string
  readonly atMs: number
  /** `failpoint`: it killed itself where it was told to; `itself`: nobody asked for it. */
  readonly cause: 'kill' | 'terminate' | 'failpoint' | 'itself'
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Had it said that it was ready? */
  readonly wasReady: boolean
  readonly failpoint: string | undefined
}

export interface DaemonChildOptions {
  readonly name: string
  readonly program: 'lsd' | 'xchanged'
  readonly configFile: string
  readonly env?: Readonly<Record<string, string>>
  readonly logFile: string
  readonly onLine: (line: LogLine) => void
  readonly onDeath: (death: Death) => void
}

/** A daemon that was told to stop and does not is killed after this long. */
const STOP_WITHIN_MS = 10_000
/** Before a daemon that could not start is started again. */
const RESTART_PAUSE_MS = 300

interface Incarnation {
  readonly process: ChildProcess
  readonly launch: Launch
  isReady: boolean
  isPaused: boolean
  asked: 'kill' | 'terminate' | undefined
}

/** A daemon in a process of its own, started again whenever it ends, until it is stopped. */
export class DaemonChild {
  readonly name: string
  readonly #options: DaemonChildOptions
  readonly #log: WriteStream
  #current: Incarnation | undefined
  #nextLaunch: Launch = {}
  #clockOffsetMs = 0
  #phase: 'new' | 'supervised' | 'stopping' = 'new'
  #ended: Promise<void> = Promise.resolve()
  #lastExitCode: number | null = null

  constructor(options: DaemonChildOptions) {
    this.name = options.name
    this.#options = options
    this.#log = createWriteStream(options.logFile, { flags: 'a' })
  }

  /** The exit code of the last process that ended by itself or was told to stop. */
  get lastExitCode(): number | null {
    return this.#lastExitCode
  }

  start(): void {
    this.#phase = 'supervised'
    this.#ended = this.#supervise()
  }

  /** SIGKILL; the next process begins at once, as `launch` says. */
  kill(launch: Launch = {}): void {
    this.#nextLaunch = launch
    this.#end('kill', 'SIGKILL')
  }

  /** Where the process has a failpoint or a wrapper that could still end it: a fresh one without. */
  disarm(): void {
    this.#nextLaunch = {}
    const { launch } = this.#current ?? {}
    if (launch?.failpoint !== undefined || launch?.wrapper !== undefined) this.kill()
  }

  /** SIGTERM: drains and ends; the next process begins then. */
  terminate(): void {
    const { process } = this.#current ?? {}
    this.#end('terminate', 'SIGTERM')
    setTimeout(() => {
      if (process !== undefined && this.#current?.process === process) this.kill()
    }, STOP_WITHIN_MS).unref()
  }

  /** SIGSTOP, until the returned function is called or the process is ended. */
  pause(): () => void {
    const paused = this.#current
    if (paused === undefined) return () => {}
    paused.isPaused = true
    this.#signal(paused, 'SIGSTOP')
    return () => {
      paused.isPaused = false
      if (this.#current === paused) this.#signal(paused, 'SIGCONT')
    }
  }

  hangUp(): void {
    if (this.#current?.isReady === true) this.#signal(this.#current, 'SIGHUP')
  }

  /** Moves the wall clock of this process and the next ones. */
  set clockOffsetMs(offsetMs: number) {
    this.#clockOffsetMs = offsetMs
    const message: ClockMessage = { clockOffsetMs: offsetMs }
    this.#current?.process.send(message, () => {})
  }

  /** Drains and ends it for good. Resolves with the exit code, null when it had to be killed. */
  async stop(): Promise<number | null> {
    this.#phase = 'stopping'
    this.terminate()
    await this.#ended
    return this.#lastExitCode
  }

  /** Ends it for good and at once. */
  async destroy(): Promise<void> {
    this.#phase = 'stopping'
    this.kill()
    await this.#ended
  }

  /** For the last moment of the harness's own process: no promise can be waited for any more. */
  destroyNow(): void {
    this.#phase = 'stopping'
    this.kill()
  }

  async #supervise(): Promise<void> {
    while (this.#phase === 'supervised') {
      const death = await this.#runOnce()
      this.#options.onDeath(death)
      if (death.cause === 'itself') await delay(RESTART_PAUSE_MS)
    }
    this.#log.end()
  }

  async #runOnce(): Promise<Death> {
    const launch = this.#nextLaunch
    this.#nextLaunch = {}
    const { failpoint, wrapper = [] } = launch
    const { program, configFile, env = {} } = this.#options
    const process = spawnDaemon(
      {
        program,
        configFile,
        env: {
          ...env,
          [CLOCK_OFFSET_VARIABLE]: String(this.#clockOffsetMs),
          ...(failpoint === undefined ? {} : { LSX_FAILPOINT: failpoint }),
        },
        wrapper,
      },
      (text, line) => this.#receive(incarnation, text, line),
    )
    const incarnation: Incarnation = { process, launch, isReady: false, isPaused: false, asked: undefined }
    this.#current = incarnation
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      process.once('error', () => resolve([null, null]))
      process.once('exit', (code, signal) => resolve([code, signal]))
    })
    const atMs = monotonicMs()
    if (this.#current === incarnation) this.#current = undefined
    this.#lastExitCode = code
    const diedThere = incarnation.asked === undefined && failpoint !== undefined && signal === 'SIGKILL'
    const cause = incarnation.asked ?? (diedThere ? 'failpoint' : 'itself')
    return { daemon: this.name, atMs, cause, code, signal, wasReady: incarnation.isReady, failpoint }
  }

  #receive(incarnation: Incarnation, text: string, line: LogLine | undefined): void {
    this.#log.write(`${text}\n`)
    if (line === undefined) return
    if (line.notify === 'READY=1') incarnation.isReady = true
    // What a process says after its end is for the log only.
    if (incarnation === this.#current) this.#options.onLine(line)
  }

  #end(asked: 'kill' | 'terminate', signal: NodeJS.Signals): void {
    const current = this.#current
    if (current === undefined) return
    // Killed while it drains, it was killed.
    if (asked === 'kill') current.asked = 'kill'
    else current.asked ??= 'terminate'
    this.#signal(current, signal)
    // What is stopped would not even hear that it shall end.
    if (current.isPaused && signal !== 'SIGKILL') this.#signal(current, 'SIGCONT')
  }

  #signal(incarnation: Incarnation, signal: NodeJS.Signals): void {
    const { process: child } = incarnation
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
  }
}
