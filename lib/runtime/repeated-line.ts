import type { Clock, TimerHandle } from './clock.ts'
import type { Service } from './lifecycle.ts'

/** Says a thing again and again, for as long as it is true: nobody may forget it. */
export class RepeatedLine implements Service {
  readonly name = 'repeated line'
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #say: () => void
  #timer: TimerHandle | undefined
  #isStopped = false

  constructor(options: { readonly clock: Clock; readonly intervalMs: number; readonly say: () => void }) {
    this.#clock = options.clock
    this.#intervalMs = options.intervalMs
    this.#say = options.say
  }

  async start(): Promise<void> {
    this.#sayAndArm()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    if (this.#timer !== undefined) this.#clock.cancelTimer(this.#timer)
  }

  #sayAndArm(): void {
    if (this.#isStopped) return
    this.#say()
    this.#timer = this.#clock.startTimer(this.#intervalMs, () => this.#sayAndArm())
  }
}
