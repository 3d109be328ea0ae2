/** At most so many dials at once, so that a fleet's return is a stream and not a herd. First come, first served. */
export class DialSlots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(slots: number) {
    this.#free = slots
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Resolves with the function that gives the slot back; rejects with the signal's reason. */
  async acquire(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free--
    else {
      await new Promise<void>((resolve, reject) => {
        const proceed = () => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        }
        const onAbort = () => {
          this.#waiting.splice(this.#waiting.indexOf(proceed), 1)
          reject(signal.reason)
        }
        this.#waiting.push(proceed)
        signal.addEventListener('abort', onAbort, { once: true })
      })
    }
    let held = true
    return () => {
      if (!held) return
      held = false
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
