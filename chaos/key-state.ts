import type { AttemptEnd } from './history.ts'

/**
 * What an app knows of one of its keys.
 *
 *   open ──answered──────────────────────────> final
 *    │───refused, not-sent, and nothing before that may have run──> final
 *    └───in-doubt, lost: may have run ──> open, to be asked again
 */
export class KeyState {
  readonly key: string
  /** Some attempt may have run without the app knowing its end. */
  #mayHaveRun = false
  #last: AttemptEnd | undefined
  #answered = false
  #inDoubtInARow = 0
  #attempts = 0

  constructor(key: string) {
    this.key = key
  }

  get answered(): boolean {
    return this.#answered
  }

  get attempts(): number {
    return this.#attempts
  }

  get inDoubtInARow(): number {
    return this.#inDoubtInARow
  }

  get last(): AttemptEnd | undefined {
    return this.#last
  }

  /** Nothing needs to be asked any more. */
  get isFinal(): boolean {
    if (this.#answered) return true
    return !this.#mayHaveRun && (this.#last === 'refused' || this.#last === 'not-sent')
  }

  note(end: AttemptEnd): void {
    this.#attempts++
    this.#last = end
    if (end === 'answered') this.#answered = true
    if (end === 'in-doubt' || end === 'lost') this.#mayHaveRun = true
    this.#inDoubtInARow = end === 'in-doubt' ? this.#inDoubtInARow + 1 : 0
  }
}
